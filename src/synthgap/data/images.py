"""Images as bytes: decoding to RGB, and encoding that gives the same bytes each time."""

import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

ImageFormat = Literal["png", "webp", "jpeg"]
SUFFIXES: dict[str, str] = {"png": "png", "webp": "webp", "jpeg": "jpg"}
JPEG_QUALITY = 95


def decode(content: bytes) -> NDArray[np.uint8]:
    """Return an encoded image as uint8 RGB (height, width, 3).

    Orientation in EXIF is applied; grey, palette and CMYK images become RGB; alpha is laid over
    black; 16-bit grey is scaled to 8 bits.

    Raises:
        OSError or SyntaxError: the bytes are no image, or an image cut short.
    """
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        return np.asarray(to_rgb(ImageOps.exif_transpose(opened)))


def to_rgb(image: Image.Image) -> Image.Image:
    """Return `image` in RGB, 8 bits a channel (see `decode`)."""
    if image.mode.startswith("I;16") or image.mode == "I":
        # PIL's own conversion clips at 255 instead of scaling.
        grey = np.asarray(image).astype(np.uint32)
        return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image).convert("RGB")
    return image.convert("RGB")


def encode(image: NDArray[np.uint8], image_format: ImageFormat) -> bytes:
    """Return a uint8 RGB image (height, width, 3) encoded.

    `png` and `webp` are lossless (webp is some five times faster and smaller); `jpeg` is at
    quality 95 with full colour resolution.
    """
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    if image_format == "png":
        picture.save(buffer, "PNG", compress_level=1)
    elif image_format == "webp":
        picture.save(buffer, "WEBP", lossless=True, method=0)
    else:
        picture.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def centre_square(image: Image.Image, size: int) -> Image.Image:
    """Crop the largest centred square and resize it to `size` pixels (bicubic, antialiased)."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.BICUBIC)
