"""Captions of colour: what is said of images whose look is known."""

import numpy as np
import pytest

from synthgap.captioners import Picture, load_captioner
from synthgap.captioners.colours import NAMES, describe
from synthgap.data.images import encode
from synthgap.errors import UserError


def plain(*colour, side=16):
    return np.full((side, side, 3), colour, np.uint8)


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((0, 0, 0), "black"), ((120, 120, 120), "grey"), ((250, 250, 250), "white"),
        ((110, 60, 20), "brown"), ((220, 20, 20), "red"), ((240, 140, 20), "orange"),
        ((240, 230, 20), "yellow"), ((30, 180, 40), "green"), ((20, 190, 180), "turquoise"),
        ((20, 60, 220), "blue"), ((130, 20, 220), "purple"), ((240, 90, 200), "pink"),
        ((220, 20, 40), "red"),
    ],
)  # fmt: skip
def test_colours_have_their_names(colour, name):
    assert name in NAMES
    assert describe(plain(*colour)).startswith(f"mostly {name}, ")


def test_the_second_colour_is_named_where_there_is_much_of_it():
    image = plain(220, 20, 20)
    image[:3] = (20, 60, 220)  # 19 %
    assert describe(image).startswith("mostly red, ")
    image[:4] = (20, 60, 220)
    assert describe(image).startswith("mostly red and blue, ")


def test_light_detail_and_place():
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    down = np.repeat(ramp[:, None], 32, 1)[..., None].repeat(3, 2)
    assert describe(down).endswith("lighter at the bottom")
    assert describe(down[::-1]).endswith("lighter at the top")
    assert describe(down.swapaxes(0, 1)).endswith("lighter on the right")
    assert describe(down[:, ::-1].swapaxes(0, 1)[:, ::-1]).endswith("lighter on the left")
    assert describe(plain(250, 250, 250)) == "mostly white, bright, pale, smooth"
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert "with fine detail" in describe(noise)
    assert describe(plain(90, 5, 5, side=1)) == "mostly red, dark, colourful, smooth"


def test_the_captioner_is_loaded_by_its_kind_and_describes_composites():
    captioner = load_captioner({"kind": "colours"})
    pictures = [
        Picture("a", "cat", "0", lambda: encode(plain(220, 20, 20), "png")),
        Picture("b", "cat", "1", bytes, box=(0, 0.5, 1, 0.5), partner_class_name="dog"),
    ]
    first, second = captioner.caption(pictures)
    assert first.text == "mostly red, neither dark nor bright, colourful, smooth"
    assert second.text == "cat on the left, dog on the right"
    with pytest.raises(UserError, match="'colours' has no settings; remove prompt"):
        load_captioner({"kind": "colours", "prompt": "x"})
    with pytest.raises(UserError, match="must be uint8"):
        describe(np.zeros((4, 4)))
