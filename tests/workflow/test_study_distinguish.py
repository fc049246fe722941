"""Study C on the real Snakefile: comparisons, controls, axes, people, and what reruns."""

import csv
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from synthgap.data.shards import Manifest

SOURCE = "flow-g2-caption"


@pytest.fixture(scope="module")
def rows(finished):
    table = pq.read_table(finished / "results/metrics.parquet").to_pylist()
    return [row | {"settings": json.loads(row["settings"])} for row in table]


def test_each_comparison_has_its_numbers_by_each_classifier(rows):
    found = {
        (row["settings"]["comparison"], row["architecture"], row["settings"]["axis"], row["view"])
        for row in rows
        if (row["study"], row["metric"], row["seed"]) == ("distinguish", "top1_accuracy", None)
    }
    expected = set()
    for comparison in (f"real+{SOURCE}", "real+real"):
        for name in ("resnet", "linear-classifier", "headers", "metadata"):
            expected.add((comparison, name, "main", "rgb"))
        expected |= {(comparison, "resnet", "views", view) for view in ("rgb", "low")}
        expected.add((comparison, "resnet", "samples", "rgb"))
    assert found == expected
    sizes = {
        row["settings"]["train_images"] for row in rows if row["settings"].get("axis") == "samples"
    }
    assert sizes == {2 * 10 * 1, 2 * 10 * 2}


def test_accuracies_follow_from_the_predictions(finished, rows):
    checked = 0
    for row in rows:
        if (row["study"], row["metric"]) != ("distinguish", "top1_accuracy") or row["seed"] is None:
            continue
        name = row["settings"]["comparison"]
        if row["settings"]["train_images"] == 20:
            name += "~1"
        where = f"{name}/{row['view']}/{row['architecture']}/seed-{row['seed']}.parquet"
        table = pq.read_table(finished / "results/predictions" / where)
        assert row["value"] == table["correct"].to_numpy().mean()
        assert row["n"] == len(table)
        checked += 1
    assert checked == 16


def test_sides_share_no_image_and_splits_no_source_image(finished):
    captioned, real = {}, {}
    for split in ("train", "val", "test"):
        path = f"results/images/real+{SOURCE}/{split}/rgb/manifest.parquet"
        table = pq.read_table(finished / path).to_pylist()
        assert np.bincount([row["class_index"] for row in table]).tolist() == [len(table) // 2] * 2
        real[split] = {row["key"][2:] for row in table if row["class_index"] == 0}
        captioned[split] = {
            json.loads(row["details"])["captioned"] for row in table if row["class_index"] == 1
        }
    for split, others in (("train", "val test"), ("val", "train test"), ("test", "train val")):
        for other in others.split():
            assert not (real[split] | captioned[split]) & (real[other] | captioned[other])
    halves = pq.read_table(finished / "results/images/real+real/train/rgb/manifest.parquet")
    keys = [row["key"][2:] for row in halves.to_pylist()]
    assert len(set(keys)) == len(keys) == 40


def test_files_of_a_study_are_alike(rows):
    found = [row for row in rows if row["metric"] == "file_mismatch"]
    assert len(found) == 2
    assert [row["value"] for row in found] == [0, 0]
    assert not any(row["settings"]["leak"] for row in found)


def test_the_page_tells_of_it(finished):
    page = (finished / "results/report.html").read_text()
    assert 'id="distinguish"' in page
    assert "real against itself (control)" in page
    assert "Where the classifier looks" in page
    assert f"no CSV file lies in <code>data/answers/real+{SOURCE}</code>" in page
    assert (finished / f"results/people/real+{SOURCE}.html").exists()


def test_another_size_trains_that_alone(checkout):
    checkout.edit("tiny.yaml", "images_per_class: {train: 2,", "images_per_class: {train: 3,")
    assert "is more than the 2 of synthetic.samples_per_class" in checkout.snakemake("-n").stdout
    checkout.edit("tiny.yaml", "images_per_class: {train: 3,", "images_per_class: {train: 2,")
    checkout.edit("tiny.yaml", "samples: [1], views", "views")
    plan = checkout.planned()
    assert not plan.keys() & {"train_classifier", "compare_sources", "generate_images"}
    assert plan["collect_metrics"] == 1


def test_what_people_answered_joins_the_numbers(checkout):
    key = json.loads((checkout / f"results/people/real+{SOURCE}.key.json").read_text())
    folder = checkout / f"data/answers/real+{SOURCE}"
    folder.mkdir(parents=True)
    columns = ["quiz", "participant", "pair", "left", "right", "chosen", "correct", "seconds"]
    with (folder / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for number, pair in enumerate(key["pairs"]):
            told = {"quiz": key["id"], "participant": "a", "pair": pair.get("pair", number + 1)}
            told |= {side: pair[side] for side in ("left", "right")}
            writer.writerow(told | {"chosen": "left", "correct": 1, "seconds": 2.5})
    plan = checkout.planned()
    assert plan["measure_people"] == plan["collect_metrics"] == plan["write_report"] == 1
    assert not plan.keys() & {"write_quiz", "train_classifier"}
    done = checkout.snakemake("--cores", "1", f"results/people/real+{SOURCE}.json")
    assert done.returncode == 0, done.stdout[-2000:]
    found = json.loads((checkout / f"results/people/real+{SOURCE}.json").read_text())
    assert 0 <= found["accuracy"] <= 1
    assert found["about"]["architecture"] == "people"


@pytest.mark.long
def test_images_of_a_generator_that_is_not_run_here_are_a_source(checkout):
    rng = np.random.default_rng(0)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    for name in names:
        (checkout / f"data/gan/{name}").mkdir(parents=True)
        for number in range(5):
            pixels = rng.integers(0, 256, (40, 30, 3), np.uint8)
            Image.fromarray(pixels).save(checkout / f"data/gan/{name}/{number}.jpg")
    checkout.edit("tiny.yaml", "synthetic:", "image_sets: {gan: {folder: data/gan}}\nsynthetic:")
    checkout.edit("tiny.yaml", "probes: [classifier]", "comparisons: [[real, gan]]")
    plan = checkout.planned("distinguish")
    assert plan["prepare_images"] == 4  # two training shards
    assert "generate_images" not in plan
    path = "results/images/real+gan/test/rgb/manifest.parquet"
    done = checkout.snakemake("--cores", "2", path)
    assert done.returncode == 0, done.stdout[-3000:]
    found = Manifest(checkout / path)
    assert found.classes == ["real", "gan"]
    assert found.images().shape == (20, 32, 32, 3)  # in the real images' size
    assert len({row["shard"].rpartition(".")[2] for row in found.table.to_pylist()}) == 1
    assert Manifest(checkout / "results/images/gan/test/rgb/manifest.parquet").classes == names
    (checkout / "data/gan/nine/0.jpg").unlink()
    (checkout / "data/gan/nine/1.jpg").unlink()
    again = checkout.snakemake(path, "--cores", "1", "--forcerun", "index_images")
    asks = "synthetic.samples_per_class, of image_sets.gan, asks for 4"
    assert f"class nine has 3 images, and {asks}" in again.stdout
    shutil.rmtree(checkout / "data/gan/nine")
    again = checkout.snakemake(path, "--cores", "1", "--forcerun", "index_images")
    said = "image_sets.gan.folder: the real images have the class nine, and image_sets.gan not"
    assert said in again.stdout
