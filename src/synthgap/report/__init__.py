"""The report: one page that opens offline, every number of it from the metrics table."""
