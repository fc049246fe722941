"""Dataset cards: what a folder of shards says of itself to people and to the hub's libraries."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

import write_dataset_card
from synthgap import config
from synthgap.cards import known_licence, read_split, write_card
from synthgap.cards.licences import LICENCES, NON_COMMERCIAL
from synthgap.config.cards import card
from synthgap.config.generators import presets
from synthgap.data.shards import Sample, ShardWriter, gather
from synthgap.errors import UserError

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
CLASSES = ("zero | naught", "über")
FACTS = {"versions": {"torch": "2.11"}, "device": "cpu", "failed": []}


def study(**sections):
    raw = copy.deepcopy(DEFAULT)
    for name, section in sections.items():
        raw[name] = raw[name] | section if isinstance(raw.get(name), dict) else section
    return config.parse(raw)


def manifest_of(folder, split, count, versions="2.11"):
    tar = folder / split / "rgb" / "00000.tar"
    tar.parent.mkdir(parents=True)
    with ShardWriter(tar, "png") as shard:
        for i in range(count):
            sample = Sample(f"{i % 2:04d}-{i:06d}", i % 2, CLASSES[i % 2], "a prompt", i)
            shard.add(sample, np.full((8, 8, 3), i, np.uint8))
        shard.facts = FACTS | {"versions": {"torch": versions}}
    gather([tar], tar.parent / "manifest.parquet")
    return tar.parent / "manifest.parquet"


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    counts = {"train": 6, "val": 2, "test": 3}
    return [read_split(name, manifest_of(folder, name, n)) for name, n in counts.items()]


def front_of(text):
    _, front, words = text.split("---\n", 2)
    return yaml.safe_load(front), words


def of(study, source, splits):
    return front_of(write_card(card(study, source), splits))


@pytest.mark.parametrize("name", presets())
def test_every_presets_licence_is_told(name, splits):
    preset = presets()[name]
    assert preset.license in LICENCES
    front, words = of(study(generators={"g": {"preset": name}}), "g-classname", splits)
    assert f"**{preset.license}**" in words
    assert f"https://huggingface.co/{preset.model}" in words
    assert ("**Gated**" in words) == preset.gated
    restricted = "Non-Commercial" in preset.license or "NSCL" in preset.license
    assert (NON_COMMERCIAL in words) == restricted
    assert front["license"] == LICENCES[preset.license].hub
    assert (front["license"] == "other") == ("license_name" in front)
    for fact in (preset.title, f"preset `{name}`", f"{preset.settings['authors'].steps} steps"):
        assert fact in words
    if preset.revision:
        assert preset.revision in words


def test_a_licence_that_nobody_stated_is_left_to_the_author(splits):
    front, words = of(study(), "flow-g1-classname", splits)
    assert front["license"] == "other"
    assert front["license_name"] == "to-be-stated-by-the-author"
    assert "**Not stated.** The author of this data set must fill it in: `generators.flow-g1.l" in (
        words
    )


@pytest.mark.parametrize(
    ("said", "hub", "name", "restricted"),
    [
        ("CC BY-NC 4.0", "cc-by-nc-4.0", None, True),
        ("mit", "mit", None, False),
        ("Our lab's own, v2", "other", "our-lab-s-own-v2", False),
        ("Research, non-commercial", "other", "research-non-commercial", True),
    ],
)
def test_a_licence_of_ones_own_is_told(said, hub, name, restricted, splits):
    generators = {"g": {"trained": "flow", "guidance_scale": 1.0, "steps": 2, "license": said}}
    front, words = of(study(generators=generators), "g-classname", splits)
    assert (front["license"], front.get("license_name")) == (hub, name)
    assert f"**{said}**" in words
    assert (NON_COMMERCIAL in words) == restricted


def test_real_images_and_what_is_made_of_them_tell_their_licence(splits):
    front, words = of(study(), "real", splits)
    assert front["license"] == "cc-by-4.0"
    assert "text-to-image" not in front["task_categories"]
    front, words = of(study(real={"license": "Proprietary, ask us"}), "cutmix-half", splits[:1])
    assert front["license_name"] == "proprietary-ask-us"
    assert len(front["configs"][0]["data_files"]) == 1
    _, words = of(study(real={"license": "cc0-1.0"}), "flow-g4-caption", splits)
    assert "Their licence: **cc0-1.0**" in words
    raw = {"dataset": "imagefolder", "folder": "data/x"}
    _, words = of(study(real=raw, image_sets={"theirs": {"folder": "y"}}), "theirs", splits)
    assert "`image_sets.theirs.license`" in words
    assert "`real.license`" in words


def test_how_images_were_made_is_told(splits):
    _, words = of(study(seed=7), "flow-g4-caption", splits)
    for fact in (
        "12 steps, guidance scale 4",
        "a dit-i trained on the study's real training images for 600 steps of 64",
        "Told the class name and the caption of a real image of the same split. Captions are by",
        "seed 7",
        "torch 2.11",
        "| 0 | zero \\| naught | 3 | 1 | 2 |",
        "| validation (`val`) | 2 | 1 | 1 |",
        "| test (`test`) | 3 | 1 | 1 to 2 |",
        "KEY.png",
    ):
        assert fact in words, fact
    raw = yaml.safe_load((ROOT / "config/studies/casd-digits.yaml").read_text())
    casd = config.parse(raw)
    for source in ["real", *casd.sources]:
        assert write_card(card(casd, source), splits)
    assert "on 40 real training images and 400 of pretrained, 32 kimg" in (
        write_card(card(casd, "casd-n40-pretrained-m400"), splits)
    )


def test_front_matter_is_what_the_hub_reads(splits):
    from huggingface_hub import DatasetCard

    text = write_card(card(study(), "flow-g1-classname"), splits)
    data = DatasetCard(text).data.to_dict()
    assert data["size_categories"] == ["n<1K"]
    assert [one["split"] for one in data["configs"][0]["data_files"]] == [
        "train", "validation", "test",
    ]  # fmt: skip
    names = data["dataset_info"]["features"][1]["dtype"]["class_label"]["names"]
    assert list(names.values()) == list(CLASSES)


def test_versions_of_several_shards_are_all_told(tmp_path):
    one = read_split("train", manifest_of(tmp_path / "a", "train", 2, "2.11"))
    other = read_split("test", manifest_of(tmp_path / "b", "test", 2, "2.12"))
    assert "torch 2.11, 2.12" in write_card(card(study(), "real"), [one, other])


def test_command_takes_the_licence_that_the_hub_told(tmp_path):
    found = manifest_of(tmp_path / "g", "train", 2)
    own = {"model": "lab/model", "guidance_scale": 1.0, "steps": 2}
    about = card(study(generators={"g": own}), "g-classname")
    assert about["hub"] == "lab--model"
    facts = tmp_path / "model.json"
    facts.write_text(json.dumps({"model": "lab/model", "license": "openrail", "gated": "auto"}))
    args = write_dataset_card.options().parse_args([
        "--about", json.dumps(about), "--splits", "train", "--manifests", str(found),
        "--model", str(facts), "--card", str(tmp_path / "README.md"),
    ])  # fmt: skip
    write_dataset_card.main(args)
    front, words = front_of((tmp_path / "README.md").read_text())
    assert front["license"] == "openrail"
    assert "**Gated**" in words
    args.splits = ["train", "val"]
    with pytest.raises(UserError, match="one for each"):
        write_dataset_card.main(args)


def test_licences_are_known_by_any_spelling():
    assert known_licence("CC BY 4.0").hub == "cc-by-4.0"
    assert known_licence("CC-BY-NC-SA-4.0").note == NON_COMMERCIAL
    assert known_licence(None).hub == "other"


def test_options_of_licences_shape_no_image():
    plain, told = study(), study(real={"license": "mit"}, generators={
        name: one | {"license": "mit"} for name, one in DEFAULT["generators"].items()
    })  # fmt: skip
    for name in plain.generators:
        assert plain.generator_options(name) == told.generator_options(name)


@pytest.mark.parametrize("bad", ["", "two\nlines", "`code`", " space first"])
def test_a_licence_is_a_line(bad):
    with pytest.raises(UserError, match=r"real\.license: string should"):
        study(real={"license": bad})
