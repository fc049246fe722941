"""Sources as one data set to be told apart: equal counts, controls, splits that share no image."""

import json
from pathlib import Path

import numpy as np
import pytest

import compare_sources
from synthgap.config.comparisons import FILES, Comparison, comparisons, trials
from synthgap.config.studies import Distinguish
from synthgap.data.comparisons import compare, require_apart
from synthgap.data.shards import Manifest, Sample, ShardWriter, gather
from synthgap.errors import UserError


def make_manifest(folder, per_class, first=0, crops=1, captioned=None):
    """Two classes; keys tell class and number; `captioned` gives each image its real one's key."""
    with ShardWriter(folder / "00000.tar", "png") as writer:
        for index in range(first, first + per_class):
            for label in range(2):
                for crop in range(crops):
                    key = f"{label}-{index:03d}"
                    details = {"copy": crop} if crops > 1 else {}
                    if captioned:
                        details["captioned"] = captioned(label, index)
                    name = key + (f"-{crop}" if crops > 1 else "")
                    image = np.full((8, 8, 3), index, np.uint8)
                    writer.add(Sample(name, label, "ab"[label], details=details), image)
    gather([folder / "00000.tar"], folder / "manifest.parquet")
    return Manifest(folder / "manifest.parquet")


def images(table, side):
    keys = [row["key"] for row in table.to_pylist() if row["class_index"] == side]
    return [key.partition("-")[2] for key in keys]


def test_each_source_gives_as_many_images_of_each_class(tmp_path):
    sources = [(name, make_manifest(tmp_path / name, n)) for name, n in [("real", 9), ("x", 5)]]
    sources.append(("y", make_manifest(tmp_path / "y", 20)))
    table, classes = compare(sources, 4, 0, tmp_path)
    assert classes == ["real", "x", "y"]
    for side in range(3):
        assert sorted(key[0] for key in images(table, side)) == ["0"] * 4 + ["1"] * 4
    with pytest.raises(UserError, match=r"x/manifest.*class a has 5 images.* takes 6; lower"):
        compare(sources, 6, 0, tmp_path)


@pytest.mark.parametrize("crops", [1, 3])
def test_halves_of_a_control_share_no_image(tmp_path, crops):
    manifest = make_manifest(tmp_path / "real", 8, crops=crops)
    table, classes = compare([("real", manifest), ("real", manifest)], 4, 0, tmp_path)
    assert classes == ["first half", "second half"]
    sides = [{key[:5] for key in images(table, side)} for side in range(2)]
    assert not sides[0] & sides[1]
    assert [len(images(table, side)) for side in range(2)] == [8 * crops] * 2
    assert [len(side) for side in sides] == [8, 8]
    with pytest.raises(UserError, match="has 8 images, and comparing real with real takes 10"):
        compare([("real", manifest), ("real", manifest)], 5, 0, tmp_path)


def test_views_and_comparisons_have_the_same_images(tmp_path):
    whole, crops = make_manifest(tmp_path / "w", 9), make_manifest(tmp_path / "c", 9, crops=4)
    other = make_manifest(tmp_path / "o", 30)
    in_rgb, _ = compare([("real", whole), ("x", other)], 5, 0, tmp_path)
    in_crops, _ = compare([("real", crops), ("y", other)], 5, 0, tmp_path)
    assert set(images(in_rgb, 0)) == {key[:5] for key in images(in_crops, 0)}
    assert len(images(in_crops, 0)) == 4 * len(images(in_rgb, 0))
    another, _ = compare([("real", whole), ("x", other)], 5, 1, tmp_path)
    assert set(images(another, 1)) != set(images(in_rgb, 1))


def test_fewer_samples_are_among_the_more(tmp_path):
    sources = [(name, make_manifest(tmp_path / name, 12)) for name in ("real", "x")]
    few, more, everything = (
        set(compare(sources, n, 0, tmp_path)[0]["key"].to_pylist()) for n in (2, 5, 10)
    )
    assert few < more < everything
    assert [len(few), len(more), len(everything)] == [8, 20, 40]
    half = [sources[0], sources[0]]
    few, everything = (set(compare(half, n, 0, tmp_path)[0]["key"].to_pylist()) for n in (2, 6))
    assert few < everything


