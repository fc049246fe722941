"""The four CutMix patterns of paper B (appendix E)."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from synthgap.errors import UserError

Box = tuple[int, int, int, int]  # top, left, height, width in pixels

PATTERNS = ("half", "quarter", "ninth", "sixteenth")
PLACEMENTS = ("paper", "code")

# Below this a ninth or a sixteenth has too few pixels to show anything.
_MIN_SIDE = 16


def cutmix(
    base: npt.NDArray[np.uint8],
    partner: npt.NDArray[np.uint8],
    pattern: str,
    rng: np.random.Generator,
    placement: str = "paper",
) -> tuple[npt.NDArray[np.uint8], Box]:
    """Lay an image over a part of another one.

    The patterns, each side of the box rounded down to whole pixels:

    - `half`: the right or the bottom half, taken from the same half of the partner at full
      resolution.
    - `quarter`: the whole partner at 1/2 of its side, in one of the four corners.
    - `ninth`: the whole partner at 1/3 of its side, anywhere along one of the four borders, leaving
      the corners.
    - `sixteenth`: the whole partner at 1/4 of its side, anywhere clear of the central 10 %.

    Args:
        base, partner: uint8 (H, W, 3) of equal shape, sides >= 16 px.
        pattern: one of these.
        rng: decides the position, uniform among those allowed.
        placement: `paper` follows the text of appendix E, which leaves two sizes open. Chosen here:
            a corner that stays intact is 5 % of the side; the central 10 % is the central rectangle
            with 10 % of the area. `code` allows what the authors' published code does: a ninth may
            cover a corner; a sixteenth stays 5 % of the side away from the border and must not
            touch the zone within 10 % of the side from the centre.

    Returns:
        The new image and the box (top, left, height, width) that the partner fills; every other
        pixel is the base's.

    Raises:
        UserError: other images, patterns or placements.

    Examples:
        >>> base, partner = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 9, np.uint8)
        >>> image, box = cutmix(base, partner, "quarter", np.random.default_rng(0))
        >>> box, int((image == 9).all(axis=2).sum())
        ((8, 8, 8, 8), 64)
    """
    _check_images(base, partner)
    if pattern not in PATTERNS:
        raise UserError(f"unknown CutMix pattern {pattern!r}; known: {', '.join(PATTERNS)}")
    if placement not in PLACEMENTS:
        raise UserError(f"unknown CutMix placement {placement!r}; known: {', '.join(PLACEMENTS)}")
    height, width = base.shape[:2]
    if pattern == "half":
        box = _half_box(height, width, rng)
    elif pattern == "quarter":
        box = _quarter_box(height, width, rng)
    elif pattern == "ninth":
        box = _ninth_box(height, width, rng, placement)
    else:
        box = _sixteenth_box(height, width, rng, placement)

    rows, columns = slice(box[0], box[0] + box[2]), slice(box[1], box[1] + box[3])
    mixed = base.copy()
    if pattern == "half":
        mixed[rows, columns] = partner[rows, columns]
    else:
        # PIL's bilinear widens its support when it shrinks, so it does not alias; it is also what
        # the published code's `transforms.Resize` does.
        small = Image.fromarray(partner).resize((box[3], box[2]), Image.Resampling.BILINEAR)
        mixed[rows, columns] = np.asarray(small)
    return mixed, box


def choose_pattern(pattern: str, index: int) -> str:
    """Resolve `all` for the sample of this index: each pattern takes every fourth sample.

    Paper B's CM-all has equal parts of the four; going by the index makes them exact rather than
    expected. Another pattern is returned as it is; UserError when unknown.

    Examples:
        >>> [choose_pattern("all", index) for index in range(4)]
        ['half', 'quarter', 'ninth', 'sixteenth']
    """
    if pattern == "all":
        return PATTERNS[index % len(PATTERNS)]
    if pattern not in PATTERNS:
        known = ", ".join([*PATTERNS, "all"])
        raise UserError(f"unknown CutMix pattern {pattern!r}; known: {known}")
    return pattern


def choose_partner(classes: npt.NDArray[np.integer], index: int, seed: int) -> int:
    """Choose the sample to lay over sample `index`, uniformly among those of other classes.

    The choice depends on `classes`, `index` and `seed` (both >= 0) alone. (The authors' published
    code draws from all classes, against the paper's section 2.2.)

    Args:
        classes: integers (N,), the class of each sample.

    Raises:
        UserError: there is no other class.

    Examples:
        >>> classes = np.array([0, 0, 1, 1])
        >>> classes[choose_partner(classes, 0, seed=0)]
        np.int64(1)
    """
    rng = np.random.default_rng([seed, index])
    # A handful of draws finds another class nearly always, and spares looking through all of
    # `classes` once for each of a million samples.
    draws = rng.integers(len(classes), size=16)
    different = draws[classes[draws] != classes[index]]
    if not len(different):
        different = np.flatnonzero(classes != classes[index])
        if not len(different):
            raise UserError("CutMix needs a partner of another class, but there is only one class")
        return int(rng.choice(different))
    return int(different[0])


def _half_box(height: int, width: int, rng: np.random.Generator) -> Box:
    if rng.integers(2):
        return 0, width // 2, height, width - width // 2
    return height // 2, 0, height - height // 2, width


def _quarter_box(height: int, width: int, rng: np.random.Generator) -> Box:
    box_height, box_width = height // 2, width // 2
    top = int(rng.integers(2)) * (height - box_height)
    left = int(rng.integers(2)) * (width - box_width)
    return top, left, box_height, box_width


def _ninth_box(height: int, width: int, rng: np.random.Generator, placement: str) -> Box:
    box_height, box_width = height // 3, width // 3
    lowest, rightmost = height - box_height, width - box_width
    corner_rows, corner_columns = (
        (0, 0) if placement == "code" else (_five_percent(height), _five_percent(width))
    )
    border = rng.integers(4)
    if border < 2:  # left or right
        top = int(rng.integers(corner_rows, lowest - corner_rows, endpoint=True))
        return top, int(border) * rightmost, box_height, box_width
    left = int(rng.integers(corner_columns, rightmost - corner_columns, endpoint=True))
    return int(border - 2) * lowest, left, box_height, box_width


def _sixteenth_box(height: int, width: int, rng: np.random.Generator, placement: str) -> Box:
    box_height, box_width = height // 4, width // 4
    top, top_clear = _places(height, box_height, placement)
    left, left_clear = _places(width, box_width, placement)
    # Clear of the central rectangle along one axis is enough.
    rows, columns = np.nonzero(top_clear[:, None] | left_clear[None, :])
    choice = rng.integers(len(rows))
    return int(top[rows[choice]]), int(left[columns[choice]]), box_height, box_width


def _places(
    side: int, box: int, placement: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Where a box may start along one axis, and whether it clears the central zone there."""
    if placement == "code":
        margin = int(0.05 * side)
        # One pixel more on either side, since the published code counts touching as overlap.
        zone_start, zone_end = side // 2 - int(0.1 * side) - 1.0, side // 2 + int(0.1 * side) + 1.0
    else:
        margin = 0
        zone_start, zone_end = side * (1 - 0.1**0.5) / 2, side * (1 + 0.1**0.5) / 2
    start = np.arange(margin, side - box - margin + 1)
    return start, (start + box <= zone_start) | (start >= zone_end)


def _five_percent(side: int) -> int:
    return max(1, round(0.05 * side))


def _check_images(base: npt.NDArray[np.uint8], partner: npt.NDArray[np.uint8]) -> None:
    for name, image in (("base", base), ("partner", partner)):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(
                f"the {name} image must be uint8 (H, W, 3), not {image.dtype} of {image.shape}"
            )
    if base.shape != partner.shape:
        raise UserError(
            f"base and partner must have one shape, not {base.shape} and {partner.shape}: "
            "resize the source first"
        )
    if min(base.shape[:2]) < _MIN_SIDE:
        raise UserError(f"CutMix needs sides of at least {_MIN_SIDE} px, not {base.shape[:2]}")
