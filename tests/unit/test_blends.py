"""Parts of sources as data sets: which images, of which classes, by which name."""

from pathlib import Path

import numpy as np
import pytest

import blend_sources
from synthgap.config.blends import Blend, points
from synthgap.config.studies import Mixing, Studies, Transfer
from synthgap.data.blends import Part, blend
from synthgap.data.shards import Manifest, Sample, ShardWriter, gather, write_manifest
from synthgap.errors import UserError

PROBES = {"rgb": {"view": "rgb", "classifier": "net", "seeds": [0, 1]}}


def make_manifest(folder: Path, per_class: int, classes="ab", crops: int = 1) -> Manifest:
    with ShardWriter(folder / "00000.tar", "png") as writer:
        for index in range(per_class):
            for label, name in enumerate(classes):
                for crop in range(crops):
                    key = f"{label}-{index:03d}" + (f"-{crop}" if crops > 1 else "")
                    details = {"copy": crop} if crops > 1 else {}
                    image = np.full((8, 8, 3), index, np.uint8)
                    writer.add(Sample(key, label, name, details=details), image)
    gather([folder / "00000.tar"], folder / "manifest.parquet")
    return Manifest(folder / "manifest.parquet")


def test_a_share_of_each_class_is_taken_and_lies_within_larger_shares(tmp_path):
    manifest = make_manifest(tmp_path / "a", 20)
    taken = {}
    for share in (0.01, 0.25, 0.5, 1.0):
        table, classes = blend([Part("gen", manifest, share)], 0, tmp_path)
        assert classes == ["a", "b"]
        counts = np.bincount(table["class_index"].to_numpy())
        assert counts.tolist() == [max(1, round(20 * share))] * 2
        taken[share] = set(table["key"].to_pylist())
    assert taken[0.01] < taken[0.25] < taken[0.5] < taken[1.0]
    other, _ = blend([Part("gen", manifest, 0.5)], 1, tmp_path)
    assert set(other["key"].to_pylist()) != taken[0.5]


def test_sources_are_put_together_and_their_images_found(tmp_path):
    real, gen = make_manifest(tmp_path / "real", 8), make_manifest(tmp_path / "gen", 20)
    folder = tmp_path / "deeper" / "blend"
    folder.mkdir(parents=True)
    table, classes = blend([Part("real", real, 0.25), Part("gen", gen, 0.75)], 0, folder)
    write_manifest(folder / "manifest.parquet", table, classes)
    mixed = Manifest(folder / "manifest.parquet")
    keys = mixed.table["key"].to_pylist()
    assert len(set(keys)) == len(keys) == 2 * (2 + 15)
    assert sum(key.startswith("0-") for key in keys) == 4
    levels = mixed.images()[:, 0, 0, 0]
    assert levels.tolist() == [int(key.split("-")[2]) for key in keys]


def test_crops_of_an_image_stay_together(tmp_path):
    manifest = make_manifest(tmp_path / "a", 10, crops=3)
    table, _ = blend([Part("gen", manifest, 0.3)], 0, tmp_path)
    images = [key.rsplit("-", 1)[0] for key in table["key"].to_pylist()]
    assert len(images) == 2 * 3 * 3
    assert len(set(images)) == 2 * 3


def test_sources_of_other_classes_are_refused(tmp_path):
    real = make_manifest(tmp_path / "real", 4)
    lacking, swapped = (make_manifest(tmp_path / name, 4, name) for name in ("a", "ba"))
    with pytest.raises(UserError, match=r"a/manifest.parquet has no class b and .*real"):
        blend([Part("real", real, 1.0), Part("gen", lacking, 1.0)], 0, tmp_path)
    with pytest.raises(UserError, match=r"number 0 is b in .*ba/manifest.parquet and a in .*real"):
        blend([Part("real", real, 1.0), Part("gen", swapped, 1.0)], 0, tmp_path)


@pytest.mark.parametrize("text", ["gen", "gen=0=x", "gen=inf=x", "gen=a=x", "=0.5=x"])
def test_wrong_parts_are_refused(text):
    with pytest.raises(UserError, match="give NAME=SHARE=MANIFEST"):
        blend_sources.part(text)


def taken(parts, folder, fill):
    table, _ = blend(parts, 0, folder, fill)
    per_class = np.bincount(table["class_index"].to_numpy())
    assert len(set(per_class.tolist())) == 1
    second = sum(key.startswith("1-") for key in table["key"].to_pylist())
    return len(table) // 2, second // 2


def test_ratios_to_real_images_count_these(tmp_path):
    real, gen = make_manifest(tmp_path / "real", 8), make_manifest(tmp_path / "gen", 20)

    def parts(*ratios):
        return [Part("real", real, ratios[0], real), Part("gen", gen, ratios[1], real)]

    assert taken(parts(0.5, 0.5), tmp_path, False) == (8, 4)
    assert taken(parts(1, 2), tmp_path, False) == (24, 16)
    with pytest.raises(UserError, match=r"gen/.*class a has 20 images, and 24 are to be mixed in"):
        taken(parts(1, 3), tmp_path, False)
    # For validation the proportions are kept, with as many images as there are.
    assert taken(parts(0.25, 0.25), tmp_path, True) == (16, 8)
    assert taken(parts(1, 5), tmp_path, True) == (24, 20)


def test_validation_takes_all_of_a_single_source(tmp_path):
    gen = make_manifest(tmp_path / "gen", 20)
    assert len(blend([Part("gen", gen, 0.1)], 0, tmp_path, fill=True)[0]) == 40


def test_axes_end_in_whole_sources():
    studies = Studies.model_validate(
        {
            "transfer": {"probes": PROBES, "scaling": {"fractions": [0.5, 0.1]}},
            "mixing": {"classifier": "net", "replace": [0.3, 2.0], "augment": [1.0]},
        }
    )
    found = [(p.study, p.source, p.dataset) for p in points(studies, ["gen"])]
    assert found == [
        ("scaling", "real", "real@0.1"),
        ("scaling", "real", "real@0.5"),
        ("scaling", "real", "real"),
        ("scaling", "gen", "gen@0.1"),
        ("scaling", "gen", "gen@0.5"),
        ("scaling", "gen", "gen"),
        ("mixing", "gen", "real"),
        ("mixing", "gen", "real@0.7+gen@0.3r"),
        ("mixing", "gen", "gen@2r"),
        ("mixing", "gen", "real"),
        ("mixing", "gen", "real@1+gen@1r"),
    ]
    assert Blend({"gen": 0.1}).name == "gen@0.1"


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ({"scaling": {"fractions": [0.5], "probe": "x"}}, r"scaling.probe: no `x` among"),
        ({"scaling": {"fractions": [0.5], "seeds": [2]}}, "only seeds of the probe `rgb`"),
        ({"scaling": {"fractions": [1.0]}}, "less than 1"),
    ],
)
def test_wrong_axes_are_refused(axis, message):
    with pytest.raises(ValueError, match=message):
        Transfer.model_validate({"probes": PROBES} | axis)


def test_mixing_needs_a_ratio():
    with pytest.raises(ValueError, match="name ratios in `replace`"):
        Mixing.model_validate({"classifier": "net"})
