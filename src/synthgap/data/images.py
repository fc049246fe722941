"""Images as bytes: decoding to RGB, and encoding that gives the same bytes each time.

Speeds of the codecs side by side are in `benchmarks/views.py`.
"""

import io
import os
import stat
import warnings
from pathlib import Path
from typing import Any, BinaryIO, Literal

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from synthgap.errors import UserError

ImageFormat = Literal["png", "webp", "jpeg"]
SUFFIXES: dict[str, str] = {"png": "png", "webp": "webp", "jpeg": "jpg"}
JPEG_QUALITY = 95
# Those that people call images by the usual names. For others, such as PostScript, Pillow would
# run programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # that Pillow reads

# About as large as Pillow's PNG at several times its speed; see the benchmark. Maps of
# 8 bits are so smooth that what is left after the filter hardly repeats.
PNG_RGB = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH),
]
PNG_GREY = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH),
]
PNG_DEEP = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 2),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
]
# Damage that matters is raised; what Pillow warns of besides would be lines that nobody expects.
warnings.filterwarnings("ignore", module=r"PIL\.")
cv2.setNumThreads(1)  # a job keeps to the threads that it was given


def decode(content: bytes) -> NDArray[np.uint8]:
    """Return an encoded image as uint8 RGB (height, width, 3).

    Orientation in EXIF is applied; grey, palette and CMYK images become RGB; alpha is laid over
    black; 16-bit grey is scaled to 8 bits.

    Raises:
        OSError: the bytes are no image, or an image cut short or too large.
    """
    if content.startswith(b"\xff\xd8\xff") and not _has_exif(content):
        try:
            # The pixels that PIL gives, sooner; but for CMYK, which they convert differently.
            height, width, space, _ = simplejpeg.decode_jpeg_header(content)
            small = height * width <= MOST_PIXELS
            if small and space in ("YCbCr", "Gray", "RGB"):
                decoded: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, "RGB")
                return decoded
        except ValueError:
            pass  # damaged: PIL tells what is bearable
    return np.asarray(read_rgb(content))


def read_rgb(source: Path | bytes) -> Image.Image:
    """Return the image of a file, or of its bytes, in RGB and turned as its EXIF says.

    Of animations it is the first frame. What is damaged makes Pillow raise errors of many kinds.

    Raises:
        OSError: there is no image that can be read, or one of too many pixels.
    """
    try:
        with (
            _plain_file(source) if isinstance(source, Path) else io.BytesIO(source) as file,
            Image.open(file, formats=FORMATS) as opened,
        ):
            opened.load()
            return to_rgb(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError:
        raise OSError("no known image format") from None  # PIL tells a buffer's address
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise OSError(" ".join(str(error).split()) or type(error).__name__) from error


def _plain_file(path: Path) -> BinaryIO:
    """Open a file for reading; of a pipe or a device nobody knows when and whether it ends."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("no plain file")
    return os.fdopen(descriptor, "rb")


def _has_exif(jpeg: bytes) -> bool:
    """Whether a JPEG has an EXIF segment before its pixels; True where its segments are odd."""
    at = 2
    while jpeg[at : at + 1] == b"\xff" and jpeg[at + 1 : at + 2] != b"\xda":
        if jpeg[at + 1 : at + 2] == b"\xe1" and jpeg[at + 4 : at + 8] == b"Exif":
            return True
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return jpeg[at : at + 1] != b"\xff"


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


def encode(image: NDArray[np.uint8] | NDArray[np.uint16], image_format: ImageFormat) -> bytes:
    """Return an image encoded.

    Args:
        image: uint8 RGB (height, width, 3) or grey (height, width); `png` takes uint16 grey too.
        image_format: `webp` is lossless at its least effort, of photographs smaller than Pillow's
            PNG and several times as fast. `png` is lossless too, the one for 16 bits and the
            smaller one for grey. `jpeg` is lossy: quality 95 with full colour resolution.

    Raises:
        UserError: an image of another shape or type, or one that the codec cannot hold.

    Examples:
        >>> image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
        >>> bool((decode(encode(image, "png")) == image).all())
        True
    """
    deep = image.dtype == np.uint16 and image.ndim == 2 and image_format == "png"
    plain = image.dtype == np.uint8 and image.shape[2:] in ((), (3,)) and image.ndim > 1
    if not (plain or deep) or (image_format == "webp" and max(image.shape) > 16383):
        raise UserError(f"{image_format} cannot hold {image.dtype} of shape {image.shape}")
    pixels: NDArray[Any] = np.ascontiguousarray(image)
    colour = image.ndim == 3
    if image_format == "png":
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if colour else pixels
        settings = PNG_RGB if colour else PNG_DEEP if deep else PNG_GREY
        _, content = cv2.imencode(".png", pixels, settings)
        return content.tobytes()
    if image_format == "webp":
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, method=0, quality=0)
        return buffer.getvalue()
    space, sampling = ("RGB", "444") if colour else ("GRAY", "GRAY")
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    encoded: bytes = simplejpeg.encode_jpeg(pixels, JPEG_QUALITY, space, sampling, fastdct=False)
    return encoded


def centre_square(image: Image.Image, size: int) -> Image.Image:
    """Crop the largest centred square and resize it to `size` pixels (bicubic, antialiased)."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.BICUBIC)
