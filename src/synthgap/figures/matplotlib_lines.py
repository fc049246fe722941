"""What figures with a line for each source share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from synthgap.figures import matplotlib_style as style
from synthgap.figures.data import Source
from synthgap.metrics.table import Row

End = tuple[float, float, str, Any]
"""x, y, label and colour, for `style.label_ends`"""


def draw_lines(
    axes: Axes,
    sources: Sequence[Source],
    points: Mapping[str, Mapping[float, Row]],
    kinds: Sequence[str],
) -> list[End]:
    """A line for each source, in a shade of its prompts' colour: the higher its x, the darker.

    Args:
        points: by source, rows by their place on the x axis, from left to right.
        kinds: of prompts, in drawing order.

    Returns:
        The right ends of the lines, to be named once all else is drawn.
    """
    scale = Normalize(min(s.x for s in sources), max(s.x for s in sources))
    ends: list[End] = []
    for source in sources:
        shades = style.shades(style.prompt_colour(source.prompts, kinds))
        colour = shades(float(scale(source.x)) if scale.vmin != scale.vmax else 0.5)
        at = points[source.name]
        line(axes, at, colour, source.name)
        end = list(at)[-1]
        ends.append((end, at[end].value, source.generator, colour))
    return ends


def line(
    axes: Axes,
    at: Mapping[float, Row],
    colour: Any,
    name: str,
    *,
    width: float = 1.2,
    marker: str = "o",
    **look: Any,
) -> None:
    """A line with the interval of each of its points."""
    errors = [style.error(row) for row in at.values()]
    axes.errorbar(
        list(at),
        [row.value for row in at.values()],
        yerr=[[e[0][0] for e in errors], [e[1][0] for e in errors]],
        color=colour,
        gid=name,
        marker=marker,
        markersize=3.5,
        elinewidth=0.8,
        lw=width,
        zorder=3,
        **look,
    )
