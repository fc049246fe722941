"""Which real images are taken: class tables, selections, and what a config may say of them."""

import csv
from collections import Counter
from pathlib import Path

import pytest
import timm

from synthgap.config import load
from synthgap.config.real import Real
from synthgap.data.class_tables import Classes, read_class_table, table_digest
from synthgap.data.real import split_dataset
from synthgap.data.real.files import imagenet_synsets
from synthgap.errors import UserError

INFO = Path(timm.__file__).parent / "data" / "_info"


def table_file(path: Path, rows: list[tuple[str, str]], header=("folder", "name")) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def test_the_table_of_paper_a_is_of_imagenet():
    rows = read_class_table("imagenet-200")
    synsets = imagenet_synsets()
    lines = (INFO / "imagenet_synset_to_lemma.txt").read_text().splitlines()
    lemmas = dict(line.split("\t", 1) for line in lines)
    assert (
        len(rows) == len({folder for folder, _ in rows}) == len({name for _, name in rows}) == 200
    )
    assert [folder for folder, _ in rows] == sorted(folder for folder, _ in rows)
    for folder, name in rows:
        assert folder in synsets
        assert name.lower() in [lemma.strip().lower() for lemma in lemmas[folder].split(",")]
    found = dict(rows)
    # Of two classes each that share a name, those of Tiny ImageNet.
    assert (found["n03126707"], found["n02963159"], found["n02509815"]) == (
        "crane",
        "cardigan",
        "panda",
    )


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        ([("a", "x"), ("b", "x")], ("folder", "name"), "row 3: x comes twice in name"),
        ([("a", "x"), ("a", "y")], ("folder", "name"), "row 3: a comes twice in folder"),
        ([("a", "")], ("folder", "name"), "row 2: an empty cell in name"),
        ([("a", "x"), ("b", "y", "z")], ("folder", "name"), "row 3: a comma too many"),
        ([("a", "x")], ("id", "name"), "needs the columns folder,name"),
        ([], ("folder", "name"), "a row a class"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, rows, header, said):
    with pytest.raises(UserError, match=said):
        read_class_table(table_file(tmp_path / "t.csv", rows, header))
    with pytest.raises(UserError, match=r"neither a built-in table \(imagenet-200\) nor"):
        read_class_table("imagenet-300")


def test_classes_of_one_name_are_refused():
    with pytest.raises(UserError, match="a and b have one name, cat"):
        Classes(names={"a": "cat", "b": "cat"}).of(["a", "b"], "x")


def test_a_changed_table_lists_the_images_anew(tmp_path):
    first = table_digest(table_file(tmp_path / "t.csv", [("a", "x")]))
    assert table_digest(table_file(tmp_path / "t.csv", [("a", "y")])) != first
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbffolder,name\r\na,x\r\n")  # a spreadsheet's
    assert table_digest(str(tmp_path / "t.csv")) == first != table_digest(None)


ENTRIES = [(f"{c}-{i}", c) for c in "ab" for i in range(20)]
TESTS = [(f"test:{c}-{i}", c) for c in "ba" for i in range(4)]


def test_a_selection_has_so_many_of_each_class():
    wanted = {"train": 6, "val": 2, "test": 3}
    rows = split_dataset(ENTRIES, 0, 0.1, 0.1, images_per_class=wanted)
    counts = Counter((row["class_name"], row["split"]) for row in rows)
    assert counts == {(c, split): n for c in "ab" for split, n in wanted.items()}
    assert len({row["key"] for row in rows}) == len({row["name"] for row in rows}) == len(rows)
    # More training images move none of those for validation and tests.
    more = split_dataset(ENTRIES, 0, 0.1, 0.1, images_per_class=wanted | {"train": 12})
    kept = {row["name"]: row["split"] for row in more}
    assert all(kept[row["name"]] == row["split"] for row in rows)
    other = split_dataset(ENTRIES, 1, 0.1, 0.1, images_per_class=wanted)
    assert {row["name"] for row in other} != {row["name"] for row in rows}


