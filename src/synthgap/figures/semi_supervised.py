"""What generated images do to a classifier that is told few labels."""

from __future__ import annotations

from typing import Any

import altair as alt

from synthgap.figures import mixing
from synthgap.metrics.table import Row

STUDY = "semi_supervised"


def draw(table: Any) -> alt.LayerChart | alt.ConcatChart:
    """As `figures.mixing` draws it, of the study `semi_supervised`."""
    return mixing.draw(table, STUDY)


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    return mixing.numbers(table, STUDY)
