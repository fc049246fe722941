import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity as reference

from synthgap.errors import UserError
from synthgap.metrics import similarity
from synthgap.metrics.similarity import Search, nearest_by_ssim, ssim, window_weights
from synthgap.metrics.similarity_bounds import Bounds

GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5}
UNIFORM = {"win_size": 7}


def pictures(n, height=32, width=32, channels=3, seed=0):
    """Images from smooth to noisy, dark to bright, flat ones and extremes among them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    found = np.empty((n, height, width, channels), np.uint8)
    for image in found:
        waves = sum(
            np.sin(a * x + b * y + c)[..., None] * rng.uniform(0, 60, channels)
            for a, b, c in rng.uniform(0, 1.5, (3, 3))
        )
        noise = rng.normal(0, rng.choice([0, 3, 60]), (height, width, channels))
        image[:] = np.clip(rng.uniform(0, 255) + rng.choice([0, 0.1, 1]) * waves + noise, 0, 255)
    found[: min(n, 4)] = np.array([0, 255, 1, 254])[: min(n, 4), None, None, None]
    return found


def every_pair(a, b):
    return np.stack([ssim(np.broadcast_to(one, b.shape), b) for one in a])


@pytest.mark.parametrize(("window", "told"), [("gaussian", GAUSSIAN), ("uniform", UNIFORM)])
@pytest.mark.parametrize("shape", [(32, 32, 3), (23, 40, 3), (11, 11, 1)])
def test_equals_scikit_image(window, told, shape):
    a, b = pictures(12, *shape, seed=1), pictures(12, *shape, seed=2)[::-1]
    given = told | {"use_sample_covariance": False, "channel_axis": -1, "data_range": 255}
    expected = [reference(x, y, **given) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(ssim(a, b, window=window), expected, rtol=0, atol=1e-9)


def test_a_pair_is_the_same_wherever_and_whichever_way_it_stands():
    a, b = pictures(70, seed=3), pictures(70, seed=4)
    found = ssim(a, b)
    np.testing.assert_array_equal(found, ssim(b, a))
    np.testing.assert_array_equal(found, [ssim(a[i : i + 1], b[i : i + 1])[0] for i in range(70)])
    np.testing.assert_allclose(ssim(a, a), 1, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    group=st.sampled_from([1, 3, 16, 64]),
    kept=st.sampled_from([1, 7, 100]),
    prune=st.booleans(),
    side=st.sampled_from([(11, 11), (12, 17), (24, 16)]),
)
def test_the_nearest_is_that_of_all_pairs_and_the_first_of_equals(seed, group, kept, prune, side):
    rng = np.random.default_rng(seed)
    base = pictures(20, *side, channels=2, seed=seed)
    training = base[rng.integers(0, 20, 30)]  # many twice
    changed = training[rng.integers(0, 30, 9)] + rng.integers(-2, 3, (9, *base.shape[1:]))
    generated = np.concatenate([np.clip(changed, 0, 255).astype(np.uint8), training[[29]]])
    index, value = nearest_by_ssim(generated, training, group=group, kept=kept, prune=prune)
    expected = every_pair(generated, training)
    np.testing.assert_array_equal(index, expected.argmax(1))
    np.testing.assert_array_equal(value, expected.max(1))


def test_blocks_of_generated_images_do_not_matter(monkeypatch):
    generated, training = pictures(30, seed=5), pictures(80, seed=6)
    expected = every_pair(generated, training)
    monkeypatch.setattr(similarity, "_TRIAL", 4)
    monkeypatch.setattr(similarity, "_ROWS_AT_ONCE", 7)
    for worth in (0.0, 2.0):  # bounds all along, and let go after the first block
        monkeypatch.setattr(similarity, "_WORTH", worth)
        index, value = nearest_by_ssim(generated, training)
        np.testing.assert_array_equal(index, expected.argmax(1))
        np.testing.assert_array_equal(value, expected.max(1))


@pytest.mark.parametrize("shape", [(32, 32, 3), (19, 30, 1), (64, 64, 3)])
def test_bounds_hold(shape):
    a, b = pictures(12, *shape, seed=7), pictures(30, *shape, seed=8)
    b[-6:] = 255 - a[-6:]
    b[-12:-6] = np.clip(a[:6].astype(int) + np.arange(-3, 3)[:, None, None, None], 0, 255)
    bounds = Bounds(b, window_weights("gaussian"))
    assert (bounds.upper(a) >= every_pair(a, b)).all()


def test_bounds_spare_most_pairs_where_images_are_copies():
    training = pictures(300, seed=9)[4:]
    rng = np.random.default_rng(0)
    noise = rng.integers(-3, 4, training[:40].shape)
    generated = np.clip(training[100:140] + noise, 0, 255).astype(np.uint8)
    search = Search(training)
    search.nearest(generated, np.full(40, -np.inf))
    assert search.spared > 0.6


@pytest.mark.parametrize("shape", [(32, 32, 3), (70, 50, 1)])
def test_float32_errs_less_than_is_claimed(shape):
    a, b = pictures(10, *shape, seed=10), pictures(40, *shape, seed=11)
    search = Search(b, group=40)
    windows = (shape[1] - 10) * shape[2]
    for one, expected in zip(a, every_pair(a, b), strict=True):
        maps, rough = similarity._maps(one[None], torch.device("cpu"))
        found = search._fast(maps, 0)
        error = 80 * 2.0**-24 * rough[0] * search.roughness + 2 * (windows + 24) * 2.0**-24
        assert (np.abs(found - expected) <= error).all()


def test_bad_input_is_told():
    a = pictures(3)
    with pytest.raises(UserError, match="smaller than the window of 11 x 11"):
        ssim(a[:, :10], a[:, :10])
    with pytest.raises(UserError, match="expected two"):
        ssim(a, a[:2])
    with pytest.raises(UserError, match="unknown window"):
        ssim(a, a, window="round")
    with pytest.raises(UserError, match="range must be positive"):
        ssim(a, a, data_range=0)
    with pytest.raises(UserError, match="needs one size"):
        nearest_by_ssim(a, pictures(3, 32, 33))
    with pytest.raises(UserError, match="one or more"):
        nearest_by_ssim(a, a[:0])
    with pytest.raises(UserError, match="must be uint8"):
        nearest_by_ssim(a.astype(float), a)
    with pytest.raises(UserError, match="smaller than the window"):
        nearest_by_ssim(a[:, :8], a[:, :8])
