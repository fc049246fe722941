"""A user's folder of photographs, as odd as such folders are, through every study."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from checkout import Checkout, copy_checkout
from synthgap.data.shards import Manifest

pytestmark = pytest.mark.long

CONFIGS = ["config/own-images.yaml", "tiny-own-images.yaml"]
CLASSES = {"red apple": (210, 30, 30), "Äpfel 苹果": (40, 170, 50), "blue.ball's": (30, 60, 210),
           "night": (90, 60, 20)}  # fmt: skip
OF_EACH = 20


def photo(colour, seed):
    """A blot of colour on noise, in a size of its own; the top is bright and the bottom dark."""
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(40, 90, 2))
    pixels = np.full((height, width, 3), colour, float)
    pixels += rng.normal(0, 12, pixels.shape) + np.linspace(40, -40, height)[:, None, None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def save_oddly(image, folder: Path, number: int) -> Path:
    """Save an image in one of ten ways that cameras, scanners and browsers have."""
    again = "" if number < 10 else " (1)"
    nested = folder / "from phone" / "día 1"
    nested.mkdir(parents=True, exist_ok=True)
    rgba = image.copy()
    rgba.putalpha(255)
    grey = image.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    ways = [
        (image, folder / f"plain{again}.jpg", {"quality": 90}),
        (rgba, folder / f"with alpha{again}.png", {}),
        (image.quantize(64), folder / f"palette{again}.PNG", {}),
        (grey, folder / f"grey{again}.jpeg", {}),
        (deep, folder / f"sixteen bits{again}.png", {}),
        (image, nested / f"ünïcode 图{again}.webp", {"lossless": True}),
        (image.convert("CMYK"), folder / f"print{again}.jpg", {"quality": 95}),
        (turned, nested / f"turned{again}.JPG", {"exif": exif, "quality": 95, "subsampling": 0}),
        (image, nested / f"it's{again}.png", {}),
        (image, folder / f"progressive{again}.jpg", {"progressive": True}),
    ]
    saved, path, settings = ways[number % len(ways)]
    saved.save(path, **settings)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "my photos"
    for name, colour in CLASSES.items():
        for number in range(OF_EACH):
            (folder / name).mkdir(parents=True, exist_ok=True)
            save_oddly(photo(colour, number), folder / name, number)
        (folder / name / "notes.txt").write_text("no image")
    (folder / ".thumbnails").mkdir()
    return folder


def run(checkout: Checkout, folder: Path, *options: str):
    return checkout.snakemake(
        "--cores", "2", *options, "--config", f'real={{folder: "{folder}"}}', config=CONFIGS
    )


@pytest.fixture(scope="module")
def study(photos, tmp_path_factory):
    """Every study of config/own-images.yaml on that folder, with few steps."""
    checkout = copy_checkout(tmp_path_factory.mktemp("own-images"))
    shutil.copy2(Path(__file__).with_name(CONFIGS[1]), checkout.folder)
    result = run(checkout, photos, "all")
    assert result.returncode == 0, result.stdout[-5000:]
    return checkout


def test_every_study_has_its_part_of_the_page(study):
    page = (study / "results-own/report.html").read_text()
    for part in ("claims", "distinguish", "text-to-image", "casd", "captions", "images"):
        assert f'id="{part}"' in page, part
    rows = pq.read_table(study / "results-own/metrics.parquet", columns=["study"])
    studies = set(rows["study"].to_pylist())
    assert {"transfer", "text-to-image", "distinguish", "casd", "mixing", "captions"} <= studies
    for name in CLASSES:
        if "'" not in name:
            assert name in page


def test_images_keep_colour_and_orientation(study):
    colours = list(CLASSES.values())
    seen = 0
    for split in ("train", "val", "test"):
        manifest = Manifest(study / f"results-own/images/real/{split}/rgb/manifest.parquet")
        assert manifest.classes == sorted(CLASSES)
        order = [CLASSES[name] for name in manifest.classes]
        pixels = manifest.images(range(len(manifest))).astype(float)
        for row, image in zip(manifest.table.to_pylist(), pixels, strict=True):
            name = json.loads(row["details"])["name"]
            # All are brighter at the top, the one that lies on its side in the file, too.
            assert image[:8].mean() > image[-8:].mean() + 12, name
            if "grey" in name or "sixteen" in name:
                assert np.ptp(image.mean((0, 1))) < 1
                continue
            off = np.abs(image.mean((0, 1)) - np.array(order[row["class_index"]], float))
            assert off.max() < 25, (name, off)
            seen += 1
    assert seen == len(colours) * (OF_EACH - 4)


def test_numbers_are_fitted_to_the_folder(study):
    index = pq.read_table(study / "results-own/real/index.parquet").to_pylist()
    counts = [sum(row["split"] == split for row in index) for split in ("train", "val", "test")]
    assert counts == [4 * 12, 4 * 3, 4 * 5]
    models = {path.name for path in (study / "results-own/models").iterdir() if path.is_dir()}
    # 600 synthetic images are asked for; there are 48.
    assert "casd-n8-pretrained-m48" in models


def test_captions_say_what_images_look_like(study):
    [path] = (study / "results-own/captions/real/train").glob("*.parquet")
    captions = {row["key"]: row["caption"] for row in pq.read_table(path).to_pylist()}
    table = pq.read_table(study / "results-own/images/real/train/rgb/00000.parquet")
    for row in table.to_pylist():
        name = json.loads(row["details"])["name"]
        if "red apple" in name and "grey" not in name and "sixteen" not in name:
            assert captions[row["key"]].startswith("mostly red")
            assert captions[row["key"]].endswith("lighter at the top")


def test_new_images_make_the_study_anew_and_nothing_else_does(study, photos):
    def planned():
        result = run(study, photos, "--dry-run", "--quiet", "rules", "all")
        assert result.returncode == 0, result.stdout
        return result.stdout

    assert "index_real" not in planned()
    more = photos / "night" / "one more.png"
    photo(CLASSES["night"], 99).save(more)
    assert "index_real" in planned()
    more.unlink()
    assert "index_real" not in planned()


LOAD = """
import json, sys
from datasets import load_dataset

