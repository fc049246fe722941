"""Views that lower the fidelity of all images alike."""

import io

import numpy as np
import pytest
from PIL import Image

from synthgap.errors import UserError
from synthgap.metrics.leaks import block_edges
from synthgap.views import make_view
from synthgap.views.fidelity import recompress, resize


def noise(count=3, side=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def test_resizing_averages_blocks():
    images = noise()
    blocks = images.reshape(3, 8, 4, 8, 4, 3).astype(float).mean((2, 4))
    assert np.abs(resize(images, 8) - blocks).max() <= 1  # rounded once for each direction
    assert (resize(images, 32) == images).all()
    with pytest.raises(UserError, match="from 1 to 32 px, not 33"):
        resize(images, 33)


@pytest.mark.parametrize(("chroma", "number"), [("4:4:4", 0), ("4:2:0", 2)])
def test_recompressing_is_what_the_codec_does(chroma, number):
    images = noise()
    buffer = io.BytesIO()
    Image.fromarray(images[1]).save(buffer, "JPEG", quality=60, subsampling=number)
    assert (recompress(images, 60, chroma)[1] == np.asarray(Image.open(buffer))).all()


def test_both_sides_of_a_comparison_get_the_same_traces():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (30, 9, 9, 3), np.uint8)
    sides = rng.integers(64, 100, 30)
    plain = np.stack(
        [
            np.asarray(Image.fromarray(s).resize((n, n), Image.BICUBIC).crop((0, 0, 64, 64)))
            for s, n in zip(small, sides.tolist(), strict=True)
        ]
    )
    once = recompress(plain, 30, "4:2:0")
    view = make_view({"kind": "jpeg", "quality": 30})
    both = [block_edges(view(side, range(30)).images).mean() for side in (plain, once)]
    apart = block_edges(once).mean() - block_edges(plain).mean()
    assert abs(both[0] - both[1]) < 0.1 * apart
