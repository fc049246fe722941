"""A config fitted to its folder: numbers follow from the smallest class, and what lacks is said."""

import copy
from pathlib import Path

import pytest
import yaml

from synthgap import config
from synthgap.data import class_folders
from synthgap.errors import UserError

ROOT = Path(__file__).parents[2]
OWN = yaml.safe_load((ROOT / "config" / "own-images.yaml").read_text())


@pytest.fixture(autouse=True)
def counted_anew():
    class_folders.count_images.cache_clear()


def folder_of(path, *counts):
    for number, count in enumerate(counts):
        one = path / f"class {number}"
        one.mkdir(parents=True)
        for i in range(count):
            (one / f"{i}.jpg").touch()
    return str(path)


def fitted(folder, **real):
    raw = copy.deepcopy(OWN)
    raw["real"] |= {"folder": folder} | real
    return config.parse(raw)


@pytest.mark.parametrize(
    ("counts", "real", "distinguish"),
    [
        ([40] * 3, (24, 6, 10), (12, 3, 5)),
        ([500] * 20, (120, 30, 50), (60, 15, 25)),
        ([200] * 10, (120, 30, 50), (60, 15, 25)),
        ([900, 40, 70], (24, 6, 10), (12, 3, 5)),  # the smallest class decides
        ([10] * 10, (6, 2, 2), (3, 1, 1)),
        ([28] * 3, (17, 4, 7), (8, 2, 3)),
    ],
)
def test_numbers_follow_the_smallest_class(counts, real, distinguish, tmp_path):
    study = fitted(folder_of(tmp_path, *counts))
    assert tuple(study.real.images_per_class.model_dump().values()) == real
    assert study.synthetic.samples_per_class == study.real.images_per_class
    told = study.studies.distinguish
    assert tuple(told.images_per_class.model_dump().values()) == distinguish
    total = len(counts) * real[0]
    assert study.distributions["classifier"].samples == min(500, total)
    assert study.replication.samples == min(200, len(counts) * real[2])
    assert study.studies.transfer.spectrum_samples == min(200, total)
    design = study.studies.casd.designs["sizes"]
    assert design.images == [min(100, total)]
    assert design.synthetic == [min(600, total)]
    assert told.people.pairs == min(20, len(counts) * real[2])
    assert told.occlusion.images == min(8, len(counts) * distinguish[2])


def test_published_generators_take_the_same_folder(tmp_path):
    raw = yaml.safe_load((ROOT / "config" / "own-images-gpu.yaml").read_text())
    raw["real"]["folder"] = folder_of(tmp_path, *[60] * 3)
    study = config.parse(raw)
    assert study.real.images_per_class.model_dump() == {"train": 47, "val": 4, "test": 9}
    assert study.distributions["dinov2"].samples == 141
    raw["real"]["folder"] = folder_of(tmp_path / "large", *[800] * 20)
    assert config.parse(raw).real.images_per_class.train == 500


def test_fractions_are_fitted_too(tmp_path):
    raw = copy.deepcopy(OWN)
    del raw["real"]["images_per_class"]
    raw["real"] |= {"folder": folder_of(tmp_path, 40, 50), "test_fraction": 0.25}
    found = config.parse(raw).real.images_per_class
    assert found.model_dump() == {"train": 26, "val": 4, "test": 10}


def test_test_images_of_their_own_are_counted_apart(tmp_path):
    tests = folder_of(tmp_path / "tests", 12, 70)
    study = fitted(folder_of(tmp_path / "images", 100, 100), test_folder=tests)
    assert study.real.images_per_class.model_dump() == {"train": 80, "val": 20, "test": 12}


def test_a_study_that_does_not_ask_for_it_is_left_alone(tmp_path):
    raw = copy.deepcopy(OWN) | {"fit_to_folder": False}
    raw["real"]["folder"] = str(tmp_path / "not there")
    study = config.parse(raw)
    assert study.real.images_per_class.train == 120
    assert study.found_images == {}


def test_numbers_that_are_small_enough_stay(tmp_path):
    raw = copy.deepcopy(OWN)
    raw["real"] |= {"folder": folder_of(tmp_path, 100, 100)}
    raw["real"]["images_per_class"] = {"train": 30, "val": 4, "test": 20}
    raw["generators"]["plain-g1"]["samples_per_class"] = {"train": 80, "val": 1, "test": 1}
    study = config.parse(raw)
    assert study.real.images_per_class.model_dump() == {"train": 30, "val": 4, "test": 20}
    made = study.generators["plain-g1"].samples_per_class
    assert made.model_dump() == {"train": 30, "val": 1, "test": 1}


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([20], "has one class, class 0; a study needs two"),
        ([20, 0], r"class .*class 1 has no JPEG, PNG or WebP file"),
        ([9, 30], "class class 0 of .* has 9 images, and each class needs 10"),
        ([10, 10], "distributions.classifier: .* gives 12 train images"),
        ([39, 39], "distributions.classifier: .* gives 18 test images"),
    ],
)
def test_what_a_folder_lacks_is_said(counts, said, tmp_path):
    with pytest.raises(UserError, match=said) as raised:
        fitted(folder_of(tmp_path / "photos", *counts))
    assert "\n" not in str(raised.value)


def test_only_folders_are_counted():
    raw = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    with pytest.raises(UserError, match="fit_to_folder: only images of `dataset: imagefolder`"):
        config.parse(raw | {"fit_to_folder": True})


def test_a_key_of_real_images_at_the_top_is_sent_to_its_place():
    with pytest.raises(UserError, match=r"folder: unknown key; did you mean `real\.folder`\?"):
        config.parse(OWN | {"folder": "/data/pets"})
