"""One module a figure: `draw(table)` returns a Figure, `numbers(table)` the rows that it shows."""
