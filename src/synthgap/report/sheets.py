"""Contact sheets: a few images of each source in rows, to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from synthgap.errors import UserError

_GAP = 4
_INK = (31, 41, 51)


def contact_sheet(
    rows: Sequence[tuple[str, NDArray[np.uint8]]], *, scale: int = 2, columns: int = 10
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

    height, width = (scale * side for side in rows[0][1].shape[1:3])
    columns = min(columns, max(len(images) for _, images in rows))
    font = ImageFont.load_default(size=max(11, min(20, height // 4)))
    margin = 3 * _GAP + int(max(font.getlength(label) for label, _ in rows))
    size = (margin + columns * (width + _GAP), _GAP + len(rows) * (height + _GAP))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for line, (label, images) in enumerate(rows):
        top = _GAP + line * (height + _GAP)
        draw.text((_GAP, top + height / 2), label, fill=_INK, font=font, anchor="lm")
        for column, pixels in enumerate(images[:columns]):
            picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(picture, (margin + column * (width + _GAP), top))
    return sheet
