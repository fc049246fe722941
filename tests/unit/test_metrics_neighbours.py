import numpy as np
import prdc as reference
import pytest
import torch

from synthgap.errors import UserError
from synthgap.metrics import intervals
from synthgap.metrics.distances import Points, Tiles, above
from synthgap.metrics.neighbours import measure_prdc, prdc, squared_radii

METRICS = ("precision", "recall", "density", "coverage")


def clouds(n=120, m=90, d=16, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), 0.7 * rng.normal(size=(m, d)) + 0.3


def by_hand(real, fake, k):
    """The definition, with every distance in full."""

    def squared(a, b):
        return np.square(a[:, None] - b[None]).sum(axis=-1)

    real_radii = np.sort(squared(real, real), axis=1)[:, k]
    fake_radii = np.sort(squared(fake, fake), axis=1)[:, k]
    between = squared(real, fake)
    in_real = between < real_radii[:, None]
    in_fake = between < fake_radii[None]
    return in_real.sum(axis=0), in_fake.any(axis=1), in_real.any(axis=1)


def assert_by_hand(result, real, fake):
    counts, recalled, covered = by_hand(real, fake, result.k)
    np.testing.assert_array_equal(result.fake_in_real, counts)
    np.testing.assert_array_equal(result.fake_is_precise, counts > 0)
    np.testing.assert_array_equal(result.real_is_recalled, recalled)
    np.testing.assert_array_equal(result.real_is_covered, covered)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_the_reference_implementation(k, seed):
    real, fake = clouds(seed=seed)
    expected = reference.compute_prdc(real, fake, nearest_k=k)
    got = prdc(real, fake, k=k)
    for metric in METRICS:
        assert getattr(got, metric) == pytest.approx(expected[metric], abs=1e-12)


def test_equals_the_reference_where_points_coincide():
    # On small whole numbers the reference's distances are exact too, so ties fall alike.
    rng = np.random.default_rng(0)
    real = rng.integers(0, 3, size=(150, 4)).astype(np.float64)
    fake = rng.integers(0, 3, size=(100, 4)).astype(np.float64)
    expected = reference.compute_prdc(real, fake, nearest_k=3)
    got = prdc(real, fake, k=3, block=32)
    for metric in METRICS:
        assert getattr(got, metric) == pytest.approx(expected[metric], abs=1e-12)


def test_ties_of_inexact_numbers_are_decided_exactly():
    # Every fake point repeats a real one, so distances equal to a radius abound.
    rng = np.random.default_rng(0)
    real = rng.normal(size=(80, 24))
    real[40:60] = real[20:40]
    fake = real[rng.integers(0, 80, size=70)]
    assert_by_hand(prdc(real, fake, k=3, block=16), real, fake)


@pytest.mark.parametrize("copies", [7, 40])
def test_many_copies_of_a_point_have_radius_zero(copies):
    real, fake = clouds()
    real[:copies] = real[0]
    fake[:copies] = real[0]
    result = prdc(real, fake, k=5)
    assert_by_hand(result, real, fake)
    # Nothing is strictly inside a ball of radius zero.
    assert not result.real_is_covered[:copies].any()


def test_far_from_the_origin_nothing_is_lost_to_cancellation():
    real, fake = clouds()
    real, fake = 1e-3 * real + 1e3, 1e-3 * fake + 1e3
    assert_by_hand(prdc(real, fake), real, fake)


def test_crowds_that_the_bounds_cannot_order_are_ordered_exactly():
    # One far point makes its neighbours' bounds wide compared with their distances.
    rng = np.random.default_rng(0)
    real = 1e-9 * rng.normal(size=(60, 8)) + np.repeat([[0.0], [1.0]], 30, axis=0)
    fake = 1e-9 * rng.normal(size=(50, 8)) + np.repeat([[0.0], [1.0]], 25, axis=0)
    assert_by_hand(prdc(real, fake, k=4, block=7), real, fake)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_blocks_change_nothing(distance):
    real, fake = clouds()
    whole = prdc(real, fake, distance=distance, block=4096)
    for block in (16, 33, 90):
        tiled = prdc(real, fake, distance=distance, block=block)
        np.testing.assert_array_equal(tiled.fake_in_real, whole.fake_in_real)
        np.testing.assert_array_equal(tiled.real_is_recalled, whole.real_is_recalled)
        np.testing.assert_array_equal(tiled.real_is_covered, whole.real_is_covered)