dataset = load_dataset(sys.argv[1])
names = dataset["train"].features["cls"].names
first = dataset["test"][0]
print(json.dumps([names, {split: len(part) for split, part in dataset.items()}, first["txt"]]))
"""


def test_cards_make_no_image_again_and_load_by_the_folders_name(study, photos, tmp_path):
    told = f'real={{folder: "{photos}", license: cc0-1.0}}'
    planned = study.planned("cards", "--config", told, config=CONFIGS)
    assert planned.keys() <= {"write_dataset_card", "gather_shards", "cards"}
    # Beside sources lie the manifests of what was put together of them.
    folders = (study / "results-own/images").iterdir()
    sources = {path.name for path in folders if list(path.glob("*/rgb/*.tar"))}
    assert planned["write_dataset_card"] == len(sources)
    result = study.snakemake("--cores", "2", "cards", "--config", told, config=CONFIGS)
    assert result.returncode == 0, result.stdout
    for source in sources:
        text = (study / f"results-own/images/{source}/README.md").read_text()
        assert "license: cc0-1.0" in text or "Their licence: **cc0-1.0**" in text, source
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    folder = study / "results-own/images/plain-g3-classname"
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder)],
        env=os.environ | offline, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    names, counts, prompt = json.loads(done.stdout.splitlines()[-1])
    assert names == sorted(CLASSES)
    assert counts == {"train": 48, "validation": 12, "test": 20}
    assert prompt in CLASSES


def test_an_unreadable_image_is_named(photos, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    damaged = folder / "night" / "plain.jpg"
    damaged.write_bytes(random.Random(0).randbytes(500))
    target = "results-own/images/real/train/rgb/00000.tar"
    splits = [target.replace("train", split) for split in ("train", "val", "test")]
    checkout = copy_checkout(tmp_path)
    shutil.copy2(Path(__file__).with_name(CONFIGS[1]), checkout.folder)
    result = run(checkout, folder, "--keep-going", *splits)
    assert result.returncode != 0
    assert "1 of" in result.stdout
    assert "unreadable night/plain.jpg" in result.stdout


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ([], "no folder"),
        (["a.jpg"], "has no classes; it needs one folder a class"),
        ([f"{name}/cat/{i}.jpg" for name in ("train", "val") for i in range(12)],
         "are splits and not classes; name the one with the class folders, .*train say"),
    ],
)  # fmt: skip
def test_what_a_folder_lacks_is_said_in_one_line(paths, said, tmp_path):
    checkout = copy_checkout(tmp_path)
    folder = tmp_path / "photos"
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()  # counted, and not opened
    result = checkout.snakemake(
        "--dry-run", "--config", f"real={{folder: {folder}}}", config=CONFIGS[:1]
    )
    assert result.returncode != 0
    lines = [line for line in result.stdout.splitlines() if not line.startswith("Using")]
    assert len(lines) == 1, result.stdout
    assert re.search(said, lines[0]), lines[0]