def splits_of(tmp_path, captioned):
    """Real images 0-4 in training, 5-9 in testing, and what was generated from captions."""
    found = {}
    for split, first in [("train", 0), ("test", 5)]:
        real = make_manifest(tmp_path / split / "real", 5, first)
        folder = tmp_path / split / "gen"
        gen = make_manifest(folder, 5, captioned=lambda label, i, s=split: captioned(label, i, s))
        found[split], _ = compare([("real", real), ("gen", gen)], 5, 0, tmp_path)
    return found


def test_an_image_and_what_its_caption_made_stay_in_one_split(tmp_path):
    first = {"train": 0, "test": 5}
    fair = splits_of(tmp_path / "fair", lambda label, i, s: f"{label}-{first[s] + i:03d}")
    require_apart(fair, ["real", "gen"])
    foul = splits_of(tmp_path / "foul", lambda label, i, s: f"{label}-{i:03d}")
    with pytest.raises(UserError, match=r"real image \d-00\d .* in the splits train and test"):
        require_apart(foul, ["real", "gen"])
    # Generated sides alone are told apart by it just as well.
    with pytest.raises(UserError, match="in the splits train and test"):
        require_apart(foul, ["gen", "gen"])


def test_the_command_writes_all_splits_or_none(tmp_path):
    for split, first in [("train", 0), ("val", 10), ("test", 20)]:
        make_manifest(tmp_path / split / "real", 6, first)
        make_manifest(tmp_path / split / "gen", 6)
    words = ["--sources", "real", "gen", "--images-per-class", "5", "2", "3", "--seed", "0"]
    for split in ("train", "val", "test"):
        words += [
            f"--{split}",
            *(str(tmp_path / split / s / "manifest.parquet") for s in ("real", "gen")),
        ]
    out = [tmp_path / "out" / split / "manifest.parquet" for split in ("train", "val", "test")]
    for path in out:
        path.parent.mkdir(parents=True)
    words += ["--manifests", *map(str, out), "--log", str(tmp_path / "log")]
    compare_sources.main(compare_sources.options().parse_args(words))
    assert [len(Manifest(path)) for path in out] == [20, 8, 12]
    assert Manifest(out[0]).images().shape == (20, 8, 8, 3)


BASE = {"classifiers": ["net", "vit"], "images_per_class": {"train": 9, "val": 1, "test": 1}}


def study(**more):
    return Distinguish.model_validate(BASE | more)


def test_comparisons_are_of_real_images_with_each_source_by_default():
    names = [c.name for c in comparisons(study(controls=["real", "b"]), ["a", "b"])]
    assert names == ["real+a", "real+b", "real+real", "b+b"]
    assert [c.name for c in comparisons(study(comparisons=[["a", "b", "real"]]), ["a", "b"])] == [
        "a+b+real",
        "real+real",
    ]
    assert Comparison(("real", "real")).is_control
    assert not Comparison(("real", "a"), 5).is_control
    assert Comparison(("real", "a"), 5).name == "real+a~5"


def test_axes_vary_one_thing_and_end_in_the_main_table():
    axes = {"views": ["low"], "samples": [5, 2], "classifier": "vit", "seeds": [0]}
    found = trials(study(seeds=[0, 1], probes=["clip"], axes=axes), ["a"])
    named = {(t.comparison.name, t.view, t.classifier, t.seeds, t.axis) for t in found}
    main = {("real+a", "rgb", c, (0, 1), "main") for c in ("net", "vit")}
    alike = {("real+a", "rgb", c, (0,), "main") for c in (*FILES, "linear-clip")}
    views = {("real+a", view, "vit", (0,), "views") for view in ("low", "rgb")}
    samples = {(name, "rgb", "vit", (0,), "samples") for name in ("real+a~2", "real+a~5", "real+a")}
    control = {(t[0].replace("+a", "+real"), *t[1:]) for t in main | alike | views | samples}
    assert named == main | alike | views | samples | control


