"""The codecs: the pixels that PIL gives, whatever the file, and lossless where it is promised."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_image

from synthgap.data.images import decode, encode, to_rgb


def picture(height=37, width=50, seed=0):
    """Smooth shapes with some noise, as photographs have both."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (3 + c) + y / 7) * 90 + 128 for c in range(3)]
    return np.clip(np.stack(waves, 2) + rng.normal(0, 8, (height, width, 3)), 0, 255).astype("u1")


def photograph():
    return load_sample_image("china.jpg")[100:228, 200:328]


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def of_pil(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_gives_the_pixels_of_pil(subsampling, progressive):
    image = Image.fromarray(picture())
    for quality in (30, 75, 95):
        options = {"quality": quality, "subsampling": subsampling, "progressive": progressive}
        content = saved(image, "JPEG", **options)
        np.testing.assert_array_equal(decode(content), of_pil(content))


def test_grey_and_cmyk_jpeg_become_rgb_as_in_pil():
    for mode in ("L", "CMYK"):
        content = saved(Image.fromarray(picture()).convert(mode), "JPEG")
        assert decode(content).shape == (37, 50, 3)
        np.testing.assert_array_equal(decode(content), of_pil(content))


def test_a_jpeg_is_turned_as_its_exif_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    content = saved(Image.fromarray(picture()), "JPEG", exif=exif)
    np.testing.assert_array_equal(decode(content), np.rot90(of_pil(content), -1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_what_is_cut_short_is_refused(kind, kept):
    content = saved(Image.fromarray(picture(200, 200)), kind)
    with pytest.raises((OSError, SyntaxError)):
        decode(content[: int(kept * len(content))])


def test_a_jpeg_with_bytes_behind_its_end_is_read_as_pil_reads_it():
    content = saved(Image.fromarray(picture()), "JPEG") + b"\0" * 100
    np.testing.assert_array_equal(decode(content), of_pil(content))


def test_alpha_lies_on_black_and_16_bits_are_scaled():
    alpha = np.dstack([picture(), np.full((37, 50), 128, np.uint8)])
    laid = decode(saved(Image.fromarray(alpha), "PNG"))
    assert abs(laid.astype(int) - picture() // 2).max() <= 2
    deep = (picture()[..., 0].astype(np.uint16) << 8) + 17
    np.testing.assert_array_equal(decode(encode(deep, "png"))[..., 1], picture()[..., 0])


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    image_format=st.sampled_from(["png", "webp"]),
    colour=st.booleans(),
    strided=st.booleans(),
    seed=st.integers(0, 99),
)
def test_png_and_webp_lose_nothing(height, width, image_format, colour, strided, seed):
    shape = (2 * height, width, 3) if colour else (2 * height, width)
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    image = image[::-2] if strided else image[:height]
    expected = image if colour else np.repeat(image[..., None], 3, 2)
    np.testing.assert_array_equal(decode(encode(image, image_format)), expected)
    assert encode(image, image_format) == encode(image.copy(), image_format)


def test_16_bits_in_a_png_are_kept():
    deep = np.random.default_rng(0).integers(0, 1 << 16, (9, 20), dtype=np.uint16)
    with Image.open(io.BytesIO(encode(deep, "png"))) as opened:
        np.testing.assert_array_equal(np.asarray(opened), deep)


def test_jpeg_is_close_with_full_colour_resolution():
    content = encode(photograph(), "jpeg")
    assert abs(decode(content).astype(int) - photograph()).mean() < 4
    by_pil = saved(Image.fromarray(photograph()), "JPEG", quality=95, subsampling=0)
    with Image.open(io.BytesIO(content)) as ours, Image.open(io.BytesIO(by_pil)) as pil:
        assert [layer[1:3] for layer in ours.layer] == [(1, 1)] * 3
        assert ours.quantization == pil.quantization
    grey = decode(encode(photograph()[..., 0], "jpeg"))
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


def test_lossless_files_of_a_photograph_are_no_larger_than_the_smallest_of_pil():
    least = len(saved(Image.fromarray(photograph()), "PNG"))
    assert len(encode(photograph(), "webp")) <= least
    assert len(encode(photograph(), "png")) <= 1.05 * least


def test_modes_that_pil_knows_become_rgb():
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"):
        pixels = picture()[..., 0] if mode[0] in "IF" else picture()
        assert to_rgb(Image.fromarray(pixels).convert(mode)).mode == "RGB"
