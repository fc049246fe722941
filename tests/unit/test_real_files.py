"""Real images in folders, tars, parquet files and CIFAR-10: made on the spot, read back."""

import csv
import gzip
import io
import json
import pickle
import shutil
import tarfile
from collections import Counter
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torchvision
from PIL import Image

import index_real
import prepare_real
from synthgap.data.class_tables import Classes
from synthgap.data.real import cifar10, open_dataset, split_dataset
from synthgap.data.real.files import imagenet_synsets
from synthgap.data.shards import read_rows
from synthgap.errors import UserError


def png(shade: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (6, 4), (shade, 0, 0)).save(content, "PNG")
    return content.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def tars(folder: Path, labels: list[int], name: str = "train") -> str:
    """Write a tar of three images of each label; a shade tells the label."""
    for number in range(3):
        members = {}
        for label in labels:
            members[f"deep/{label}-{number}.png"] = png(label % 200)
            members[f"deep/{label}-{number}.cls"] = str(label).encode()
            members[f"deep/{label}-{number}.json"] = b"{}"
        write_tar(folder / f"{name}-{number:02d}.tar", members)
    return str(folder / f"{name}-*.tar")


def parquet(folder: Path, labels: list[int], names: list[str] | None = None) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    images = [
        {"bytes": png(label % 200), "path": f"{label}.png"} for label in labels for _ in "abc"
    ]
    table = pa.table({"image": images, "label": [label for label in labels for _ in "abc"]})
    if names:
        info = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, folder / "train-0.parquet", row_group_size=4)
    return str(folder)


def red(image: Image.Image) -> int:
    return int(np.asarray(image)[0, 0, 0])


def table_file(path: Path, rows: list[tuple[str, str]], header=("folder", "name")) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def test_a_table_chooses_folders_and_their_order(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "0.png").write_bytes(png(1))
    table = table_file(tmp_path / "t.csv", [("c", "sea"), ("a", "sky")])
    options = {"dataset": "imagefolder", "folder": str(tmp_path / "data"), "class_table": table}
    assert open_dataset(options).entries() == [("c/0.png", "sea"), ("a/0.png", "sky")]
    table = table_file(tmp_path / "t.csv", [("c", "sea"), ("d", "dew"), ("e", "elm")])
    with pytest.raises(UserError, match=r"lacks 2 of the 3 classes of .*: d, e$"):
        open_dataset(options | {"class_table": table}).entries()


def test_without_imagenet_its_whereabouts_are_told(tmp_path):
    options = {"dataset": "imagefolder", "class_table": "imagenet-200"}
    (tmp_path / "empty").mkdir()
    for folder, said in (("none", "no folder"), ("empty", "has no classes")):
        with pytest.raises(UserError, match=rf"{said}.*docs/real-images\.md says where ImageNet"):
            open_dataset(options | {"folder": str(tmp_path / folder)}).entries()


def test_tars_are_listed_by_class_and_read_by_place(tmp_path):
    pattern = tars(tmp_path, [7, 3])
    options = {"dataset": "webdataset", "folder": pattern, "class_names": {"3": "three"}}
    dataset = open_dataset(options)
    entries = dataset.entries()
    assert [name for _, name in entries] == ["three"] * 3 + ["7"] * 3
    assert [red(dataset.load(name)) for name, _ in entries] == [3] * 3 + [7] * 3
    # A folder of tars is as good as a pattern.
    assert open_dataset(options | {"folder": str(tmp_path)}).entries() == entries


def test_labels_of_imagenet_are_found_by_a_table_of_synsets(tmp_path):
    synsets = imagenet_synsets()
    labels = [synsets.index("n02123045"), 5]
    table = table_file(tmp_path / "t.csv", [("n02123045", "tabby cat")])
    for kind, folder in (
        ("webdataset", tars(tmp_path / "tars", labels)),
        ("parquet", parquet(tmp_path / "parquet", labels)),
    ):
        dataset = open_dataset({"dataset": kind, "folder": folder, "class_table": table})
        entries = dataset.entries()
        assert [name for _, name in entries] == ["tabby cat"] * 3
        assert {red(dataset.load(name)) for name, _ in entries} == {labels[0] % 200}


