"""The command that measures captions and draws some of them."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import collect_metrics
import measure_captions
from synthgap.data.captions import CAPTION_SCHEMA
from synthgap.data.shards import Sample, ShardWriter, gather
from synthgap.errors import UserError
from synthgap.metrics.table import read, rows

SHADES = {f"{i % 3:04d}-{i:06d}": 20 + 10 * i for i in range(20)}


def write_shard(folder, number, keys):
    """Write a shard of plain images, the caption table of it, and return both paths."""
    tar = folder / "images" / f"{number:05d}.tar"
    tar.parent.mkdir(parents=True, exist_ok=True)
    described = []
    with ShardWriter(tar, "png") as shard:
        for key in keys:
            sample = Sample(key, int(key[:4]), f"class {int(key[:4])}")
            shard.add(sample, np.full((6, 6, 3), SHADES[key], np.uint8))
            refused = SHADES[key] % 50 == 0
            described.append(
                {
                    "key": key, "class_index": sample.class_index, "class_name": sample.class_name,
                    "caption": "" if refused else f"shade {SHADES[key]}, <b>",
                    "status": "refused" if refused else "ok", "text": "I'm sorry",
                    "captioner": "asked", "model": "answered", "prompt": "paper-a",
                    "finish": "stop", "input_tokens": 3, "output_tokens": 2, "cost_usd": 0.1,
                    "seconds": 0.5, "attempts": 1,
                }
            )  # fmt: skip
    captions = folder / "captions" / f"{number:05d}.parquet"
    captions.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(described, CAPTION_SCHEMA), captions)
    return captions, tar


def write_generated(folder, name, truncated):
    """Write the manifest of a source with such prompts; `truncated` by prompt."""
    (folder / name).mkdir(parents=True)
    with ShardWriter(folder / name / "00000.tar", "png") as shard:
        for i, (prompt, cut) in enumerate(truncated.items()):
            details = {"batch": 0} | ({"truncated": cut} if cut else {})
            sample = Sample(f"0000-{i:06d}", 0, "class 0", prompt, i, details)
            shard.add(sample, np.zeros((6, 6, 3), np.uint8))
    gather([folder / name / "00000.tar"], folder / name / "manifest.parquet")
    return folder / name / "manifest.parquet"


def measure(folder, shards, sources=(), samples=5, seed=0):
    """Run the command and return the rows of its metrics and of its sample."""
    captions, images = zip(*shards, strict=True)
    words = ["--captions", *captions, "--images", *images, "--samples", samples, "--seed", seed]
    if sources:
        words += ["--sources", *dict(sources), "--manifests", *dict(sources).values()]
    words += ["--metrics", folder / "metrics.parquet", "--sample", folder / "sample.parquet"]
    measure_captions.main(measure_captions.options().parse_args(list(map(str, words))))
    return rows(read(folder / "metrics.parquet")), pq.read_table(folder / "sample.parquet")


@pytest.fixture
def shards(tmp_path):
    keys = list(SHADES)
    return [write_shard(tmp_path, number, keys[number::2]) for number in range(2)]


def test_images_stand_with_their_own_captions(tmp_path, shards):
    _, sample = measure(tmp_path, shards, samples=20)
    sample = sample.to_pylist()
    assert {one["key"] for one in sample} == set(SHADES)
    for one in sample:
        shade = SHADES[one["key"]]
        assert np.asarray(Image.open(io.BytesIO(one["image"])))[0, 0, 0] == shade
        refused = shade % 50 == 0
        assert one["caption"] == ("" if refused else f"shade {shade}, <b>")
        assert one["status"] == ("refused" if refused else "ok")
        assert one["class_name"] == f"class {int(one['key'][:4])}"


def test_sample_is_of_the_seed_and_not_of_the_shards(tmp_path, shards):
    found, sample = measure(tmp_path, shards)
    keys = sample["key"].to_pylist()
    assert len(set(keys)) == 5
    other = [write_shard(tmp_path / "other", n, list(SHADES)[:1:-1][n::3]) for n in range(3)]
    other.append(write_shard(tmp_path / "other", 3, list(SHADES)[:2]))
    other_found, other_sample = measure(tmp_path, other)
    assert other_found == found
    assert other_sample.equals(sample)
    drawn = {tuple(measure(tmp_path, shards, seed=s)[1]["key"].to_pylist()) for s in range(4)}
    assert len(drawn) == 4
    assert tuple(keys) in drawn


def test_fewer_images_than_wanted_are_all_shown(tmp_path, shards):
    assert measure(tmp_path, shards, samples=50)[1].num_rows == 20


def test_metrics_say_what_they_are_of(tmp_path, shards):
    sources = {
        "a-caption": {"p": {}, "q": {"tokenizer": 4}, "r": {"tokenizer": 8}},
        "b-caption": {"p": {}},
    }
    sources = [(name, write_generated(tmp_path, name, cut)) for name, cut in sources.items()]
    found, _ = measure(tmp_path, shards, sources)
    assert {(row.study, row.view, row.train_source) for row in found} == {("captions", "rgb", None)}
    of_real = {row.metric: row for row in found if row.test_source == "real"}
    assert (of_real["share_refused"].value, of_real["share_refused"].n) == (4 / 20, 20)
    assert of_real["share_refused"].ci_low > 0
    assert of_real["words_mean"].n == 16
    assert of_real["cost_usd_total"].value == pytest.approx(2.0)
    assert of_real["distinct_words"].settings == {
        "captioner": "asked", "model": "answered", "prompt": "paper-a", "captions": 16,
    }  # fmt: skip
    cut = {
        (row.test_source, row.metric, row.settings["text_encoder"]): row.value
        for row in found
        if row.test_source != "real"
    }
    assert cut == {
        ("a-caption", "share_prompts_cut", "any"): 2 / 3,
        ("a-caption", "tokens_cut_mean", "any"): 6,
        ("a-caption", "share_prompts_cut", "tokenizer"): 2 / 3,
        ("a-caption", "tokens_cut_mean", "tokenizer"): 6,
        ("b-caption", "share_prompts_cut", "any"): 0,
    }


def test_collecting_takes_them(tmp_path, shards, monkeypatch):
    found, _ = measure(tmp_path, shards)
    monkeypatch.setattr(collect_metrics, "read_runs", lambda paths: {})
    words = ["--transfer", tmp_path, "--distinguish", tmp_path, "--seed", 0, "--probes", "{}"]
    words += ["--sources", json.dumps({}), "--metrics", tmp_path / "all.parquet"]
    words += ["--points", "[]", "--classes", tmp_path / "classes.parquet"]
    table = read(tmp_path / "metrics.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "spectra.parquet")
    words += ["--spectra", tmp_path / "spectra.parquet"]
    for captions, expected in ([tmp_path / "metrics.parquet"], found), ([], []):
        given = list(map(str, [*words, "--captions", *captions]))
        collect_metrics.main(collect_metrics.options().parse_args(given))
        assert rows(read(tmp_path / "all.parquet")) == expected


def test_tables_of_another_kind_are_refused(tmp_path, shards):
    (_, tar), _ = shards
    pq.write_table(pa.table({"key": ["0000-000000"]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match=r"other\.parquet has no column `class_index`"):
        measure(tmp_path, [(tmp_path / "other.parquet", tar)])


def test_captions_of_other_images_are_refused(tmp_path, shards):
    (captions, tar), (other, other_tar) = shards
    with pytest.raises(UserError, match=r"has no image 000\d-0000\d\d, which has a caption"):
        measure(tmp_path, [(captions, other_tar), (other, tar)])


def test_numbers_of_files_must_agree(tmp_path, shards):
    manifest = write_generated(tmp_path, "a", {"p": {}})
    words = ["--captions", shards[0][0], "--images", shards[0][1], shards[1][1]]
    words += ["--samples", 1, "--seed", 0, "--metrics", tmp_path / "m", "--sample", tmp_path / "s"]
    for more, said in (
        ([], "one shard of images a caption table"),
        (["--images", shards[0][1], "--manifests", manifest], "one manifest a source"),
        (["--images", shards[0][1], "--samples", 0], "--samples must be at least 1"),
    ):
        given = measure_captions.options().parse_args(list(map(str, words + more)))
        with pytest.raises(UserError, match=said):
            measure_captions.main(given)