def test_cosine_distance_is_one_minus_cosine():
    real, fake = clouds()
    scales = np.random.default_rng(1).uniform(0.1, 10, size=(len(real), 1))

    def between(a, b):
        norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
        return 1 - a @ b.T / norms

    radii = np.sort(between(real, real), axis=1)[:, 5]
    counts = (between(real, fake) < radii[:, None]).sum(axis=0)
    got = prdc(real * scales, fake, k=5, distance="cosine")
    np.testing.assert_array_equal(got.fake_in_real, counts)


def test_single_precision_is_rounded_as_in_the_reference():
    # In float32 the reference rounds distances, so that some of these tie, and others do not.
    rng = np.random.default_rng(0)
    real, fake = (1 + rng.integers(0, 4, size=(n, 6)).astype(np.float32) / 4 for n in (300, 250))
    for points in (real, fake):
        points[:, 0] += 2.0**-23 * rng.integers(0, 3, size=len(points))
    expected = reference.compute_prdc(real, fake, nearest_k=5)
    got = prdc(real, fake)
    for metric in METRICS:
        assert getattr(got, metric) == pytest.approx(expected[metric], abs=1e-12)
    other = prdc(real.astype(np.float64), fake.astype(np.float64))
    assert (other.fake_in_real != got.fake_in_real).any()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("spread", [1.0, 0.6])
def test_equals_the_reference_in_each_type_and_where_all_balls_meet(kind, spread):
    rng = np.random.default_rng(1)
    real = rng.normal(size=(700, 96)).astype(kind)
    # Points near the centre of a high-dimensional cloud lie in most of its balls.
    fake = (spread * rng.normal(size=(900, 96))).astype(kind)
    expected = reference.compute_prdc(real, fake, nearest_k=5)
    got = prdc(real, fake, block=256)
    assert len(set(np.minimum(got.fake_in_real, 9))) > 1 or spread < 1
    for metric in METRICS:
        assert getattr(got, metric) == pytest.approx(expected[metric], abs=1e-10)


def adversarial(rng, kind):
    if kind == "cancelling":  # products of alternating signs, large against their sum
        rows = rng.choice([-1.0, 1.0], size=(60, 40)) * 10.0 ** rng.integers(-3, 4, size=(60, 40))
    elif kind == "off centre":
        rows = 1e4 + rng.normal(size=(60, 40))
    elif kind == "outlier":
        rows = 1e-6 * rng.normal(size=(60, 40))
        rows[0] = 1e6
    elif kind == "tiny":
        rows = 1e-140 * rng.normal(size=(60, 40))
    elif kind == "huge":
        rows = 1e150 * rng.normal(size=(60, 40))
    else:  # the longest sums, all of one sign
        rows = np.full((60, 3000), 1.0) + 1e-5 * rng.random((60, 3000))
    return rows


@pytest.mark.parametrize(
    "kind", ["cancelling", "off centre", "outlier", "tiny", "huge", "long sums"]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bounds_hold_and_are_as_narrow_as_said(kind, dtype):
    rng = np.random.default_rng(0)
    with np.errstate(over="ignore"):
        rows = adversarial(rng, kind).astype(dtype)
    if not np.isfinite(rows).all():
        pytest.skip("float32 does not hold such numbers")
    points = Points("real", rows)
    tiles = Tiles(points, points)
    v = tiles.upper(slice(0, 60), slice(0, 60)).numpy()
    i, j = (index.ravel() for index in np.indices(v.shape))
    lower, upper = tiles.limits(i, j, v.ravel())
    exact = rows.astype(np.longdouble)
    truth = np.square(exact[i] - exact[j]).sum(axis=1)
    assert (lower <= truth).all()
    assert (truth <= upper).all()
    scale = 2 * (tiles.left.halves[i] + tiles.left.halves[j]) / tiles.scale / tiles.scale
    assert (upper - lower <= 8 * rows.shape[1] * 2.0**-23 * scale + 1e-30).all()
    # The thresholds that a tile is searched by: none that lies within is missed.
    inside = truth.reshape(v.shape) < upper.reshape(v.shape)[:, 5:6]
    least = tiles.least(upper.reshape(v.shape)[:, 5]).numpy()[:, None]
    assert (v > least)[inside & (upper.reshape(v.shape)[:, 5:6] > 0)].all()
    squares = upper.reshape(v.shape)[:, 5]
    enough = tiles.enough(squares, tiles.left.halves, tiles.right.halves).numpy()[:, None]
    assert (truth.reshape(v.shape) < squares[:, None])[v > enough].all()


@pytest.mark.parametrize("shape", [(5, 7), (64, 64), (100, 33)])
def test_search_by_chunks_finds_what_a_comparison_does(shape):
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.normal(size=shape).astype(np.float32))
    for side, size in (("row", shape[0]), ("column", shape[1])):
        thresholds = torch.from_numpy(rng.normal(1, 1, size=size).astype(np.float32))
        expected = values > (thresholds[:, None] if side == "row" else thresholds)
        i, j, v = above(values, thresholds, side)
        found = torch.zeros(shape, dtype=torch.bool)
        found[i, j] = True
        assert torch.equal(found, expected)
        assert len(i) == int(expected.sum())
        assert torch.equal(values[i, j], v)