def test_parquet_files_name_their_labels(tmp_path):
    folder = parquet(tmp_path, [1, 0, 2], ["ant", "bee", "cow"])
    dataset = open_dataset({"dataset": "parquet", "folder": folder, "class_names": {"cow": "ox"}})
    entries = dataset.entries()
    assert Counter(name for _, name in entries) == {"ant": 3, "bee": 3, "ox": 3}
    shades = {"ant": 0, "bee": 1, "ox": 2}
    for name, class_name in entries[::-1] + entries:  # across row groups and back
        assert red(dataset.load(name)) == shades[class_name]
    unnamed = open_dataset({"dataset": "parquet", "folder": parquet(tmp_path / "b", [4])})
    assert {name for _, name in unnamed.entries()} == {"4"}


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (None, "no file .*train-.*name a folder of .tar files"),
        ({"a.png": png(1)}, "a has no .cls file"),
        ({"a.png": png(1), "a.jpg": png(2), "a.cls": b"1"}, "a is there twice"),
        ({"a.png": png(1), "a.cls": b"cat"}, "no tar with .cls files of whole numbers"),
        ({"a.txt": b"x"}, "no images with .cls files"),
    ],
)
def test_wrong_tars_are_refused(tmp_path, members, said):
    if members is not None:
        write_tar(tmp_path / "train-0.tar", members)
    options = {"dataset": "webdataset", "folder": str(tmp_path / "train-*.tar")}
    with pytest.raises(UserError, match=said):
        open_dataset(options).entries()


def whole_tar(folder: Path) -> bytes:
    write_tar(folder / "whole", {"a.cls": b"0", "a.png": png(1) * 30})
    return (folder / "whole").read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        lambda whole: b"no tar" * 200,
        lambda whole: whole[:2000],
        gzip.compress,  # its places would not be those of the file
    ],
)
def test_a_damaged_or_compressed_tar_is_named(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content(whole_tar(tmp_path)))
    with pytest.raises(UserError, match=r"a\.tar is damaged"):
        open_dataset({"dataset": "webdataset", "folder": str(tmp_path)}).entries()


IMAGE = {"bytes": png(1), "path": "x"}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"label": [1]}, "image is no struct with bytes"),
        ({"image": [png(1)], "label": [0]}, "image is no struct with bytes"),
        ({"image": [IMAGE]}, "label is null, no integer"),
        ({"image": [IMAGE], "label": ["cat"]}, "label is string, no integer"),
        ({"image": [IMAGE, IMAGE], "label": [0, None]}, "1 rows have no label"),
        ({"image": [], "label": []}, "is damaged, or"),
    ],
)
def test_wrong_parquet_columns_are_refused(tmp_path, columns, said):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=rf"a\.parquet.*{said}"):
        open_dataset({"dataset": "parquet", "folder": str(tmp_path)}).entries()


def test_wrong_parquet_files_are_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    options = {"dataset": "parquet", "folder": str(tmp_path)}
    with pytest.raises(UserError, match=r"a\.parquet is damaged"):
        open_dataset(options).entries()
    with pytest.raises(UserError, match="label 3, and there are names for 0 to 1"):
        open_dataset(
            options | {"folder": parquet(tmp_path / "b", [0, 3], ["ant", "bee"])}
        ).entries()


def test_labels_of_one_name_are_refused(tmp_path):
    # As ImageNet-1k's two cranes on the Hugging Face hub.
    folder = parquet(tmp_path, [0, 1], ["crane", "crane"])
    with pytest.raises(UserError, match=r"2 labels are called crane; .*class_table of synsets"):
        open_dataset({"dataset": "parquet", "folder": folder}).entries()


def test_synsets_are_those_of_the_metadata_or_of_imagenet(tmp_path):
    synsets = ["n02123394", "n02123045"]
    table = table_file(tmp_path / "t.csv", [("n02123045", "tabby"), ("n02123394", "persian")])
    options = {"dataset": "parquet", "class_table": table}
    dataset = open_dataset(options | {"folder": parquet(tmp_path / "a", [0, 1], synsets)})
    assert {red(dataset.load(n)): name for n, name in dataset.entries()} == {
        1: "tabby",
        0: "persian",
    }
    with pytest.raises(UserError, match="its 2 labels are not those of ImageNet-1k"):
        open_dataset(options | {"folder": parquet(tmp_path / "b", [0, 1], ["x", "y"])}).entries()


def test_a_row_without_an_image_is_no_crash(tmp_path):
    images = pa.array([None, {"bytes": None, "path": "x"}, IMAGE])
    pq.write_table(pa.table({"image": images, "label": [0, 0, 0]}), tmp_path / "a.parquet")
    dataset = open_dataset({"dataset": "parquet", "folder": str(tmp_path)})
    places = [name for name, _ in dataset.entries()]
    for place in places[:2]:
        with pytest.raises(ValueError, match="no bytes of an image"):
            dataset.load(place)
    assert red(dataset.load(places[2])) == 1


@pytest.mark.parametrize(("kind", "make"), [("webdataset", tars), ("parquet", parquet)])
def test_where_files_lie_moves_no_image_to_another_split(tmp_path, kind, make):
    splits = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        place = make(folder, [0, 1])
        entries = open_dataset({"dataset": kind, "folder": place}).entries()
        splits.append(split_dataset(entries, 0, 0.3, 0.3))
    assert splits[0] == splits[1]


