import warnings

import lpips
import numpy as np
import pytest
import torch

from synthgap.errors import UserError
from synthgap.metrics import perceptual
from synthgap.metrics.nearest import nearest
from synthgap.metrics.perceptual import SMALLEST, Perceptual, linear_weights


def images(n, height=32, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """Return a function from a network to the package's LPIPS, drawn at random, and its weights."""
    made = {}

    def of(network):
        if network not in made:
            torch.manual_seed(0)
            with warnings.catch_warnings(action="ignore"):  # of torchvision, for old arguments
                model = lpips.LPIPS(net=network, pnet_rand=True, verbose=False)
            # The package's slices keep torchvision's numbers.
            state = {
                "features." + name.split(".", 1)[1]: tensor
                for name, tensor in model.net.state_dict().items()
            }
            state["classifier.1.weight"] = torch.zeros(1)  # as published files have more
            path = tmp_path_factory.mktemp("weights") / f"{network}.pth"
            torch.save(state, path)
            made[network] = model, path
        return made[network]

    return of


def by_package(model, a, b):
    def tensor(x):
        return torch.from_numpy(x).permute(0, 3, 1, 2).float() / 127.5 - 1

    with torch.no_grad():
        return model(tensor(a), tensor(b)).flatten().numpy()


@pytest.mark.parametrize(
    ("network", "size"), [("alex", (32, 32)), ("alex", (47, 70)), ("vgg", (16, 33))]
)
def test_squared_distances_are_the_packages_lpips(references, network, size):
    model, path = references(network)
    a, b = images(5, *size, seed=1), images(5, *size, seed=2)
    b[0] = a[0]
    b[1] = a[1] // 2
    ours = Perceptual(network, path)
    x, y = ours.embed(a), ours.embed(b)
    assert x.dtype == np.float32
    assert x.shape == (5, ours.width(*size))
    expected = by_package(model, a, b)
    np.testing.assert_allclose(np.square(x - y).sum(1), expected, rtol=1e-5, atol=1e-7)
    assert expected[1:].min() > 0


def test_the_nearest_by_vectors_is_the_packages(references):
    model, path = references("alex")
    training, generated = images(12, 40, 40, seed=3), images(6, 40, 40, seed=4)
    generated[:3] = training[[7, 2, 7]] // 3 * 3
    ours = Perceptual("alex", path)
    index, value = nearest(ours.embed(generated), ours.embed(training), block=5)
    expected = np.stack(
        [by_package(model, np.repeat(one[None], 12, 0), training) for one in generated]
    )
    np.testing.assert_array_equal(index, expected.argmin(1))
    np.testing.assert_allclose(value, expected.min(1), rtol=1e-5)
    assert index[:3].tolist() == [7, 2, 7]


def test_resizing_is_bilinear_and_in_the_name(references):
    _, path = references("alex")
    ours = Perceptual("alex", path, resize=36)
    assert ours.variant == "lpips_alex_resize36"
    flat = np.full((1, 8, 8, 3), 90, np.uint8)
    large = np.full((1, 36, 36, 3), 90, np.uint8)
    plain = Perceptual("alex", path)
    assert plain.variant == "lpips_alex"
    np.testing.assert_allclose(ours.embed(flat), plain.embed(large), atol=1e-6)
    some = images(1, 36, 36)
    np.testing.assert_array_equal(ours.embed(some), plain.embed(some))


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_the_smallest_size_is_the_smallest(references, network):
    _, path = references(network)
    ours = Perceptual(network, path)
    side = SMALLEST[network]
    assert np.isfinite(ours.embed(images(1, side, side))).all()
    with pytest.raises(UserError, match=r"too small.*set `resize`"):
        ours.embed(images(1, side, side - 1))
    ours._check_size = lambda *_: None
    with pytest.raises(RuntimeError):
        ours.embed(images(1, side, side - 1))


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_shipped_weights_are_a_distance(network):
    for weights in linear_weights(network):
        assert (weights >= 0).all()
        assert weights.max() > 0


def test_negative_weights_are_refused(monkeypatch):
    bad = {f"lin{n}.model.1.weight": torch.full((1, 4, 1, 1), -1e-9) for n in range(5)}
    monkeypatch.setattr(perceptual, "_read", lambda path: bad)
    with pytest.raises(UserError, match="negative weights"):
        linear_weights("alex")


def test_bad_weights_and_images_are_told(references, tmp_path):
    _, alex = references("alex")
    with pytest.raises(UserError, match="no network 'squeeze'"):
        Perceptual("squeeze", alex)
    with pytest.raises(UserError, match="no weights of torchvision's vgg"):
        Perceptual("vgg", alex)
    with pytest.raises(UserError, match="too small for alex"):
        Perceptual("alex", alex, resize=20)
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match="no file of weights, or a damaged one"):
        Perceptual("alex", tmp_path / "bad.pth")
    (tmp_path / "cut.pth").write_bytes(alex.read_bytes()[:5000])
    with pytest.raises(UserError, match="no file of weights, or a damaged one"):
        Perceptual("alex", tmp_path / "cut.pth")
    with pytest.raises(UserError, match="must be uint8"):
        Perceptual("alex", alex).embed(images(1).astype(np.float32))


def full(points, others):
    points, others = points.astype(np.float64), others.astype(np.float64)
    return np.stack([np.square(one - others).sum(-1) for one in points])


@pytest.mark.parametrize("kind", ["normal", "far", "whole", "same"])
@pytest.mark.parametrize(("block", "columns"), [(None, 2048), (7, 5), (16, 64)])
def test_nearest_is_that_of_all_pairs_and_the_first_of_equals(kind, block, columns):
    rng = np.random.default_rng(0)
    points, others = rng.normal(size=(40, 30)), rng.normal(size=(60, 30))
    if kind == "far":
        points, others = points + 1e4, others + 1e4
    elif kind == "whole":
        points, others = np.round(points[:, :4]), np.round(others[:, :4])
    elif kind == "same":
        points, others = np.ones((40, 30)), np.ones((60, 30))
    points, others = points.astype(np.float32), others.astype(np.float32)
    index, value = nearest(points, others, block=block, columns=columns)
    expected = full(points, others)
    np.testing.assert_array_equal(index, expected.argmin(1))
    np.testing.assert_array_equal(value, expected.min(1))


def test_nearest_reads_a_mapped_file(tmp_path):
    rng = np.random.default_rng(1)
    others = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (50, 5000))
    others[:] = rng.normal(size=others.shape)
    others.flush()
    points = (others[[3, 30]] + 0.01).astype(np.float32)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert nearest(points, mapped, block=20)[0].tolist() == [3, 30]


def test_nearest_refuses_what_has_none():
    some = np.ones((3, 4), np.float32)
    with pytest.raises(UserError, match="one width"):
        nearest(some, some[:, :2])
    with pytest.raises(UserError, match="no points"):
        nearest(some, some[:0])
    with pytest.raises(UserError, match="at least 1"):
        nearest(some, some, block=0)
    with pytest.raises(UserError, match="not finite"):
        nearest(some, some * np.nan)
