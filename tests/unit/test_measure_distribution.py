"""The commands measure_reference and measure_distribution on files of features."""

import json
import logging

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from prdc import compute_prdc

import measure_distribution
import measure_reference
from synthgap.data.features import write_features
from synthgap.errors import UserError

IDENTITY = {"family": "inception", "name": "inception-v3"}
NAMES = {0: "owl", 1: "cat"}


def features(path, n=60, shift=0.0, seed=0, identity=IDENTITY, values=None):
    if values is None:
        values = np.random.default_rng(seed).normal(shift, 1, size=(n, 8)).astype(np.float32)
    keys = [f"{path.stem}-{number}" for number in range(len(values))]
    classes = [(number % 2, NAMES[number % 2]) for number in range(len(values))]
    write_features(path, keys, classes, keys, values, identity)
    return path


@pytest.fixture
def files(tmp_path):
    real = features(tmp_path / "real.parquet")
    return real, features(tmp_path / "fake.parquet", shift=0.3, seed=1)


def measure(real, fake, *more, output=None):
    output = output or real.parent / "metrics.json"
    words = ["--real", real, "--generated", fake, "--gpus", 0, "--output", output, *more]
    args = measure_distribution.options().parse_args([str(word) for word in words])
    measure_distribution.main(args)
    return json.loads(output.read_text())


def test_the_documented_command_on_anybodys_features(tmp_path):
    rng = np.random.default_rng(0)
    sides = [rng.normal(size=(80, 12)), rng.normal(0.2, 1, size=(70, 12))]
    for name, values in zip("AB", sides, strict=True):
        lists = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 12)
        keys = [str(number) for number in range(len(values))]
        pq.write_table(pa.table({"key": keys, "features": lists}), tmp_path / f"{name}.parquet")
    found = measure(
        tmp_path / "A.parquet", tmp_path / "B.parquet", "--k", 5, "--distance", "euclidean"
    )
    expected = compute_prdc(*sides, nearest_k=5)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    density = found["measures"][0]
    assert density["metric"] == "density_k5_euclidean"
    assert density["low"] < density["value"] < density["high"]
    assert density["settings"] == {"real_images": 80, "generated_images": 70}


def test_where_each_image_lies_is_told_image_by_image(tmp_path):
    items = tmp_path / "items.parquet"
    files = features(tmp_path / "real.parquet"), features(tmp_path / "fake.parquet", shift=1.5)
    found = measure(*files, "--items", items)
    rows = pq.read_table(items).to_pylist()
    real, generated = ([row for row in rows if row["real"] is side] for side in (True, False))
    assert [row["key"] for row in real] == [f"real-{n}" for n in range(60)]
    assert [row["key"] for row in generated] == [f"fake-{n}" for n in range(60)]
    assert np.mean([row["covered"] for row in real]) == pytest.approx(found["coverage"])
    assert np.mean([row["balls"] for row in generated]) / 5 == pytest.approx(found["density"])
    assert 0 < found["coverage"] < 1

    measure(*files, "--items", items, "--metrics", "kernel")
    assert pq.read_table(items).num_rows == 0


def test_all_families_with_the_real_side_computed_before(files, tmp_path):
    chosen = ["--metrics", "prdc", "frechet", "kernel", "vendi", "--k", "3", "--samples", "50"]
    reference = tmp_path / "reference.safetensors"
    words = ["--real", str(files[0]), "--gpus", "0", "--reference", str(reference), *chosen]
    measure_reference.main(measure_reference.options().parse_args(words))
    alone = measure(*files, *chosen, "--few")
    found = measure(*files, *chosen, "--few", "--reference", reference)
    assert found["measures"] == alone["measures"]
    assert {"fid", "kid", "density", "vendi_within_class"} < found.keys()
    metrics = {(m["metric"], m["settings"].get("class")) for m in found["measures"]}
    assert {("fid_n50", None), ("kid_all_pairs", None)} < metrics
    assert {
        ("coverage_of_class_k3_euclidean", "owl"),
        ("vendi_of_class_cosine_n25", "cat"),
    } < metrics

    with pytest.raises(UserError, match="safetensors is of k=3; make it anew"):
        measure(*files, *chosen[:-4], "--samples", 50, "--few", "--reference", reference)
    with pytest.raises(UserError, match="is of other real features"):
        measure(files[1], files[0], *chosen, "--few", "--reference", reference)
    words[words.index("--metrics") : words.index("--k")] = ["--metrics", "prdc"]
    measure_reference.main(measure_reference.options().parse_args(words))
    with pytest.raises(UserError, match="has nothing for frechet, kernel; make it anew"):
        measure(*files, *chosen, "--few", "--reference", reference)


