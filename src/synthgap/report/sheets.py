"""Sheets of images to look at: sources in rows, and what the views keep in columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from synthgap.errors import UserError

_GAP = 4
_INK = (31, 41, 51)

Pixels = NDArray[np.uint8]


def contact_sheet(
    rows: Sequence[tuple[str, Pixels]], *, scale: int = 2, columns: int = 10
) -> Image.Image:
    """One row of images per source, its label at the left, on white.

    Args:
        rows: (label, images), images (N, H, W, 3) uint8, all of one height and width. The first
            `columns` images are shown; a row with fewer stays shorter.
        scale: whole number by which pixels are repeated, so that small images stay crisp.
        columns: images a row, at most.

    Raises:
        UserError: no rows, a bad scale or column count, or images of another type or size.
    """
    if not rows or scale < 1 or columns < 1:
        raise UserError("contact sheet: needs at least one row, scale >= 1 and columns >= 1")
    for label, images in rows:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise UserError(
                f"contact sheet: {label}: expected uint8 (N, H, W, 3), "
                f"got {images.dtype} {images.shape}"
            )
        if images.shape[1:] != rows[0][1].shape[1:]:
            raise UserError(f"contact sheet: {label}: images differ in size from {rows[0][0]}")
    return _grid([(label, [list(images[:columns])]) for label, images in rows], scale, _GAP)


def probe_sheet(
    groups: Sequence[tuple[str, Sequence[Sequence[Pixels]]]],
    columns: Sequence[str],
    *,
    scale: int = 1,
) -> Image.Image:
    """One group of rows per source, one column per view, as in figure 2 of paper A, on white.

    Args:
        groups: (label, rows); a row has an image in each view, each (H, W, 3) uint8 of any size.
            The label stands once, at the middle of its group. An image smaller than the largest
            one of the sheet lies in the middle of its place.
        columns: the title of each view, in the order of the images of a row.
        scale: whole number by which pixels are repeated, so that small images stay crisp.

    Raises:
        UserError: no groups, rows or columns, a bad scale, a row of another length than `columns`,
            or images of another type.
    """
    if not groups or not columns or scale < 1:
        raise UserError("probe sheet: needs at least one group, one column and scale >= 1")
    for label, rows in groups:
        if not rows or any(len(row) != len(columns) for row in rows):
            raise UserError(f"probe sheet: {label}: needs rows of {len(columns)} images each")
        for image in (image for row in rows for image in row):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise UserError(
                    f"probe sheet: {label}: expected uint8 (H, W, 3), "
                    f"got {image.dtype} {image.shape}"
                )
    return _grid(groups, scale, 4 * _GAP, columns)


def _grid(
    groups: Sequence[tuple[str, Sequence[Sequence[Pixels]]]],
    scale: int,
    between: int,
    titles: Sequence[str] = (),
) -> Image.Image:
    """Lay out groups of rows, `between` pixels apart, with a label each, and titles on top."""
    images = [image for _, rows in groups for row in rows for image in row]
    height, width = (scale * max((i.shape[axis] for i in images), default=0) for axis in (0, 1))
    columns = max(len(row) for _, rows in groups for row in rows)
    lines = sum(len(rows) for _, rows in groups)
    font = ImageFont.load_default(size=max(11, min(20, height // 4)))
    margin = 3 * _GAP + int(max(font.getlength(label) for label, _ in groups))
    # A title that is wider than the images widens its column rather than run into the next.
    places = [width] * columns
    for column, title in enumerate(titles):
        places[column] = max(width, int(font.getlength(title)) + 2 * _GAP)
    lefts = [margin + sum(places[:column]) + _GAP * column for column in range(columns)]
    head = _GAP + (int(font.getbbox("Ag")[3]) + _GAP if titles else 0)
    gaps = _GAP * (lines - len(groups)) + between * (len(groups) - 1)
    size = (margin + sum(places) + _GAP * columns, head + lines * height + gaps + _GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        middle = lefts[column] + places[column] / 2
        draw.text((middle, _GAP), title, fill=_INK, font=font, anchor="ma")
    top = head
    for label, rows in groups:
        tall = len(rows) * (height + _GAP) - _GAP
        draw.text((_GAP, top + tall / 2), label, fill=_INK, font=font, anchor="lm")
        for line, row in enumerate(rows):
            for column, pixels in enumerate(row):
                picture = Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1))
                left = lefts[column] + (places[column] - picture.width) // 2
                down = top + line * (height + _GAP) + (height - picture.height) // 2
                sheet.paste(picture, (left, down))
        top += tall + between
    return sheet
