"""One module a figure; each `draw(table)` reads the metrics table and returns a Figure."""