def test_test_images_that_are_trained_on_are_refused(tmp_path):
    tars(tmp_path, [0, 1])
    tests = tars(tmp_path, [0, 1], "validation")
    options = {"dataset": "webdataset", "folder": str(tmp_path), "test_folder": tests}
    with pytest.raises(UserError, match=r"validation-00\.tar belongs to real\.folder as well"):
        open_dataset(options)
    assert len(open_dataset(options | {"folder": str(tmp_path / "train-*.tar")}).entries()) == 6
    (tmp_path / "linked").symlink_to(tmp_path)
    options |= {"dataset": "imagefolder", "test_folder": str(tmp_path / "linked")}
    with pytest.raises(UserError, match=r"real\.folder as well.*use another folder"):
        open_dataset(options)


def test_parquet_files_of_several_data_sets_are_refused(tmp_path):
    for number, names in enumerate((["ant", "bee"], ["bee", "ant"])):
        parquet(tmp_path, [0, 1], names)
        (tmp_path / "train-0.parquet").rename(tmp_path / f"{number}.parquet")
    with pytest.raises(UserError, match=r"1\.parquet has other names of its labels than .*0\.parq"):
        open_dataset({"dataset": "parquet", "folder": str(tmp_path)}).entries()


def fake_cifar(folder: Path, monkeypatch) -> None:
    """Write batches as CIFAR-10 has them, of four images each, and accept them."""
    batches = folder / "cifar-10-batches-py"
    batches.mkdir(parents=True)
    names = [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]
    for number, name in enumerate(names):
        data = np.full((4, 3072), 10 * number, np.uint8)
        (batches / name).write_bytes(pickle.dumps({"data": data, "labels": [0, 1, 0, 9]}))
    classes = ["airplane", "automobile", *"cdefghi", "truck"]
    (batches / "batches.meta").write_bytes(pickle.dumps({"label_names": classes}))
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)


def test_cifar_10_has_its_own_test_images(tmp_path, monkeypatch):
    fake_cifar(tmp_path, monkeypatch)
    table = table_file(tmp_path / "t.csv", [("truck", "lorry"), ("airplane", "airplane")])
    options = {"dataset": "cifar10", "folder": str(tmp_path), "class_table": table}
    dataset = open_dataset(options)
    entries, tests = dataset.entries(), dataset.test_entries()
    assert Counter(name for _, name in entries) == {"airplane": 10, "lorry": 5}
    assert Counter(name for _, name in tests) == {"airplane": 2, "lorry": 1}
    assert dataset.load(entries[-1][0]).size == (32, 32)
    assert red(dataset.load(tests[0][0])) == 50


def test_a_missing_cifar_10_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    part = cifar10.Cifar10(tmp_path / "empty", train=True, classes=Classes())
    with pytest.raises(UserError, match="needs the folder cifar-10-batches-py"):
        list(part.entries())


@pytest.mark.parametrize("name", ["data/cifar", "data/cifar-10-batches-py"])
def test_cifar_10_is_downloaded_whole_or_not_at_all(tmp_path, monkeypatch, name):
    fake_cifar(tmp_path / "net", monkeypatch)
    dataset = torchvision.datasets.CIFAR10

    def fail(self):
        Path(self.root).mkdir()
        raise URLError("no network")

    folder = tmp_path / name
    monkeypatch.setattr(dataset, "download", fail)
    with pytest.raises(UserError, match=r"no CIFAR-10 in .*no network"):
        open_dataset({"dataset": "cifar10", "folder": str(folder)}).entries()
    assert list(folder.parent.iterdir()) == []
    monkeypatch.setattr(
        dataset, "download", lambda self: shutil.copytree(tmp_path / "net", self.root)
    )
    images = open_dataset({"dataset": "cifar10", "folder": str(folder)})
    assert (len(images.entries()), len(images.test_entries() or [])) == (20, 4)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_tars_become_shards(tmp_path):
    real = {
        "dataset": "webdataset", "folder": tars(tmp_path / "a", [0, 1]), "image_size": 8,
        "test_folder": tars(tmp_path / "b", [0, 1], "test"), "image_format": "png",
        "images_per_class": {"train": 2, "val": 1, "test": 3}, "val_fraction": 0.1,
        "test_fraction": 0.1, "max_unreadable": 0,
    }  # fmt: skip
    index, tar = tmp_path / "index.parquet", tmp_path / "out" / "00000.tar"
    words = ["--dataset", json.dumps(real), "--seed", "0", "--index", str(index)]
    index_real.main(index_real.options().parse_args(words))
    for split, n in (("train", 4), ("test", 6)):
        words = ["--index", str(index), "--dataset", json.dumps(real), "--split", split]
        words += ["--shard", "0", "--shards", "1", "--tar", str(tar)]
        prepare_real.main(prepare_real.options().parse_args(words))
        assert read_rows(tar)["status"].to_pylist() == ["ok"] * n