def test_tests_of_their_own_are_the_test_split():
    rows = split_dataset(ENTRIES, 0, 0.1, 0.3, tests=TESTS)
    by_split = {s: {r["name"] for r in rows if r["split"] == s} for s in ("train", "val", "test")}
    assert by_split["test"] == {name for name, _ in TESTS}
    assert [len(by_split[s]) for s in ("train", "val")] == [36, 4]
    assert {row["class_name"]: row["class_index"] for row in rows} == {"a": 0, "b": 1}
    assert len({row["key"] for row in rows}) == len(rows)
    chosen = split_dataset(
        ENTRIES, 0, 0.1, 0.1, tests=TESTS, images_per_class={"train": 18, "val": 2, "test": 3}
    )
    assert Counter(row["split"] for row in chosen) == {"train": 36, "val": 4, "test": 6}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"images_per_class": {"train": 18, "val": 2, "test": 1}},
            "class a has 20 images, and .*21",
        ),
        ({"tests": TESTS[:4]}, "real.test_folder has no images of class a"),
        ({"tests": [*TESTS, ("x", "c")]}, "real.folder has no images of class c"),
        (
            {"tests": TESTS, "images_per_class": {"train": 1, "val": 1, "test": 5}},
            "class a has 4 test images, and real.images_per_class asks for 5",
        ),
    ],
)
def test_classes_with_too_few_images_or_on_one_side_are_named(settings, said):
    with pytest.raises(UserError, match=said):
        split_dataset(ENTRIES, 0, 0.1, 0.1, **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dataset": "digits", "folder": "x"}, "`folder` is needed with every `dataset` but dig"),
        ({"dataset": "parquet"}, "`folder` is needed"),
        ({"class_table": "imagenet-200", "class_names": {"a": "b"}}, "class_names: `class_table`"),
        ({"class_table": "imagenet-100"}, "class_table: imagenet-100 is neither"),
        ({"class_table": "imagenet-200", "classes": 100}, "classes: `class_table` has 200"),
        ({"dataset": "cifar10", "test_folder": "y"}, "test_folder: cifar10 needs none"),
        ({"dataset": "cifar10", "test_fraction": 0.2}, "test_fraction: leave it out; .* CIFAR-10"),
        ({"test_folder": "y", "test_fraction": 0.2}, "test_fraction: leave it out; .* test_folder"),
        ({"test_folder": "x"}, "test_folder: it is `folder`"),
        ({"dataset": "digits", "class_table": "imagenet-200"}, "class_table: digits have their"),
        ({"dataset": "digits", "class_names": {"a": "b"}}, "class_names: digits have their"),
        ({"dataset": "digits", "classes": 9}, "classes: digits has 10; leave it out"),
        ({"dataset": "webdataset", "val_fraction": 0.5, "test_fraction": 0.5}, "must leave images"),
        (
            {"images_per_class": {"train": 1, "val": 1, "test": 1}, "val_fraction": 0.2},
            "images_per_class: leave out val_fraction",
        ),
    ],
)
def test_configs_that_cannot_be_are_refused(settings, said):
    usual = {"dataset": "imagefolder", "folder": "x"}
    if settings.get("dataset") in ("digits", "parquet"):
        usual = {}
    with pytest.raises(ValueError, match=said):
        Real.model_validate(usual | settings)


def test_the_number_of_classes_follows_from_the_config():
    known = [
        Real.model_validate(settings).known_classes
        for settings in (
            {"dataset": "digits"},
            {"dataset": "cifar10", "folder": "x"},
            {"dataset": "imagefolder", "folder": "x"},
            {"dataset": "imagefolder", "folder": "x", "classes": 7},
            {"dataset": "parquet", "folder": "x", "class_table": "imagenet-200"},
        )
    ]
    assert known == [10, 10, None, 7, 200]


@pytest.mark.parametrize(("study", "classes"), [("transfer", 200), ("cifar10", 10)])
def test_the_studies_know_their_classes_without_their_images(study, classes):
    config = load(Path(__file__).parents[2] / "config" / "studies" / f"{study}.yaml")
    assert config.real.known_classes == classes
