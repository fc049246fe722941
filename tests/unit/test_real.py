"""Real images: splits, folders of images, and the command that makes shards of them."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthgap.data.images import decode, encode, to_rgb
from synthgap.data.real import Digits, ImageFolder, open_dataset, split_dataset
from synthgap.data.shards import read_rows, tar_members
from synthgap.data.slices import shard_slice
from synthgap.errors import UserError

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


def picture(shade, size=(20, 12), mode="RGB"):
    return Image.new("RGB", size, (shade, shade // 2, 10)).convert(mode)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    for class_name in ("cat", "dog"):
        for i in range(8):
            suffix = ("jpg", "PNG", "webp", "jpeg")[i % 4]
            file = root / class_name / ("deep" if i > 5 else "") / f"{i}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(20 * i).save(file)
        (root / class_name / "notes.txt").write_text("no image")
    (root / ".hidden").mkdir()
    return root


def test_digits_are_scikit_learns():
    entries = list(Digits().entries())
    assert len(entries) == 1797
    assert Counter(name for _, name in entries)["three"] == 183
    image = np.asarray(Digits().load(entries[0][0]))
    assert image.shape == (8, 8, 3)
    assert image.max() > 230


def test_split_is_stratified_and_disjoint():
    entries = list(Digits().entries())
    rows = split_dataset(entries, seed=0, val_fraction=0.1, test_fraction=0.3)
    assert sorted(row["name"] for row in rows) == sorted(name for name, _ in entries)
    assert len({row["key"] for row in rows}) == len(rows)
    for split, share in (("train", 0.6), ("val", 0.1), ("test", 0.3)):
        counts = Counter(row["class_name"] for row in rows if row["split"] == split)
        totals = Counter(name for _, name in entries)
        assert all(abs(counts[name] - share * n) <= 1.5 for name, n in totals.items())


def test_first_rows_of_a_split_hold_the_classes_evenly():
    entries = [
        (f"{c}-{i}", c) for c, n in (("rare", 30), ("usual", 90), ("common", 300)) for i in range(n)
    ]
    rows = split_dataset(entries, seed=0, val_fraction=0.1, test_fraction=0.3)
    for split in ("train", "val", "test"):
        first = [row["class_name"] for row in rows if row["split"] == split][:9]
        assert Counter(first) == {"rare": 3, "usual": 3, "common": 3}


def test_split_depends_on_the_seed_and_little_on_other_images():
    entries = list(Digits().entries())
    first, again, other = (split_dataset(entries, s, 0.1, 0.3) for s in (0, 0, 1))
    assert first == again
    assert first != other
    fewer = {row["name"]: row["split"] for row in split_dataset(entries[:-20], 0, 0.1, 0.3)}
    moved = sum(fewer.get(row["name"], row["split"]) != row["split"] for row in first)
    assert moved <= 10


def test_shards_cover_all_rows_once():
    for total, shards in ((10, 3), (7, 7), (1000, 13)):
        rows = [i for s in range(shards) for i in range(total)[shard_slice(total, s, shards)]]
        assert rows == list(range(total))


def test_folder_lists_images_by_class(folder):
    entries = list(ImageFolder(folder, {"cat": "tabby cat"}).entries())
    assert len(entries) == 16
    assert entries[0] == ("cat/0.jpg", "tabby cat")
    assert ("dog/deep/7.jpeg", "dog") in entries


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda root: root / "nowhere", "no folder"),
        (lambda root: root / ".hidden", "has no classes"),
        (lambda root: (root / "empty").mkdir() or root, "empty has no JPEG"),
    ],
)
def test_bad_folders_are_named(folder, prepare, said):
    with pytest.raises(UserError, match=said):
        list(ImageFolder(prepare(folder), {}).entries())


def test_unknown_class_names_and_data_sets_are_refused(folder):
    with pytest.raises(UserError, match="class_names: no folder cow"):
        list(ImageFolder(folder, {"cow": "cow"}).entries())
    with pytest.raises(UserError, match="no `cifar`"):
        open_dataset({"dataset": "cifar"})


def test_class_too_small_to_split_is_named():
    with pytest.raises(UserError, match="class rare has 2 images"):
        split_dataset([("a", "rare"), ("b", "rare")], 0, 0.1, 0.1)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "I"])
def test_every_mode_becomes_rgb(mode):
    shade = 255 if mode == "1" else 200
    grey = Image.new("L", (4, 4), shade)
    image = to_rgb(sixteen_bit() if mode[0] == "I" else grey.convert(mode))
    assert image.mode == "RGB"
    assert abs(np.asarray(image).astype(int) - shade).max() <= 1


def sixteen_bit():
    return Image.fromarray(np.full((4, 4), 200 * 257, np.uint16))


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (6, 4))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert decode((tmp_path / "turned.jpg").read_bytes()).shape == (6, 4, 3)


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_lossless_formats_are_lossless(image_format):
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert np.array_equal(decode(encode(image, image_format)), image)


def prepare(folder, tmp_path, **settings):
    """Run index_real and prepare_real as the workflow does; return the last one and its tar."""
    real = {
        "dataset": "imagefolder", "folder": str(folder), "class_names": {}, "image_size": 16,
        "image_format": "png", "val_fraction": 0.2, "test_fraction": 0.2, "max_unreadable": 0,
    } | settings  # fmt: skip
    index, tar = tmp_path / "index.parquet", tmp_path / "00000.tar"

    def run(command, *options):
        line = [sys.executable, SCRIPTS / f"{command}.py", "--dataset", json.dumps(real), *options]
        return subprocess.run(line, capture_output=True, text=True)

    listed = run("index_real", "--seed", "0", "--index", index)
    assert listed.returncode == 0, listed.stderr
    options = ["--index", index, "--split", "train", "--shard", "0", "--shards", "1", "--tar", tar]
    return run("prepare_real", *options), tar


def test_folder_becomes_a_shard(folder, tmp_path):
    result, tar = prepare(folder, tmp_path)
    assert result.returncode == 0, result.stderr
    pictures = [content for name, content in tar_members(tar).items() if name.endswith(".png")]
    assert len(pictures) == 8
    assert {decode(content).shape for content in pictures} == {(16, 16, 3)}


def test_unreadable_image_is_counted_listed_and_tolerated_on_request(folder, tmp_path):
    for file in folder.rglob("*.webp"):
        file.write_bytes(file.read_bytes()[:30])
    result, tar = prepare(folder, tmp_path)
    assert result.returncode == 1
    assert "2 of 8 images cannot be read" in result.stderr
    assert ".webp" in result.stderr
    assert "Traceback" not in result.stderr
    assert not tar.exists()
    result, tar = prepare(folder, tmp_path, max_unreadable=4)
    assert result.returncode == 0, result.stderr
    statuses = read_rows(tar)["status"].to_pylist()
    assert 0 < sum("unreadable" in status for status in statuses) <= 4
    assert any(status == "ok" for status in statuses)


def test_folder_without_classes_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    real = {"dataset": "imagefolder", "folder": str(tmp_path / "empty"), "class_names": {}}
    command = [sys.executable, SCRIPTS / "index_real.py", "--dataset", json.dumps(real)]
    command += ["--seed", "0", "--index", tmp_path / "index.parquet"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: real.folder: ")
    assert result.stderr.count("\n") == 1
