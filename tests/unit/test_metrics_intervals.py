import math

import numpy as np
import pytest

from synthgap.errors import UserError
from synthgap.metrics import intervals
from synthgap.metrics.intervals import (
    bootstrap_accuracy_over_seeds,
    bootstrap_comparison,
    bootstrap_mean,
    wilson,
)


def test_wilson_equals_scipy():
    from scipy.stats import binomtest

    for successes, n, level in [(0, 10, 0.95), (3, 10, 0.9), (10, 10, 0.95), (450, 500, 0.99)]:
        expected = binomtest(successes, n).proportion_ci(level, method="wilson")
        got = wilson(successes, n, level)
        assert got.value == successes / n
        assert got.low == pytest.approx(expected.low, abs=1e-12)
        assert got.high == pytest.approx(expected.high, abs=1e-12)


def test_wilson_of_none_stays_close_to_the_rule_of_three():
    assert wilson(0, 1000).low == 0
    assert wilson(0, 1000).high == pytest.approx(3.84 / 1000, rel=0.01)
    assert wilson(1000, 1000).high == 1


def test_bootstrap_of_many_items_approaches_the_normal_interval():
    values = np.random.default_rng(0).normal(3, 2, size=2000)
    got = bootstrap_mean(values, resamples=4000)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert got.value == pytest.approx(values.mean())
    assert got.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert got.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_bootstrap_depends_on_the_seed_but_not_on_order_or_blocks(monkeypatch):
    values = np.random.default_rng(0).integers(0, 20, size=300)
    expected = bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values[::-1], seed=1) == expected
    assert bootstrap_mean(values, seed=2) != expected
    monkeypatch.setattr(intervals, "_COUNTS_AT_ONCE", 64)
    assert bootstrap_mean(values, seed=1) == expected


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(400):
        got = bootstrap_mean(rng.random(200) < 0.8, resamples=400, seed=trial)
        hits += got.low <= 0.8 <= got.high
    assert 0.91 <= hits / 400 <= 0.98


@pytest.mark.parametrize(("answer", "successes"), [(False, 0), (True, 50)])
def test_all_or_none_correct_still_has_a_width(answer, successes):
    assert bootstrap_mean(np.full(50, answer)) == wilson(successes, 50)
    assert bootstrap_accuracy_over_seeds(np.full((3, 50), answer)) == wilson(successes, 50)


def test_equal_numbers_have_no_known_interval():
    got = bootstrap_mean(np.full(50, 2.5))
    assert got.value == 2.5
    assert math.isnan(got.low)
    assert math.isnan(got.high)


def test_one_seed_is_the_bootstrap_over_images():
    correct = np.random.default_rng(0).random((1, 200)) < 0.7
    assert bootstrap_accuracy_over_seeds(correct) == bootstrap_mean(correct[0])


def test_equal_seeds_do_not_multiply_the_test_set():
    correct = np.random.default_rng(0).random(200) < 0.7
    one = bootstrap_mean(correct)
    four = bootstrap_accuracy_over_seeds(np.tile(correct, (4, 1)))
    assert four.value == one.value
    assert four.high - four.low == pytest.approx(one.high - one.low, rel=0.1)


def test_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(0)
    alike = rng.random((4, 400)) < 0.7
    unlike = rng.random((4, 400)) < np.array([0.5, 0.6, 0.8, 0.9])[:, None]
    narrow, wide = bootstrap_accuracy_over_seeds(alike), bootstrap_accuracy_over_seeds(unlike)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_bootstrap_over_seeds_covers_the_truth():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        skill = rng.uniform(0.65, 0.75, size=(8, 1))
        ease = rng.uniform(-0.2, 0.2, size=(1, 150))
        correct = rng.random((8, 150)) < skill + ease
        got = bootstrap_accuracy_over_seeds(correct, resamples=400, seed=trial)
        hits += got.low <= 0.7 <= got.high
    assert 0.9 <= hits / 200 <= 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: wilson(3, 2),
        lambda: wilson(0, 0),
        lambda: wilson(1, 2, 1.0),
        lambda: bootstrap_mean(np.array([])),
        lambda: bootstrap_mean(np.array([1.0, np.nan])),
        lambda: bootstrap_mean(np.zeros((2, 2))),
        lambda: bootstrap_mean(np.zeros(3), level=95),
        lambda: bootstrap_mean(np.zeros(3), resamples=1),
        lambda: bootstrap_accuracy_over_seeds(np.zeros(3, dtype=bool)),
        lambda: bootstrap_accuracy_over_seeds(np.zeros((2, 3), dtype=int)),
        lambda: bootstrap_accuracy_over_seeds(np.full((2, 3), 1.5)),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(UserError):
        call()


def test_crops_of_an_image_narrow_the_interval_no_more_than_they_tell():
    rng = np.random.default_rng(0)
    images = rng.random((2, 300)) < 0.8
    alike = images.astype(np.float64)  # all crops of an image go the same way
    assert bootstrap_accuracy_over_seeds(alike) == bootstrap_accuracy_over_seeds(images)
    apart = (rng.random((2, 300, 4)) < 0.8).mean(axis=2)  # each goes its own way
    narrow, wide = bootstrap_accuracy_over_seeds(apart), bootstrap_accuracy_over_seeds(alike)
    assert narrow.high - narrow.low < 0.7 * (wide.high - wide.low)
    assert bootstrap_accuracy_over_seeds(np.ones((1, 50))) == wilson(50, 50)


def test_comparisons_are_of_the_same_images():
    rng = np.random.default_rng(0)
    real = rng.random((3, 200)) < 0.9
    found = bootstrap_comparison(real[:2] & (rng.random((2, 200)) < 0.7), real)
    ours = real.mean() - found.difference.value
    assert found.ratio.value == pytest.approx(ours / real.mean())
    assert found.difference.low < found.difference.value < found.difference.high
    # Where each image is as hard for one side as for the other, pairing leaves hardly any doubt.
    hard = rng.random(2000) < 0.5
    same = hard ^ (rng.random(2000) < 0.01)
    paired = bootstrap_comparison(same[None], hard[None]).difference
    apart = bootstrap_comparison(rng.permutation(same)[None], hard[None]).difference
    assert paired.high - paired.low < 0.3 * (apart.high - apart.low)


def test_comparisons_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    hits = np.zeros(2)
    for trial in range(200):
        difficulty = rng.random(150)
        real, ours = (rng.random(150) < level * difficulty**0.2 for level in (0.95, 0.7))
        truth = np.array([0.95, 0.7]) / 1.2  # the mean of u^0.2 is 1 / 1.2
        found = bootstrap_comparison(ours[None], real[None], resamples=400, seed=trial)
        for number, (interval, value) in enumerate(
            [(found.difference, truth[0] - truth[1]), (found.ratio, truth[1] / truth[0])]
        ):
            hits[number] += interval.low <= value <= interval.high
    assert (np.abs(hits / 200 - 0.95) < 0.04).all()


def test_comparisons_that_tell_nothing_have_no_limits():
    all_right, none_right = np.ones((1, 5), bool), np.zeros((1, 5), bool)
    found = bootstrap_comparison(all_right, all_right)
    assert (found.difference.value, found.ratio.value) == (0, 1)
    assert math.isnan(found.difference.low)
    assert math.isnan(bootstrap_comparison(all_right, none_right).ratio.value)
    one = np.array([[True, False, False]])
    assert math.isnan(bootstrap_comparison(one, one).ratio.low)
    with pytest.raises(UserError, match="the same images"):
        bootstrap_comparison(all_right, one)
