"""Where in the image and in which frequencies distributions differ (paper C, table 7, figure 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from synthgap.figures import matplotlib_style as style
from synthgap.figures.comparisons import (
    Look,
    classifier_looks,
    comparison_looks,
    comparisons,
    rows_on,
)
from synthgap.metrics.table import Row
from synthgap.metrics.table import rows as table_rows

Options = Mapping[str, Any]
# Kind of view -> title, x axis, place on it, its label. In the order of drawing.
PANELS: dict[str, tuple[str, str, Callable[[Options], float], Callable[[Options], str]]] = {
    "center_crop": (
        "Centre crops", "side in pixels",
        lambda o: o["size"], lambda o: f"{o['size']}",
    ),
    "random_crops": (
        "Crops at random places", "side in pixels",
        lambda o: o["size"], lambda o: f"{o['size']}",
    ),
    "resize": (
        "Resolution", "side in pixels",
        lambda o: o["size"], lambda o: f"{o['size']}",
    ),
    "jpeg": (
        "All as JPEG", "quality",
        lambda o: o["quality"], lambda o: f"{o['quality']}",
    ),
    "low_pass": (
        "Low frequencies alone", "up to this half-width of the spectrum, in pixels",
        lambda o: o["half_width"], lambda o: f"{o['half_width']}",
    ),
    "band_pass": (
        "A band of frequencies", "half-widths of the band, in pixels",
        lambda o: o["low"], lambda o: f"{o['low']}–{o['high']}",
    ),
    "high_pass": (
        "High frequencies alone", "from this half-width of the spectrum on, in pixels",
        lambda o: o["half_width"], lambda o: f"{o['half_width']}",
    ),
}  # fmt: skip
OTHER = "other"
WIDTH, HEIGHT = 3.4, 3.1


@style.styled
def draw(table: Any) -> Figure:
    """Accuracy by view, a panel for each kind of view and classifier, a line for each comparison.

    The dashed lines are what the same classifier reaches on whole images, the dotted one is chance.

    Args:
        table: the metrics table.

    Raises:
        UserError: no rows of the study `distinguish` on the axis `views`.
    """
    rows = rows_on(table_rows(table), "views")
    names = comparisons(rows)
    looks = comparison_looks(names)
    classifiers = classifier_looks(rows)
    panels = {
        (classifier, kind): found
        for classifier in classifiers
        for kind, found in _panels([r for r in rows if r.architecture == classifier]).items()
    }
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure = style.new_figure(WIDTH * across + 0.6, HEIGHT * down + 0.7)
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for axes, ((classifier, kind), found) in zip(grid.flat, panels.items(), strict=False):
        _panel(axes, kind, found, names, looks)
        if len(classifiers) > 1:
            axes.set_title(f"{axes.get_title(loc='left')}, {classifier}")
        for row in rows:
            if row.architecture != classifier or row.settings.get("view_options"):
                continue
            name = row.settings["comparison"]
            axes.axhline(row.value, color=looks[name].colour, lw=1, ls=(0, (5, 2)), alpha=0.7,
                         gid=f"whole {name}")  # fmt: skip
        for chance in {row.settings["chance"] for row in found}:
            axes.axhline(chance, color=style.MUTED, lw=1, ls=":", gid="chance")
        style.percent_axis(axes.yaxis)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    for line in grid:
        line[0].set_ylabel("Accuracy of telling the source")
    keys = [style.marker_key(x.label, x.marker, x.colour, hollow=x.hollow) for x in looks.values()]
    style.legend_below(figure, keys)
    return figure


def numbers(table: Any) -> list[Row]:
    """The rows that `draw` shows."""
    return rows_on(table_rows(table), "views")


def _panels(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows by kind of view, as drawn; kinds without an axis of their own together."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if kind := row.settings.get("view_options", {}).get("kind"):
            found.setdefault(kind if kind in PANELS else OTHER, []).append(row)
    return {kind: found[kind] for kind in [*PANELS, OTHER] if kind in found}


def _panel(
    axes: Axes, kind: str, found: list[Row], names: list[str], looks: Mapping[str, Look]
) -> None:
    title, x_title, place, tick = PANELS.get(kind, ("Other views", "", lambda _: 0.0, str))
    views: dict[str, Options] = {str(r.view): r.settings["view_options"] for r in found}
    ordered = sorted(views, key=lambda view: (place(views[view]), view))
    for number, name in enumerate(names):
        at = {r.view: r for r in found if r.settings["comparison"] == name}
        chosen = [(x, at[view]) for x, view in enumerate(ordered) if view in at]
        if not chosen:
            continue
        errors = [style.error(row) for _, row in chosen]
        look = looks[name]
        axes.errorbar(
            [x for x, _ in chosen],
            [row.value for _, row in chosen],
            yerr=[[e[0][0] for e in errors], [e[1][0] for e in errors]],
            color=look.colour,
            marker=look.marker,
            mfc="white" if look.hollow else look.colour,
            markersize=5,
            ls="" if kind == OTHER else "-",
            lw=1.2,
            elinewidth=1,
            transform=style.dodge(axes, number, len(names)),
            gid=name,
            zorder=3,
        )
        # By themselves, axes look at what is drawn without a shift alone.
        axes.update_datalim(
            [
                (x, y)
                for x, row in chosen
                for y in (row.value, row.ci_low, row.ci_high)
                if y is not None
            ]
        )
    labels = ordered if kind == OTHER else [tick(views[view]) for view in ordered]
    axes.set_xticks(range(len(ordered)), labels)
    axes.set_xlim(-0.5, len(ordered) - 0.5)
    axes.set_xlabel(x_title)
    axes.set_title(title)
