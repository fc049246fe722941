import math
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr

from synthgap.errors import UserError
from synthgap.metrics.rank_correlation import spearman


def test_is_spearmans_with_ties():
    rng = np.random.default_rng(0)
    for n in (5, 14):
        x, y = rng.integers(0, 6, size=(2, n))
        assert spearman(x, y).value == pytest.approx(spearmanr(x, y).statistic)


def test_limits_are_those_of_bonett_and_wright():
    x = np.arange(10)
    y = [0, 2, 1, 4, 3, 6, 5, 8, 7, 9]
    found = spearman(x, y)
    r = 1 - 6 * 8 / (10 * 99)
    half = 1.959964 * math.sqrt((1 + r**2 / 2) / 7)
    assert found == pytest.approx(
        (r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half))
    )
    assert spearman(x, -np.asarray(y)) == pytest.approx((-r, -found.high, -found.low))
    wide = spearman(x, y, level=0.99)
    assert wide.low < found.low < found.high < wide.high


def test_a_perfect_order_is_not_certainty():
    found = spearman(range(5), range(5))
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0 < found.low < 0.5
    assert spearman(range(5), range(5, 0, -1)) == (-1.0, -1.0, pytest.approx(-found.low))
    # Of five, as in the exact test: no other order tells the sign.
    told = [p for p in permutations(range(5)) if spearman(range(5), p).low > 0]
    assert told == [tuple(range(5))]
    # Tied alike on both sides, and still in perfect order.
    assert spearman([1, 1, 2, 3, 4], [5, 5, 6, 7, 8]).value == 1.0


def test_nothing_to_rank_gives_no_number():
    assert all(math.isnan(number) for number in spearman([1] * 6, range(6)))


@pytest.mark.parametrize("n", [6, 14])
@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_interval_covers_as_often_as_it_says(n, rho):
    rng = np.random.default_rng(7)
    truth = 6 / math.pi * math.asin(rho / 2)  # Spearman's, of a bivariate normal distribution
    trials = 1500
    pairs = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=(trials, n))
    found = [spearman(one[:, 0], one[:, 1]) for one in pairs]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.93 <= covered <= 0.985


@pytest.mark.parametrize(
    ("x", "y", "level"),
    [
        (range(4), range(4), 0.95),
        (range(6), range(5), 0.95),
        ([1, 2, 3, 4, math.nan], range(5), 0.95),
        (range(6), range(6), 1.0),
    ],
)
def test_what_cannot_be_ranked_is_refused(x, y, level):
    with pytest.raises(UserError):
        spearman(x, y, level)
