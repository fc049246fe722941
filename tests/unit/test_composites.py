"""The CutMix patterns: which pixels come from where, and who is the partner."""

import numpy as np
import pytest
from PIL import Image

from synthgap.composites import PATTERNS, choose_partner, choose_pattern, cutmix
from synthgap.errors import UserError

COVERAGE = {"half": 1 / 2, "quarter": 1 / 4, "ninth": 1 / 9, "sixteenth": 1 / 16}
SIZES = [(32, 32), (33, 47), (64, 40), (16, 16)]


def images(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)


def boxes(pattern, height, width, placement="paper", count=400):
    base, partner = images(height, width)
    return [
        cutmix(base, partner, pattern, np.random.default_rng(seed), placement)[1]
        for seed in range(count)
    ]


@pytest.mark.parametrize("placement", ["paper", "code"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_box_holds_the_partner_and_the_rest_is_the_base(pattern, size, placement):
    base, partner = images(*size)
    originals = base.copy(), partner.copy()
    for seed in range(20):
        mixed, box = cutmix(base, partner, pattern, np.random.default_rng(seed), placement)
        top, left, height, width = box
        assert top >= 0 <= left
        assert top + height <= size[0]
        assert left + width <= size[1]

        # Coverage, up to one row and one column that whole pixels cannot share out.
        target = COVERAGE[pattern] * size[0] * size[1]
        assert height * width <= target + max(size)
        assert (height + 1) * (width + 1) > target

        if pattern == "half":
            expected = partner[top : top + height, left : left + width]
        else:
            resized = Image.fromarray(partner).resize((width, height), Image.Resampling.BILINEAR)
            expected = np.asarray(resized)
        np.testing.assert_array_equal(mixed[top : top + height, left : left + width], expected)
        outside = np.ones(size, bool)
        outside[top : top + height, left : left + width] = False
        np.testing.assert_array_equal(mixed[outside], base[outside])
    np.testing.assert_array_equal(base, originals[0])
    np.testing.assert_array_equal(partner, originals[1])


def test_half_is_right_or_bottom():
    assert set(boxes("half", 32, 48)) == {(0, 24, 32, 24), (16, 0, 16, 48)}
    assert set(boxes("half", 17, 19)) == {(0, 9, 17, 10), (8, 0, 9, 19)}


def test_quarter_is_in_a_corner():
    corners = {(top, left, 16, 24) for top in (0, 16) for left in (0, 24)}
    found = boxes("quarter", 32, 48)
    assert set(found) == corners
    assert min(found.count(corner) for corner in corners) > 60  # of 100 expected each


def test_ninth_slides_along_a_border_and_leaves_corners_and_centre():
    found = boxes("ninth", 40, 40, count=1500)
    # 13 px boxes, 2 px (5 %) corners: 2..25 along each of four borders.
    along = range(2, 26)
    expected = {(top, left, 13, 13) for top in along for left in (0, 27)}
    expected |= {(top, left, 13, 13) for left in along for top in (0, 27)}
    assert set(found) == expected
    for top, left, height, width in found:
        assert not (top <= 20 < top + height and left <= 20 < left + width)


def test_ninth_of_the_published_code_may_cover_a_corner():
    found = set(boxes("ninth", 40, 40, "code", count=2000))
    assert {(0, 0, 13, 13), (27, 27, 13, 13), (0, 27, 13, 13), (27, 0, 13, 13)} <= found


def overlap(start, length, zone_start, zone_end):
    return start < zone_end and start + length > zone_start


def test_sixteenth_clears_the_central_tenth_of_the_area_and_reaches_everywhere_else():
    side = 40
    half = side * 0.1**0.5 / 2
    assert (2 * half) ** 2 == pytest.approx(0.1 * side**2)
    low, high = side / 2 - half, side / 2 + half
    allowed = {
        (top, left, 10, 10)
        for top in range(31)
        for left in range(31)
        if not (overlap(top, 10, low, high) and overlap(left, 10, low, high))
    }
    found = boxes("sixteenth", side, side, count=12000)
    assert set(found) <= allowed
    assert len(set(found)) > 0.99 * len(allowed)


def test_sixteenth_of_the_published_code_clears_border_and_centre():
    found = set(boxes("sixteenth", 40, 40, "code", count=3000))
    tops = {top for top, _, _, _ in found}
    assert min(tops) == 2
    assert max(tops) == 28
    for top, left, height, width in found:
        # 16..24 is the zone; a touching edge counts as overlap there.
        assert top > 24 or top + height < 16 or left > 24 or left + width < 16, (
            top,
            left,
            height,
            width,
        )
    assert any(top == 25 for top in tops)


def test_the_generator_decides():
    base, partner = images(64, 64)
    first = cutmix(base, partner, "sixteenth", np.random.default_rng(3))
    again = cutmix(base, partner, "sixteenth", np.random.default_rng(3))
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]


def test_other_images_and_names_are_refused():
    base, partner = images(32, 32)
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="half, quarter, ninth, sixteenth"):
        cutmix(base, partner, "third", rng)
    with pytest.raises(UserError, match="placement"):
        cutmix(base, partner, "half", rng, "centre")
    with pytest.raises(UserError, match="one shape"):
        cutmix(base, partner[:, :-1], "half", rng)
    with pytest.raises(UserError, match="partner image must be uint8"):
        cutmix(base, partner.astype(float), "half", rng)
    with pytest.raises(UserError, match="base image must be uint8"):
        cutmix(base[..., 0], partner, "half", rng)
    with pytest.raises(UserError, match="at least 16 px"):
        cutmix(base[:15], partner[:15], "half", rng)


def test_all_gives_each_pattern_a_quarter():
    chosen = [choose_pattern("all", index) for index in range(100)]
    assert {pattern: chosen.count(pattern) for pattern in PATTERNS} == dict.fromkeys(PATTERNS, 25)
    assert choose_pattern("ninth", 5) == "ninth"
    with pytest.raises(UserError, match="sixteenth, all"):
        choose_pattern("eighth", 0)


def test_partners_are_uniform_over_the_other_classes():
    classes = np.array([0, 0, 0, 1, 2, 2])
    chosen = [choose_partner(classes, 1, seed) for seed in range(3000)]
    counts = np.bincount(chosen, minlength=6)
    assert counts[:3].sum() == 0
    assert (np.abs(counts[3:] - 1000) < 150).all()  # more than five standard deviations
    assert choose_partner(classes, 1, 7) == choose_partner(classes, 1, 7)
    assert len({choose_partner(np.arange(1000), index, 7) for index in range(5)}) > 1


def test_a_rare_other_class_is_found():
    classes = np.zeros(5000, int)
    classes[[10, 20]] = 1
    chosen = [choose_partner(classes, 0, seed) for seed in range(60)]
    assert set(chosen) == {10, 20}
    assert min(chosen.count(10), chosen.count(20)) > 10  # of 30 expected each


def test_one_class_has_no_partner():
    with pytest.raises(UserError, match="only one class"):
        choose_partner(np.zeros(4, int), 0, 0)


def test_turns_give_every_class_every_pattern_evenly():
    from composite_images import turns_within_class
    from synthgap.composites import choose_pattern

    for classes in (10, 4, 3):
        labels = np.tile(np.arange(classes), 40)  # interleaved, as manifests are
        patterns = [choose_pattern("all", turn) for turn in turns_within_class(labels)]
        for label in range(classes):
            of_class = [p for p, c in zip(patterns, labels, strict=True) if c == label]
            assert {of_class.count(pattern) for pattern in set(of_class)} == {10}
