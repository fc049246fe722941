"""What is measured: arrays in, numbers with their intervals out, gathered in one long table."""
