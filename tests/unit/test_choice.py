"""Which images a model of real and synthetic ones learns from."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_blends import make_manifest

import choose_images
from synthgap.data.choice import Wanted, choose, labels, real_keys, write_choice
from synthgap.data.shards import Manifest, Sample, ShardWriter, gather
from synthgap.errors import UserError


def keys(manifest: Manifest, rows: np.ndarray) -> set[str]:
    return {manifest.table["key"][int(row)].as_py() for row in rows}


def test_fewer_images_are_among_more_and_classes_are_even(tmp_path):
    manifest = make_manifest(tmp_path / "a", 10, classes="abc")
    taken = {}
    for count in (1, 7, 12, 30):
        rows = choose(Wanted("real", manifest, count), seed=0)
        assert len(rows) == count
        assert sorted(rows) == rows.tolist()
        each = np.bincount(manifest.class_indices[rows], minlength=3)
        assert each.max() - each.min() <= 1
        taken[count] = keys(manifest, rows)
    assert taken[1] < taken[7] < taken[12] < taken[30]
    assert keys(manifest, choose(Wanted("real", manifest, 12), seed=1)) != taken[12]
    assert keys(manifest, choose(Wanted("other", manifest, 12), seed=0)) != taken[12]


def test_some_classes_alone(tmp_path):
    manifest = make_manifest(tmp_path / "a", 5, classes="abc")
    rows = choose(Wanted("real", manifest, 6, [2, 0]), seed=0)
    assert np.bincount(manifest.class_indices[rows]).tolist() == [3, 0, 3]
    assert len(choose(Wanted("real", manifest, None, [1]), seed=0)) == 5
    with pytest.raises(UserError, match="11 images of real are asked for, and there are 10"):
        choose(Wanted("real", manifest, 11, [0, 1]), seed=0)
    with pytest.raises(UserError, match="there is no class 3; it has 3"):
        choose(Wanted("real", manifest, 1, [3]), seed=0)


def test_a_class_with_few_images_gives_what_it_has(tmp_path):
    with ShardWriter(tmp_path / "00000.tar", "png") as writer:
        for index in range(7):
            label = int(index < 2)
            writer.add(Sample(f"{index}", label, "ab"[label]), np.zeros((8, 8, 3), np.uint8))
    gather([tmp_path / "00000.tar"], tmp_path / "manifest.parquet")
    manifest = Manifest(tmp_path / "manifest.parquet")
    rows = choose(Wanted("real", manifest, 6), seed=0)
    assert np.bincount(manifest.class_indices[rows]).tolist() == [4, 2]


def test_a_choice_is_a_manifest_with_labels(tmp_path):
    real, made = make_manifest(tmp_path / "real", 4), make_manifest(tmp_path / "made", 9)
    path = tmp_path / "deeper" / "chosen.parquet"
    path.parent.mkdir()
    parts = [Wanted("real", real, 4), Wanted("made", made, 6, [1])]
    assert write_choice(path, parts, seed=0) == 10
    chosen = Manifest(path)
    assert chosen.classes == ["a", "b"]
    assert labels(chosen).tolist() == [0] * 4 + [1] * 6
    assert chosen.table["source"].to_pylist() == ["real"] * 4 + ["made"] * 6
    names = chosen.table["key"].to_pylist()
    assert len(set(names)) == 10
    shades = chosen.images()[:, 0, 0, 0].tolist()
    assert shades == [int(name.split("-")[2]) for name in names]
    assert set(real_keys(path)) == {name[2:] for name in names[:4]}
    with pytest.raises(UserError, match="has no column source_label; choose_images makes"):
        labels(real)


def test_sources_of_other_classes_are_refused(tmp_path):
    real, made = make_manifest(tmp_path / "real", 2), make_manifest(tmp_path / "made", 2, "ac")
    with pytest.raises(UserError, match="has no class b and"):
        write_choice(tmp_path / "chosen.parquet", [Wanted("real", real), Wanted("m", made)], 0)


def test_the_command_takes_a_manifest_for_each_part(tmp_path):
    real = make_manifest(tmp_path / "real", 2)
    part = {"source": "made", "images": 1, "classes": None}
    choice = json.dumps({"images": 2, "classes": None, "synthetic": [part]})
    out = tmp_path / "chosen.parquet"
    told = ["--real", str(real.path), "--choice", choice, "--seed", "0", "--images", str(out)]
    with pytest.raises(UserError, match="1 synthetic parts, and 0 manifests"):
        choose_images.main(choose_images.options().parse_args(told))
    more = [*told, "--synthetic", str(make_manifest(tmp_path / "made", 2).path)]
    choose_images.main(choose_images.options().parse_args(more))
    assert labels(Manifest(Path(out))).tolist() == [0, 0, 1]