@pytest.mark.parametrize("scale", [1e-22, 1e19, 1e20, 1e-29])
def test_where_float32_loses_squares_it_decides_as_the_reference_does(scale):
    rng = np.random.default_rng(0)
    real, fake = (scale * rng.normal(size=(n, 3)).astype(np.float32) for n in (90, 80))
    real, fake = real.astype(np.float32), fake.astype(np.float32)

    def distances(a, b):
        squares = np.square(a[:, None].astype(float) - b[None]).sum(axis=-1)
        with np.errstate(over="ignore"):
            return np.sqrt(squares.astype(np.float32))

    radii = np.sort(distances(real, real), axis=1)[:, 5]
    expected = (distances(real, fake) < radii[:, None]).sum(axis=0)
    for block in (16, None):
        np.testing.assert_array_equal(prdc(real, fake, block=block).fake_in_real, expected)


def test_autocast_does_not_reach_the_products():
    real, fake = clouds(n=400, m=300, d=64)
    expected = prdc(real, fake)
    with torch.autocast("cpu", torch.bfloat16):
        got = prdc(real, fake)
    np.testing.assert_array_equal(got.fake_in_real, expected.fake_in_real)


def test_radii_can_be_computed_once():
    real, fake = clouds()
    radii = squared_radii(real, k=4)
    again = prdc(real, fake, k=4, real_radii=radii)
    np.testing.assert_array_equal(again.fake_in_real, prdc(real, fake, k=4).fake_in_real)
    with pytest.raises(UserError, match="120 real rows and radii of shape"):
        prdc(real, fake, k=4, real_radii=radii[:-1])


def test_the_same_distribution_is_near_the_expected_coverage():
    # Naeem et al., section 3.4: E[coverage] = 1 - (n - 1)...(n - k) / ((2n - 1)...(2n - k)).
    rng = np.random.default_rng(0)
    result = prdc(rng.normal(size=(400, 8)), rng.normal(size=(400, 8)), k=5)
    expected = 1 - np.prod([(400 - i) / (800 - i) for i in range(1, 6)])
    assert result.coverage == pytest.approx(expected, abs=0.04)
    assert result.density == pytest.approx(1, abs=0.1)


def test_measure_names_variants_and_counts_items():
    real, fake = clouds()
    result = prdc(real, fake, k=3, distance="cosine")
    measures = {m.metric: m for m in measure_prdc(result, "cosine", resamples=200)}
    assert set(measures) == {f"{metric}_k3_cosine" for metric in METRICS}
    for metric in METRICS:
        got = measures[f"{metric}_k3_cosine"]
        assert got.value == pytest.approx(getattr(result, metric))
        assert got.low <= got.value <= got.high
        assert got.n == (len(real) if metric in ("recall", "coverage") else len(fake))


def test_nothing_covered_is_not_called_certain():
    real, fake = clouds()
    measures = {m.metric: m for m in measure_prdc(prdc(real, fake + 100), "euclidean")}
    coverage = measures["coverage_k5_euclidean"]
    limits = (coverage.value, coverage.low, coverage.high)
    assert limits == tuple(intervals.wilson(0, len(real)))
    assert np.isnan(measures["density_k5_euclidean"].high)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r, f: (r[:5], f, {}), "at least 6 real rows"),
        (lambda r, f: (r, f[:5], {}), "at least 6 generated rows"),
        (lambda r, f: (r, f[:, :3], {}), "same encoder"),
        (lambda r, f: (r[0], f, {}), "matrix"),
        (lambda r, f: (r, np.where(f > 2, np.nan, f), {}), "not finite"),
        (lambda r, f: (r * 1e200, f, {}), "too large"),
        (lambda r, f: (r * 1e-160, f, {}), "too small"),
        (lambda r, f: (Points("real", r), f, {"distance": "cosine"}), "of the distance euclidean"),
        (lambda r, f: (r, 0 * f, {"distance": "cosine"}), "zero"),
        (lambda r, f: (r, f, {"distance": "manhattan"}), "unknown distance"),
        (lambda r, f: (r, f, {"k": 0}), "at least 1"),
        (lambda r, f: (r, f, {"block": 0}), "at least 1"),
    ],
)
def test_bad_input_is_refused(change, message):
    real, fake, options = change(*clouds())
    with pytest.raises(UserError, match=message):
        prdc(real, fake, **options)
