"""The captioner that measures pixels: known figures, and the digits its thresholds are for."""

import os
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from synthgap.captioners import CAPTIONER_KINDS, Picture, load_captioner, module_of
from synthgap.captioners.attributes import (
    BINS,
    BLANK,
    AttributeCaptioner,
    describe,
    describe_composite,
    measure,
)
from synthgap.data.images import encode
from synthgap.errors import UserError

SENTENCE = re.compile(
    r"a (thin|medium|thick) stroke "
    r"(leaning to the left|standing upright|leaning to the right), "
    r"(small|average|large) and (narrow|regular|broad), "
    r"(in the centre|(above|below) the centre|((above|below) and )?(left|right) of the centre), "
    r"(dim|clear|bright)"
)


def rgb(*greys):
    return np.repeat(np.stack(greys)[..., None], 3, axis=3).astype(np.uint8)


def bar(top=4, bottom=28, left=14, right=18, level=200, side=32):
    image = np.zeros((side, side))
    image[top:bottom, left:right] = level
    return image


def caption(*greys):
    return describe(rgb(*greys))


@pytest.fixture(scope="module")
def digits():
    """scikit-learn's digits as the thresholds assume them: 32 px, white on black."""
    small = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    large = [
        np.asarray(Image.fromarray(x).resize((32, 32), Image.Resampling.BICUBIC)) for x in small
    ]
    return rgb(*large)


@pytest.fixture(scope="module")
def digit_captions(digits):
    return describe(digits)


def test_every_word_describes_a_tenth_of_the_digits(digits):
    measures = measure(digits)
    assert not measures["blank"].any()
    for name, (thresholds, words) in BINS.items():
        bins = np.digitize(measures[name], thresholds)
        shares = np.bincount(bins, minlength=3) / len(digits)
        assert (shares >= 0.1).all(), f"{name}: {dict(zip(words, shares, strict=True))}"


def test_captions_of_digits_are_short_varied_sentences_of_few_words(digit_captions):
    for sentence in digit_captions:
        assert SENTENCE.fullmatch(sentence), sentence
        assert len(sentence.split()) <= 24
    assert len(set(digit_captions)) > 300
    vocabulary = {word for sentence in digit_captions for word in re.findall(r"\w+", sentence)}
    assert len(vocabulary) <= 30


@pytest.mark.parametrize("width", [1, 3, 5, 7])
def test_thickness_of_a_bar_is_its_width(width):
    measured = measure(rgb(bar(left=10, right=10 + width)))["thickness"][0]
    # The two ends of the ridge are nearer to the background than its middle.
    assert measured * 32 == pytest.approx(width, abs=0.5)


@pytest.mark.parametrize("degrees", [-20, -10, 0, 10, 20])
def test_slant_of_a_sheared_bar(degrees):
    image = np.zeros((64, 64))
    for row in range(8, 56):
        middle = 32 - np.tan(np.radians(degrees)) * (row - 31.5)  # the top goes right
        image[row, round(middle) - 3 : round(middle) + 3] = 255
    assert measure(rgb(image))["slant"][0] == pytest.approx(degrees, abs=1)


def test_position_size_breadth_and_brightness_of_a_square():
    measures = measure(rgb(bar(top=4, bottom=12, left=16, right=24, level=102)))
    assert measures["y"][0] == pytest.approx(8 / 32)
    assert measures["x"][0] == pytest.approx(20 / 32)
    assert measures["breadth"][0] == pytest.approx(1)
    assert measures["brightness"][0] == pytest.approx(102 / 255)
    # A uniform square of side s has a variance of s^2 / 12 along each axis.
    assert measures["size"][0] == pytest.approx(np.sqrt(2 * 8**2 / 12) / 32)


def test_whole_sentences():
    tall = bar(top=2, bottom=30, left=14, right=18)
    assert caption(tall) == [
        "a thin stroke standing upright, small and narrow, in the centre, bright"
    ]
    corner = bar(top=2, bottom=16, left=2, right=16, level=120)
    assert caption(corner) == [
        "a thick stroke standing upright, small and broad, above and left of the centre, dim"
    ]
    assert "below the centre" in caption(bar(top=10, bottom=30))[0]
    assert "narrow, right of the centre" in caption(bar(left=20, right=24))[0]