def test_axes_of_several_classifiers_and_of_probes():
    axes = {"views": ["low"], "samples": [2], "classifier": ["net", "linear-mae"]}
    found = trials(study(seeds=[3], probes=["mae"], axes=axes, controls=["a"]), ["a"])
    on_axes = {
        (t.comparison.name, t.view, t.classifier, t.seeds) for t in found if t.axis != "main"
    }
    expected = set()
    for name in ("real+a", "a+a"):
        expected |= {(name, view, "net", (3,)) for view in ("low", "rgb")}
        for sized in (name, f"{name}~2"):
            expected |= {(sized, "rgb", "net", (3,)), (sized, "rgb", "linear-mae", (0,))}
    assert on_axes == expected


def test_more_samples_than_the_others_have_no_controls():
    found = trials(study(axes={"samples": [5, 20]}), ["a"])
    names = [t.comparison.name for t in found if t.axis == "samples"]
    assert names == ["real+a~5", "real+a~20", "real+a", "real+real~5", "real+real"]
    assert Comparison(("real", "a"), 20).images(study()) == [20, 1, 1]
    assert Comparison(("real", "a")).images(study()) == [9, 1, 1]
    sizes = {n: Comparison(("real", "a"), n).is_large(study()) for n in (None, 5, 20)}
    assert sizes == {None: False, 5: False, 20: True}


def test_what_is_named_twice_is_done_once():
    once = study(axes={"views": ["low"]}, comparisons=[["real", "a"]])
    twice = study(
        axes={"views": ["low", "rgb", "low"]},
        comparisons=[["real", "a"]] * 2,
        controls=["real", "real"],
        classifiers=["net", "vit", "net"],
        seeds=[0, 0],
    )
    assert trials(twice, ["a"]) == trials(once, ["a"])


def test_of_unequal_classes_each_source_gives_as_many(tmp_path):
    sources = [(name, make_manifest(tmp_path / name, n)) for name, n in [("real", 9), ("x", 5)]]
    found, _ = compare(sources, 7, 0, tmp_path, at_most=True)
    assert [len(images(found, side)) for side in range(2)] == [10, 10]
    fewer, _ = compare(sources, 3, 0, tmp_path)
    for side in range(2):
        assert set(images(fewer, side)) < set(images(found, side))
    half, _ = compare([sources[0]] * 2, 7, 0, tmp_path, at_most=True)
    assert [len(images(half, side)) for side in range(2)] == [8, 8]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"comparisons": [["a", "a"]]}, "names a source twice.*in `controls`"),
        ({"comparisons": [["a"]]}, "at least 2"),
        ({"axes": {"samples": [9]}}, "9 is images_per_class.train, which is on the axis anyway"),
        ({"occlusion": {"patch": 6, "stride": 7}}, "7 leaves pixels out between squares of 6"),
        ({"axes": {"classifier": "x"}}, "x is not in `classifiers`"),
        ({"axes": {"classifier": "linear-mea"}, "probes": ["mae"]}, "did you mean `linear-mae`"),
        ({"people": {"quizzes": [{"sources": ["a", "b", "real"]}]}}, "at most 2"),
        ({"people": {"quizzes": [{"sources": ["real", "a"]}] * 2}}, r"real\+a comes twice"),
    ],
)
def test_wrong_studies_are_refused(more, message):
    with pytest.raises(ValueError, match=message):
        study(**more)


def test_relabelled_rows_keep_their_details(tmp_path):
    manifest = make_manifest(Path(tmp_path) / "gen", 4, captioned=lambda label, i: f"{label}-{i}")
    table, _ = compare([("gen", manifest), ("gen", manifest)], 2, 0, tmp_path)
    assert all("captioned" in json.loads(row) for row in table["details"].to_pylist())
