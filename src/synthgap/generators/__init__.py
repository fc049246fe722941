"""Text-to-image pipelines and the loop that calls them."""