def test_dark_ink_on_white_is_described_alike():
    white, black = caption(bar(level=255), 255 - bar(level=255))
    assert white.rsplit(",", 1)[0] == black.rsplit(",", 1)[0]
    assert white.endswith("bright")
    assert black.endswith("dim")


def test_blank_images_are_called_blank():
    noise = np.random.default_rng(0).integers(100, 110, (32, 32))
    figure = caption(np.zeros((32, 32)), np.full((32, 32), 255), noise, bar())
    assert figure[:3] == [BLANK] * 3
    assert SENTENCE.fullmatch(figure[3])
    measures = measure(rgb(np.zeros((32, 32)), bar()))
    np.testing.assert_array_equal(measures["blank"], [True, False])
    for name in BINS:
        np.testing.assert_array_equal(np.isnan(measures[name]), [True, False])


@pytest.mark.parametrize("size", [(1, 2), (2, 1), (3, 3), (17, 40), (64, 64)])
def test_any_image_gets_a_well_formed_sentence(size):
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (5, *size, 3), dtype=np.uint8)
    for sentence in describe(noise):
        assert sentence == BLANK or SENTENCE.fullmatch(sentence)
    assert all(np.isfinite(values).any() for values in measure(noise).values())


def test_an_image_does_not_depend_on_its_batch(digits, digit_captions):
    assert describe(digits[5:6]) == digit_captions[5:6]
    assert describe(digits[:0]) == []


def test_the_captioner_describes_encoded_images(digits, digit_captions):
    contents = [encode(image, "png") for image in digits[:3]]
    pictures = [Picture(str(i), "zero", "", partial(bytes, c)) for i, c in enumerate(contents)]
    replies = load_captioner({"kind": "attributes"}).caption(pictures)
    assert [reply.text for reply in replies] == digit_captions[:3]
    assert {(reply.model, reply.finish) for reply in replies} == {("attributes", "stop")}
    broken = Picture("0007", "zero", "", lambda: contents[0][:50])
    with pytest.raises(UserError, match="0007 is damaged"):
        AttributeCaptioner().caption([broken])


def test_loading():
    assert load_captioner({"kind": "attributes"}).name == "attributes"
    assert "attributes" in CAPTIONER_KINDS
    assert module_of("attributes") == "synthgap.captioners.attributes"
    with pytest.raises(UserError, match="did you mean `attributes`"):
        load_captioner({"kind": "atributes"})
    with pytest.raises(UserError, match="unknown captioner kind ``"):
        load_captioner({})
    with pytest.raises(UserError, match="remove prompt"):
        load_captioner({"kind": "attributes", "prompt": "Describe this image"})


def test_the_interface_imports_no_captioner():
    code = "import sys, synthgap.captioners; print({'scipy', 'numpy'} & sys.modules.keys())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_other_input_is_refused():
    with pytest.raises(UserError, match="uint8"):
        measure(rgb(bar()).astype(np.float32))


@pytest.mark.parametrize(
    ("box", "sentence"),
    [
        ((0.0, 0.5, 1.0, 0.5), "three on the left, seven on the right"),
        ((0.5, 0.0, 0.5, 1.0), "three above, seven below"),
        ((0.0, 0.0, 0.5, 0.5), "three, and a smaller seven at the upper left"),
        ((0.5, 0.5, 0.5, 0.5), "three, and a smaller seven at the lower right"),
        ((0.34, 0.0, 0.33, 0.33), "three, and a smaller seven at the left"),
        ((0.66, 0.34, 0.33, 0.33), "three, and a smaller seven at the bottom"),
        ((0.4, 0.4, 0.25, 0.25), "three, and a smaller seven at the middle"),
    ],
)
def test_composites_are_described_by_what_they_show_where(box, sentence):
    assert describe_composite("three", "seven", box) == sentence