def test_the_control_takes_what_there_is(files):
    with pytest.raises(UserError, match="60 images, and 70 are asked for"):
        measure(*files, "--samples", 70)
    few = features(files[0].parent / "few.parquet", n=30, seed=3)
    found = measure(files[0], few, "--samples", 60, "--at-most")
    assert found["measures"][0]["settings"]["generated_images"] == 30


def test_the_same_images_on_both_sides_are_warned_of(files, caplog):
    with caplog.at_level(logging.WARNING):
        measure(files[0], features(files[0].parent / "again.parquet"))
    assert "60 of 60 generated images have the features of a real one" in caplog.text


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        ({"n": 4}, [], "k=5 needs at least 6 generated rows, got 4"),
        ({"values": np.ones((30, 5), np.float32)}, [], "8 columns and generated 5"),
        ({"identity": {"family": "clip"}}, [], "different encoders: they differ in family, name"),
        ({"values": np.zeros((30, 8), np.float32)}, ["--distance", "cosine"], "row 0 is zero"),
        ({}, ["--metrics", "frechet"], "fid: 60 images are fewer than the 50000"),
        ({"n": 12}, ["--metrics", "kernel"], "20 generated rows are needed"),
        ({"n": 12}, ["--metrics", "frechet", "--few"], "20 generated rows are needed"),
        ({"n": 30}, ["--metrics", "vendi"], "15 images of owl; 20 a class are needed"),
    ],
)
def test_bad_input_is_told_in_one_line(files, change, more, message):
    fake = features(files[0].parent / "other.parquet", **change)
    with pytest.raises(UserError, match=message):
        measure(files[0], fake, *more)


def test_infinite_features_are_told_by_key(files, tmp_path):
    table = pq.read_table(files[1])
    values = np.stack(table["features"].to_pylist()).astype(np.float32)
    values[[7, 9]] = np.nan
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 8)
    pq.write_table(pa.table({"key": table["key"], "features": lists}), tmp_path / "nan.parquet")
    with pytest.raises(UserError, match=r"nan\.parquet.*2 images, the first fake-7, fake-9"):
        measure(files[0], tmp_path / "nan.parquet")


def test_real_images_of_some_classes_are_compared_with(files, tmp_path):
    real, fake = files
    some = pq.read_table(real)
    some = some.filter(pc.equal(some["class_index"], 1))
    pq.write_table(some, alone := tmp_path / "alone.parquet")
    few = ["--metrics", "prdc", "frechet", "--few", "--samples", 30]
    expected = measure(alone, fake, *few)
    found = measure(real, fake, *few, "--classes", 1)
    assert found["measures"] == expected["measures"]

    reference = tmp_path / "reference.safetensors"
    words = ["--real", real, "--metrics", "prdc", "frechet", "--samples", 30, "--classes", 1]
    words += ["--gpus", 0, "--reference", reference]
    measure_reference.main(measure_reference.options().parse_args(list(map(str, words))))
    assert (
        measure(real, fake, *few, "--classes", 1, "--reference", reference)["measures"]
        == (expected["measures"])
    )
    both = measure(real, fake, "--classes", 1, "--of-both", "--few", "--at-most", "--samples", 30)
    assert both["measures"][0]["settings"] == {"real_images": 30, "generated_images": 30}
    with pytest.raises(UserError, match=r"no features of images of the classes \[7\]"):
        measure(real, fake, "--classes", 7)
