"""Store float images in 8 bits, and count what does not fit."""

import numpy as np
import numpy.typing as npt

from synthgap.errors import UserError

ENCODINGS = ("clip", "offset", "minmax")


def to_uint8(
    images: npt.NDArray[np.floating],
    mode: str = "clip",
    *,
    white: float = 1.0,
    overwrite: bool = False,
) -> tuple[npt.NDArray[np.uint8], int]:
    """Round float images to 8 bits.

    The mode says how a value x, in units of `white`, is brought into [0, 1]:

    - `clip`: x as it is; for images that are brightness already.
    - `offset`: x + 128/255; for zero-mean images such as the output of a high-pass filter. Zero
      becomes a level: half-way between two, a transform's noise would choose.
    - `minmax`: x clipped to [0, 1], then stretched to the full range per image and channel, a
      constant channel becoming 0. It is what paper A's published code does after its filters. It
      loses the negative half of a zero-mean image and undoes contrast.

    Args:
        images: (N, H, W, C), any float type.
        mode: one of these.
        white: the value that becomes the level 255.
        overwrite: whether `images` may be used as working memory.

    Returns:
        uint8 (N, H, W, C), and the number of values clipped: those whose nearest 8-bit level lies
        outside 0..255, so that the rounding noise of a transform does not count.

    Raises:
        UserError: an unknown mode, NaN or infinity.

    Examples:
        >>> stored, clipped = to_uint8(np.array([[[[-0.2], [0.0], [0.2]]]]), "offset")
        >>> stored.ravel().tolist(), clipped
        ([77, 128, 179], 0)
    """
    if mode not in ENCODINGS:
        raise UserError(f"unknown encoding {mode!r}; known: {', '.join(ENCODINGS)}")
    if not images.size:
        return images.astype(np.uint8), 0
    levels = images  # in place from here, if the caller has no more use for it
    if white != 255 or not overwrite or images.dtype != np.float32:
        levels = np.multiply(images, 255 / white, dtype=np.float32)
    if mode == "offset":
        levels += 128

    smallest, largest = levels.min(), levels.max()
    if not np.isfinite(smallest) or not np.isfinite(largest):
        raise UserError("images hold NaN or infinity; 8 bits can only hold finite values")
    clipped = np.count_nonzero(levels < -0.5) if smallest < -0.5 else 0
    clipped += np.count_nonzero(levels > 255.5) if largest > 255.5 else 0
    np.clip(levels, 0, 255, out=levels)

    if mode == "minmax":
        low = levels.min(axis=(1, 2), keepdims=True)
        span = levels.max(axis=(1, 2), keepdims=True) - low
        # Under a thousandth of a level it is a transform's rounding noise, not contrast.
        levels = np.where(span > 1e-3, (levels - low) * (255 / np.maximum(span, 1e-3)), 0)
    stored = np.empty(levels.shape, np.uint8)
    np.rint(levels, out=stored, casting="unsafe")  # rounded and stored in one pass
    return stored, int(clipped)
