"""Where a classifier looks: images with their occlusion maps, and the mean map of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from synthgap.data.occlusion_maps import OcclusionMaps
from synthgap.errors import UserError
from synthgap.figures import picture_style as style
from synthgap.figures.style import GRID

# Okabe and Ito's blue and vermilion.
AGAINST, IN_FAVOUR = "#0072B2", "#D55E00"
_STRONGEST = 0.9  # alpha at the ends, so that the image stays visible
_CELL = 1.05  # side of an image in inches


@style.styled
def draw(maps: OcclusionMaps, images: NDArray[np.uint8], *, columns: int = 6) -> Figure:
    """Two rows a class: some images, and the same under their maps; at the right the mean map.

    At each pixel stands the mean over the squares that hide it. Vermilion is where an image speaks
    for its class, blue where it speaks against it. The maps share one scale, which ends at the
    99th percentile of their magnitudes or, if that is more, the greatest of the means; the means
    have another.

    Args:
        images: uint8 (n, height, width, 3), those of the maps in their order and size. The first
            `columns` of each class are shown; the means are over all of them.

    Raises:
        UserError: other images than those of the maps, or no column.
    """
    if images.shape != (len(maps.maps), *maps.size, 3) or columns < 1:
        raise UserError(
            f"occlusion: images {images.shape} in {columns} columns for {len(maps.maps)} maps of "
            f"{maps.size}; give the images of the maps, in their size, and one column or more"
        )
    of_class = [np.flatnonzero(maps.class_indices == index) for index in range(len(maps.classes))]
    means = maps.by_pixel(np.stack([maps.maps[rows].mean(axis=0) for rows in of_class]))
    shown = [rows[:columns] for rows in of_class]
    pixels = [maps.by_pixel(maps.maps[rows]) for rows in shown]
    mean_limit = float(np.abs(means).max())
    each_limit = float(np.percentile(np.abs(np.concatenate(pixels)), 99))
    each, mean = _scale(max(each_limit, mean_limit)), _scale(mean_limit)

    count = max(map(len, shown))
    figure = style.new_figure(_CELL * (count + 2.2) + 0.4, 2.3 * _CELL * len(shown) + 0.8)
    grid = figure.add_gridspec(2 * len(shown), count + 1, width_ratios=[*[1] * count, 2])
    small, large = [], []
    for index, rows in enumerate(shown):
        for column, row in enumerate(rows):
            plain, under = (figure.add_subplot(grid[2 * index + i, column]) for i in (0, 1))
            plain.imshow(images[row], interpolation="nearest")
            under.imshow(_faint(images[row]), interpolation="nearest")
            _lay(under, pixels[index][column], each)
            small += [_bare(plain), _bare(under)]
            if column == 0:
                plain.set_title(maps.classes[index])
        axes = figure.add_subplot(grid[2 * index : 2 * index + 2, count])
        axes.set_title(f"mean of {len(of_class[index])}", fontweight="normal")
        _lay(axes, means[index], mean)
        large.append(_bare(axes))
    beyond = max(np.abs(found).max() for found in pixels) > each.norm.vmax
    _bar(figure, each, small, "Drop of the right class's log-odds when hidden", count, beyond)
    _bar(figure, mean, large, "Mean drop", 2, False)
    return figure


def _scale(limit: float) -> ScalarMappable:
    """A diverging scale centred at 0: clear there, so that on white it goes through white."""
    limit = limit or 1.0
    ends = [(AGAINST, _STRONGEST), (AGAINST, 0.0), (IN_FAVOUR, 0.0), (IN_FAVOUR, _STRONGEST)]
    stops = zip((0, 0.5, 0.5, 1), (to_rgba(colour, alpha) for colour, alpha in ends), strict=True)
    colours = LinearSegmentedColormap.from_list("occlusion", list(stops))
    return ScalarMappable(Normalize(-limit, limit), colours)


def _lay(axes: Axes, values: NDArray[np.float64], scale: ScalarMappable) -> None:
    axes.imshow(scale.to_rgba(values), interpolation="nearest")


def _faint(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """An image in light greys, on which the colours of a map can be told."""
    grey = 0.5 + 0.5 * image.mean(axis=-1, keepdims=True) / 255
    return np.repeat(grey, 3, axis=-1)


def _bare(axes: Axes) -> Axes:
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(GRID)
    return axes


def _bar(
    figure: Figure, scale: ScalarMappable, axes: list[Axes], label: str, cells: int, beyond: bool
) -> None:
    """A colour bar under some axes that are so many cells wide together."""
    extend: Any = "both" if beyond else "neither"
    bar = figure.colorbar(
        scale, ax=axes, location="bottom", extend=extend, extendfrac=0.03, aspect=10 * cells
    )
    bar.set_label(label)
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(8 if cells > 2 else 4, symmetric=True)
