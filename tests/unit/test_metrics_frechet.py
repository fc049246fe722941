import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from synthgap.config import metrics as config
from synthgap.errors import UserError
from synthgap.metrics import frechet, vendi
from synthgap.metrics.frechet import Normal, measure_frechet, moments, random_groups
from synthgap.metrics.kernel_distance import kid_subsets, mean_kernel, measure_kernel_distance
from synthgap.metrics.vendi import measure_vendi, vendi_score


def features(n=400, m=300, d=24, seed=0):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(d, d))
    return rng.normal(size=(n, d)) @ mix, (rng.normal(size=(m, d)) + 0.2) @ mix * 0.9


def reference_fid(real, fake):
    statistics = [fid_features_to_statistics(torch.from_numpy(rows)) for rows in (real, fake)]
    return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]


def normal(values):
    whole, _ = moments(values)
    return Normal(whole.mean, whole.covariance)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_frechet_distance_equals_torch_fidelity(offset):
    real, fake = (values + offset for values in features())
    found = measure_frechet(normal(real), len(real), fake, name="fid", few=True)
    assert found.value == pytest.approx(reference_fid(real, fake), rel=1e-6)
    assert found.metric == "fid_n300"
    assert found.low < found.value < found.high


def test_frechet_distance_of_fewer_images_than_features():
    real, fake = features(n=15, m=12)
    found = normal(real).distance(*(lambda w: (w.mean, w.covariance))(moments(fake)[0]))
    # By the nuclear norm of the centred rows' product, without any matrix root.
    a, b = ((rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1) for rows in (real, fake))
    offset = np.square(real.mean(axis=0) - fake.mean(axis=0)).sum()
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    expected = offset + np.square(a).sum() + np.square(b).sum() - 2 * root
    assert found == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_known_normals():
    # One dimension: (m1 - m2)^2 + (s1 - s2)^2.
    one = Normal(np.zeros(1), np.full((1, 1), 4.0))
    assert one.distance(np.full(1, 3.0), np.full((1, 1), 25.0)) == pytest.approx(9 + 9)
    assert one.distance(np.zeros(1), np.full((1, 1), 4.0)) == pytest.approx(0, abs=1e-12)


def test_moments_add_up_and_come_apart():
    values, _ = features(n=10_000, d=6)
    groups = random_groups(len(values), 3)
    whole, parts = moments(values.astype(np.float32), groups)
    single = values.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(whole.covariance, np.cov(single, rowvar=False), rtol=1e-10)
    rest = whole.without(parts[4])
    np.testing.assert_allclose(rest.mean, single[groups != 4].mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(
        rest.covariance, np.cov(single[groups != 4], rowvar=False), rtol=1e-9
    )


def test_the_jackknife_tells_the_spread_over_samples():
    real, _ = features(n=3000, d=4)
    rng = np.random.default_rng(1)
    reference = normal(real)
    mix = rng.normal(size=(4, 4))
    draws = [rng.normal(size=(400, 4)) @ mix for _ in range(60)]
    found = [measure_frechet(reference, 3000, rows, few=True) for rows in draws]
    spread = np.std([measure.value for measure in found])
    half = np.mean([(measure.high - measure.low) / 2 for measure in found])
    assert 1.2 * spread < half < 4 * spread  # t of 9 degrees of freedom: 2.26


def test_the_config_knows_what_metrics_need():
    assert config.CONVENTIONAL == frechet.CONVENTIONAL
    assert config.LEAST_IMAGES == vendi.LEAST == 2 * frechet.GROUPS


def test_few_images_are_refused_unless_asked_for():
    real, fake = features()
    with pytest.raises(UserError, match="fid: 300 images are fewer than the 50000"):
        measure_frechet(normal(real), len(real), fake, name="fid")


def test_kernel_distance_equals_torch_fidelity():
    real, fake = features()
    expected = kid_features_to_metric(
        torch.from_numpy(real),
        torch.from_numpy(fake),
        kid_subsets=7,
        kid_subset_size=100,
        kid_kernel="poly",
        kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1,
        rng_seed=5,
        verbose=False,
    )
    mean, deviation = kid_subsets(real, fake, subsets=7, size=100, seed=5)
    assert mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-6)
    assert deviation == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-6)
    # One subset of everything is the same as all pairs.
    whole, _ = kid_subsets(real[:300], fake, subsets=1, size=300)
    found = measure_kernel_distance(real[:300], fake)
    assert found.value == pytest.approx(whole, rel=1e-9)
    assert found.low < found.value < found.high


def test_kernel_distance_in_blocks_and_leaving_groups_out(monkeypatch):
    real, fake = features(n=150, m=130, d=5)
    expected = measure_kernel_distance(real, fake, seed=2)
    monkeypatch.setattr("synthgap.metrics.kernel_distance._BLOCK", 32)
    found = measure_kernel_distance(real, fake, seed=2, real_kernel=mean_kernel(real))
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    groups = random_groups(130, 2)
    left_out = [measure_kernel_distance(real, fake[groups != group]).value for group in range(10)]
    half = 2.2621571628 * np.sqrt(9 * np.var(left_out))
    assert found.high - found.value == pytest.approx(half, rel=1e-6)


def test_vendi_score_counts_what_differs():
    assert vendi_score(np.eye(7)) == pytest.approx(7)
    assert vendi_score(np.repeat(np.eye(3), 4, axis=0)) == pytest.approx(3)
    assert vendi_score(np.ones((5, 2))) == pytest.approx(1)
    many, _ = features(n=50, d=8)
    unit = many / np.linalg.norm(many, axis=1, keepdims=True)
    shares = np.linalg.eigvalsh(unit @ unit.T / 50)[-8:]
    assert vendi_score(many) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_vendi_score_within_classes():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 30)
    values = rng.normal(size=(60, 40))
    values[labels == 1] = values[30] + 1e-3 * values[labels == 1]
    found = {
        m.settings.get("class"): m for m in measure_vendi(values, labels, {0: "owl", 1: "cat"})
    }
    assert found["cat"].value == pytest.approx(1, abs=0.01)
    assert found["owl"].value > 15
    assert found[None].value == pytest.approx((found["owl"].value + found["cat"].value) / 2)
    with pytest.raises(UserError, match="10 images of cat"):
        measure_vendi(values[:40], labels[:40], {0: "owl", 1: "cat"})
