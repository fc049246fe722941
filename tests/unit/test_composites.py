"""The CutMix patterns: which pixels come from where, and who is the partner."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import composite_images
from synthgap.composites import PATTERNS, choose_partner, choose_pattern, cutmix
from synthgap.data.images import decode
from synthgap.data.shards import (
    Manifest,
    Sample,
    ShardWriter,
    gather,
    read_rows,
    read_shard,
    tar_members,
)
from synthgap.errors import UserError

COVERAGE = {"half": 1 / 2, "quarter": 1 / 4, "ninth": 1 / 9, "sixteenth": 1 / 16}


def images(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)


def boxes(pattern, height, width, placement="paper", count=400, seeds=None):
    base, partner = images(height, width)
    return [
        cutmix(base, partner, pattern, np.random.default_rng(seed), placement)[1]
        for seed in seeds or range(count)
    ]


sides = st.integers(16, 72)
seeds = st.integers(0, 2**63 - 1)


@settings(max_examples=150, deadline=None)
@given(sides, sides, seeds, st.sampled_from(["paper", "code"]))
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_box_holds_the_partner_and_the_rest_is_the_base(
    pattern, rows, columns, seed, placement
):
    base, partner = images(rows, columns, seed)
    originals = base.copy(), partner.copy()
    mixed, box = cutmix(base, partner, pattern, np.random.default_rng(seed), placement)
    top, left, height, width = box
    assert 0 <= top <= rows - height
    assert 0 <= left <= columns - width

    # Coverage, up to the one row and column that whole pixels cannot share out.
    if pattern == "half":
        assert (height, 2 * width - columns) in [(rows, 0), (rows, 1)] or (
            (2 * height - rows, width) in [(0, columns), (1, columns)]
        )
        expected = partner[top : top + height, left : left + width]
    else:
        parts = round(COVERAGE[pattern] ** -0.5)
        assert 0 <= rows / parts - height < 1
        assert 0 <= columns / parts - width < 1
        resized = Image.fromarray(partner).resize((width, height), Image.Resampling.BILINEAR)
        expected = np.asarray(resized)
    if rows % 12 == columns % 12 == 0:
        assert height * width == pytest.approx(COVERAGE[pattern] * rows * columns)

    np.testing.assert_array_equal(mixed[top : top + height, left : left + width], expected)
    outside = np.ones((rows, columns), bool)
    outside[top : top + height, left : left + width] = False
    np.testing.assert_array_equal(mixed[outside], base[outside])
    np.testing.assert_array_equal(base, originals[0])
    np.testing.assert_array_equal(partner, originals[1])


def overlap(start, length, zone_start, zone_end):
    return start < zone_end and start + length > zone_start


@settings(max_examples=400, deadline=None)
@given(sides, sides, seeds)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_box_lies_where_the_paper_wants_it(pattern, rows, columns, seed):
    [(top, left, height, width)] = boxes(pattern, rows, columns, seeds=[seed])
    borders = [top == 0, left == 0, top + height == rows, left + width == columns]
    corners = {
        (row, column)
        for row in (0, rows - 1)
        for column in (0, columns - 1)
        if top <= row < top + height and left <= column < left + width
    }
    if pattern == "half":
        assert borders in ([True, False, True, True], [False, True, True, True])
    elif pattern == "quarter":
        assert len(corners) == 1
    elif pattern == "ninth":
        assert sum(borders) == 1
        assert not corners
        assert not (
            overlap(top, height, rows / 3, rows * 2 / 3)
            and overlap(left, width, columns / 3, columns * 2 / 3)
        )
    else:
        share = 0.1**0.5  # of each side: 10 % of the area
        assert not (
            overlap(top, height, rows * (1 - share) / 2, rows * (1 + share) / 2)
            and overlap(left, width, columns * (1 - share) / 2, columns * (1 + share) / 2)
        )


def test_half_is_right_or_bottom():
    assert set(boxes("half", 32, 48)) == {(0, 24, 32, 24), (16, 0, 16, 48)}
    assert set(boxes("half", 17, 19)) == {(0, 9, 17, 10), (8, 0, 9, 19)}


def test_quarter_is_in_a_corner():
    corners = {(top, left, 16, 24) for top in (0, 16) for left in (0, 24)}
    found = boxes("quarter", 32, 48)
    assert set(found) == corners
    assert min(found.count(corner) for corner in corners) > 60  # of 100 expected each


def test_ninth_slides_along_all_borders():
    found = boxes("ninth", 40, 61, count=2000)
    # Boxes of 13 x 20 px; corners of 5 %, so 2 and 3 px.
    expected = {(top, left, 13, 20) for top in range(2, 26) for left in (0, 41)}
    expected |= {(top, left, 13, 20) for left in range(3, 39) for top in (0, 27)}
    assert set(found) == expected


def test_ninth_of_the_published_code_may_cover_a_corner():
    found = set(boxes("ninth", 40, 40, "code", count=2000))
    assert {(0, 0, 13, 13), (27, 27, 13, 13), (0, 27, 13, 13), (27, 0, 13, 13)} <= found


@pytest.mark.parametrize(("rows", "columns"), [(24, 24), (17, 30)])
def test_sixteenth_clears_the_central_tenth_of_the_area_and_reaches_everywhere_else(rows, columns):
    def zone(side):
        half = side * 0.1**0.5 / 2
        return side / 2 - half, side / 2 + half

    height, width = rows // 4, columns // 4
    allowed = {
        (top, left, height, width)
        for top in range(rows - height + 1)
        for left in range(columns - width + 1)
        if not (overlap(top, height, *zone(rows)) and overlap(left, width, *zone(columns)))
    }
    assert set(boxes("sixteenth", rows, columns, count=15 * len(allowed))) == allowed


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


@pytest.mark.parametrize("pattern", PATTERNS)
def test_images_may_lie_in_memory_in_any_way(pattern):
    wide = images(80, 96)
    for view in (wide[:, ::2, ::3], wide[:, ::-1, 5:-5], wide.transpose(0, 2, 1, 3)):
        base, partner = view
        assert not base.flags.c_contiguous
        mixed, _ = cutmix(base, partner, pattern, np.random.default_rng(1))
        copied = cutmix(base.copy(), partner.copy(), pattern, np.random.default_rng(1))
        np.testing.assert_array_equal(mixed, copied[0])
        assert mixed.flags.c_contiguous


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
    for classes in (10, 4, 3):
        labels = np.tile(np.arange(classes), 40)  # interleaved, as manifests are
        turns = composite_images.turns_within_class(labels)
        patterns = [choose_pattern("all", turn) for turn in turns]
        for label in range(classes):
            of_class = [p for p, c in zip(patterns, labels, strict=True) if c == label]
            assert {of_class.count(pattern) for pattern in set(of_class)} == {10}


@given(st.lists(st.integers(0, 6), min_size=1))
def test_turns_count_within_each_class(labels):
    turns = composite_images.turns_within_class(np.asarray(labels, np.int32))
    assert turns.tolist() == [c + labels[:i].count(c) for i, c in enumerate(labels)]


# The command.

NAMES = ("bird", "boat", "bus")
SCRIPT = Path(composite_images.__file__)


def photos(sizes, labels, seed=0):
    rng = np.random.default_rng(seed)
    return [
        (Sample(f"{label:04d}-{i:06d}", label, NAMES[label]), rng.integers(0, 256, (*size, 3)))
        for i, (size, label) in enumerate(zip(sizes, labels, strict=True))
    ]


def write_manifest(folder, samples, shards=2):
    tars = [folder / f"{shard:05d}.tar" for shard in range(shards)]
    folder.mkdir(exist_ok=True)
    for shard, tar in enumerate(tars):
        with ShardWriter(tar, "png") as writer:
            for sample, image in samples[shard::shards]:
                writer.add(sample, image.astype(np.uint8))
    gather(tars, folder / "manifest.parquet")
    return folder / "manifest.parquet"


def compose(manifest, tar, pattern="all", shard=0, shards=1):
    words = f"--pattern {pattern} --seed 5 --shard {shard} --shards {shards} --image-format png"
    files = ["--manifest", str(manifest), "--tar", str(tar)]
    composite_images.main(composite_images.options().parse_args([*words.split(), *files]))
    return tar


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    labels = [i % 3 for i in range(48)]
    return write_manifest(tmp_path_factory.mktemp("real"), photos([(24, 36)] * 48, labels))


def test_the_details_of_a_composite_make_it_again(real, tmp_path):
    tar = compose(real, tmp_path / "00000.tar")
    manifest = Manifest(real)
    keys, classes = manifest.table["key"].to_pylist(), manifest.class_indices
    originals = dict(zip(keys, manifest.images(), strict=True))
    [(samples, contents)] = read_shard(tar)
    assert [sample.key for sample in samples] == keys
    for sample, content in zip(samples, contents, strict=True):
        about = sample.details
        assert about["base_key"] == sample.key
        partner_class = classes[keys.index(about["partner_key"])]
        assert about["partner_class_index"] == partner_class != sample.class_index
        assert about["partner_class_name"] == NAMES[partner_class]
        pair = originals[about["base_key"]], originals[about["partner_key"]]
        image, box = cutmix(*pair, about["pattern"], np.random.default_rng(sample.seed))
        assert about["box"] == list(box)
        np.testing.assert_array_equal(decode(content), image)


def test_the_facts_tell_of_each_pattern(real, tmp_path):
    tar = compose(real, tmp_path / "00000.tar")
    rows = read_rows(tar).to_pylist()
    details = [json.loads(row["details"]) for row in rows]
    found = json.loads(tar.with_suffix(".json").read_text())["patterns"]
    assert found.keys() == set(PATTERNS)
    for pattern, about in found.items():
        ours = [(d, r) for d, r in zip(details, rows, strict=True) if d["pattern"] == pattern]
        tops, lefts, _, _ = np.mean([d["box"] for d, _ in ours], axis=0)
        assert about["images"] == len(ours) == 12
        assert about["coverage"] == pytest.approx(COVERAGE[pattern], abs=1e-6)
        assert about["top"] == pytest.approx(tops / 24, abs=1e-6)
        assert about["left"] == pytest.approx(lefts / 36, abs=1e-6)
        pairs = {(r["class_index"], d["partner_class_index"]) for d, r in ours}
        assert about["class_pairs"] == len(pairs) <= 6


def test_shards_and_how_many_rows_are_read_at_once_change_nothing(real, tmp_path, monkeypatch):
    whole = tar_members(compose(real, tmp_path / "whole.tar"))
    monkeypatch.setattr(composite_images, "ROWS_AT_ONCE", 7)
    parts = [compose(real, tmp_path / f"{n}.tar", shard=n, shards=3) for n in range(3)]
    assert {k: v for part in parts for k, v in tar_members(part).items()} == whole


def test_one_class_is_refused_with_what_to_do(tmp_path):
    manifest = write_manifest(tmp_path / "real", photos([(16, 16)] * 4, [0] * 4))
    with pytest.raises(UserError, match="two classes or more; add a class, or take") as caught:
        compose(manifest, tmp_path / "00000.tar")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "00000.tar").exists()


def test_a_pair_of_different_sizes_is_named_in_one_line(tmp_path):
    samples = photos([(16, 16), (16, 20)], [0, 1])
    manifest = write_manifest(tmp_path / "real", samples)
    words = "--pattern half --seed 5 --shard 0 --shards 1 --image-format png"
    files = ["--manifest", manifest, "--tar", tmp_path / "00000.tar"]
    result = subprocess.run(
        [sys.executable, SCRIPT, *words.split(), *files], capture_output=True, text=True
    )
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line == (
        f"error: {manifest}: 0000-000000 with 0001-000001: base and partner must have one shape, "
        "not (16, 16, 3) and (16, 20, 3): resize the source first"
    )
    assert not (tmp_path / "00000.tar").exists()
