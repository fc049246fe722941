"""The command that scores images with their prompts."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import measure_alignment
import tiny_scorers
from synthgap.data.shards import Sample, ShardWriter
from synthgap.errors import UserError
from synthgap.metrics.measures import read_measures
from synthgap.scorers import base, clip, make_scorer, scoring

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (11, 36, 40, 3), dtype=np.uint8)
PROMPTS = [f"a red cat number {i} " + "on a mat " * (i % 3) for i in range(10)] + ["a " * 90]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_scorers.build_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def expected(model):
    return make_scorer({"kind": "clipscore"}, models={"clip": model}).score(IMAGES, PROMPTS)


@pytest.fixture
def shards(tmp_path):
    """Two shards, one of which has a sample that failed."""
    tars = []
    for number, part in enumerate((range(6), range(6, 11))):
        with ShardWriter(tmp_path / f"{number:05d}.tar", "png") as shard:
            for i in part:
                shard.add(Sample(f"0000-{i:06d}", 0, "cat", PROMPTS[i]), IMAGES[i])
            shard.add_failed(Sample(f"0001-{number:06d}", 1, "dog", "a dog"), "black")
        tars.append(tmp_path / f"{number:05d}.tar")
    return tars


@pytest.fixture
def folder(tmp_path):
    """A folder with images in a folder of its own."""
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    for i in range(4):
        Image.fromarray(IMAGES[i]).save(tmp_path / "photos" / "cats" / f"{i}.png")
    return tmp_path / "photos"


def measure(output, images, *more, scorer="clipscore", model=None):
    words = ["--images", *map(str, images), "--scorer", scorer, "--output", str(output)]
    words += ["--model", f"clip={model}"] if model else []
    words += ["--gpus", "0", "--threads", "1", "--batch-size", "4", *map(str, more)]
    measure_alignment.main(measure_alignment.options().parse_args(words))
    return read_measures(output)


@pytest.fixture(autouse=True)
def _named_as_the_command(monkeypatch):
    monkeypatch.setattr("sys.argv", ["measure_alignment.py"])


def test_shards_are_scored_with_their_own_prompts(shards, model, expected, tmp_path):
    output, table = tmp_path / "metrics.json", tmp_path / "scores.parquet"
    about = json.dumps({"study": "text-to-image"})
    [found], told = measure(output, shards, "--scores", table, "--about", about, model=model)
    assert told == {"study": "text-to-image"}
    assert found.metric == "clipscore_hessel_vit_w32_p8"
    assert found.value == pytest.approx(expected.mean(), abs=1e-6)
    assert found.low < found.value < found.high
    assert found.n == 11
    assert found.settings["prompts_cut"] == 1
    assert found.settings["scorer"]["prefix"] == "A photo depicts "
    assert json.loads(output.read_text())["clipscore"] == found.value
    rows = pq.read_table(table).to_pylist()
    assert [row["key"] for row in rows] == [f"0000-{i:06d}" for i in range(11)]
    assert [row["prompt"] for row in rows] == PROMPTS
    np.testing.assert_allclose([row["score"] for row in rows], expected, atol=1e-6)
    [first], _ = measure(tmp_path / "first.json", shards, "--samples", "7", model=model)
    assert first.n == 7
    assert first.value == pytest.approx(expected[:7].mean(), abs=1e-6)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_folders_are_scored_with_a_table_of_prompts(folder, model, expected, tmp_path, kind):
    rows = [{"file": f"cats/{i}.png", "prompt": PROMPTS[i]} for i in (2, 0, 1, 3)]
    table = tmp_path / f"prompts.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), table)
    elif kind == "csv":
        table.write_text("file,prompt\n" + "".join(f'{r["file"]},"{r["prompt"]}"\n' for r in rows))
    else:
        rows = [{"key": str(i), "prompt": PROMPTS[i]} for i in (2, 0, 1, 3)]
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = tmp_path / "scores.parquet"
    more = ("--prompts", table, "--scores", scores)
    [found], _ = measure(tmp_path / "m.json", [folder], *more, model=model)
    assert found.value == pytest.approx(expected[:4].mean(), abs=1e-6)
    keys = [row["key"] for row in pq.read_table(scores).to_pylist()]
    assert keys == [f"cats/{i}.png" for i in (2, 0, 1, 3)]  # the table's order


def test_shards_may_have_other_prompts(shards, model, tmp_path):
    table = tmp_path / "prompts.jsonl"
    rows = [{"key": f"0000-{i:06d}", "prompt": "a dog"} for i in range(11)]
    table.write_text("\n".join(map(json.dumps, rows)))
    [found], _ = measure(tmp_path / "m.json", shards, "--prompts", table, model=model)
    scorer = make_scorer({"kind": "clipscore"}, models={"clip": model})
    assert found.value == pytest.approx(scorer.score(IMAGES, ["a dog"] * 11).mean(), abs=1e-6)
    table.write_text(json.dumps(rows[0]))
    with pytest.raises(UserError, match="the image 0000-000001 has no prompt"):
        measure(tmp_path / "m.json", shards, "--prompts", table, model=model)


def test_a_scorer_without_prompts_needs_none(folder, model, tmp_path):
    head = tiny_scorers.build_head(tmp_path / "head.pth")
    output = tmp_path / "m.json"
    words = ("--model", f"head={head}", f"clip={model}")
    [found], _ = measure(output, [folder], *words, scorer="laion-aesthetic")
    assert (found.name, found.n, found.settings["prompts_cut"]) == ("laion_aesthetic", 4, 0)


def test_killed_and_started_again_it_ends_in_the_same(shards, model, tmp_path, monkeypatch):
    calls = []
    score = base.TorchScorer.score

    def counted(self, images, prompts):
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(self, images, prompts)

    monkeypatch.setattr(base.TorchScorer, "score", counted)
    output, undisturbed = tmp_path / "metrics.json", tmp_path / "undisturbed.json"
    scores = ("--scores", tmp_path / "scores.parquet")
    with pytest.raises(KeyboardInterrupt):
        measure(output, shards, *scores, model=model)
    assert calls == [4, 4, 3]
    assert not output.exists()
    [journal] = tmp_path.glob(".metrics.json.scratch/*/scores.jsonl")
    # As a disk that loses bits and a power cut leave it.
    first, second = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(first + second.replace(b"1", b"2") + first[:20])
    resumed = measure(output, shards, *scores, model=model)
    assert calls == [4, 4, 3, 4, 3]
    assert pq.read_table(tmp_path / "scores.parquet").num_rows == 11
    assert resumed == measure(undisturbed, shards, model=model)


def test_batches_that_do_not_fit_are_halved(shards, model, expected, tmp_path, monkeypatch):
    tried = []
    score = clip.ClipScorer._score

    def too_large(self, images, prompts):
        tried.append(len(images))
        scores = score(self, images, prompts)  # cut prompts are counted by then
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return scores

    monkeypatch.setattr(clip.ClipScorer, "_score", too_large)
    [found], _ = measure(tmp_path / "m.json", shards, model=model)
    assert tried == [4, 2, 2, 2, 2, 2, 1]
    assert found.value == pytest.approx(expected.mean(), abs=1e-6)
    assert found.settings["prompts_cut"] == 1
    monkeypatch.setattr(scoring, "is_too_large", lambda error: False)
    with pytest.raises(torch.OutOfMemoryError):
        measure(tmp_path / "other.json", shards, model=model)


def test_an_image_that_does_not_fit_alone_is_told(shards, model, tmp_path, monkeypatch):
    def never(self, images, prompts):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(clip.ClipScorer, "_score", never)
    with pytest.raises(UserError, match="not even one image fits"):
        measure(tmp_path / "m.json", shards, model=model)


def test_scores_that_are_no_numbers_are_told(shards, model, tmp_path, monkeypatch):
    def broken(self, images, prompts):
        return torch.tensor([float("nan") if "number 5" in p else 1.0 for p in prompts])

    monkeypatch.setattr(clip.ClipScorer, "_score", broken)
    with pytest.raises(UserError, match="clipscore_hessel_vit_w32_p8 of 0000-000005 is nan"):
        measure(tmp_path / "m.json", shards, model=model)


def test_what_is_missing_is_told(shards, folder, model, tmp_path):
    output, table = tmp_path / "m.json", tmp_path / "prompts.jsonl"

    def refused(match, images, *more, **named):
        with pytest.raises(UserError, match=match):
            measure(output, images, *more, **{"model": model} | named)
        assert not output.exists()

    refused("images of a folder need --prompts", [folder])
    refused("one folder of images, or any number of shards", [folder, shards[0]])
    refused("11 images, and 12 are needed", shards, "--samples", "12")
    refused("--samples must be at least 1", shards, "--samples", "0")
    refused("--batch-size must be at least 1: 0", shards, "--batch-size", "0")
    refused("no such file or folder: nowhere", shards, model="nowhere")
    refused("needs the model `clip`", shards, model=None)
    refused("write ROLE=PATH", shards, "--model", "folder")
    rows = [{"file": f"{i}.png", "prompt": "a cat"} for i in range(5)]
    for content, match in (
        (rows[:3], r"the image cats/3\.png has no prompt"),
        (rows, r"no image 4\.png, which has a prompt"),
        ([*rows[:3], rows[3] | {"prompt": ""}], r"cats/3\.png has an empty prompt"),
        ([*rows[:4], rows[0]], r"two prompts for 0\.png"),
        ([{"name": "a", "prompt": "b"}], "each row needs `prompt`, and `file` or `key`"),
        ([], "no prompts"),
    ):
        table.write_text("\n".join(map(json.dumps, content)))
        refused(match, [folder], "--prompts", table)
    (folder / "dogs").mkdir()
    Image.fromarray(IMAGES[0]).save(folder / "dogs" / "0.png")
    table.write_text("\n".join(map(json.dumps, rows[:4])))
    refused(r"cats/0\.png and dogs/0\.png both go by `0\.png`", [folder], "--prompts", table)
    (folder / "dogs" / "0.png").unlink()
    table.write_text("{")
    refused("no table of prompts", [folder], "--prompts", table)
    refused(r"come as \.parquet, \.csv or \.jsonl", [folder], "--prompts", shards[0])
    (folder / "cats" / "3.png").write_bytes(b"no image")
    table.write_text("\n".join(map(json.dumps, rows[:4])))
    refused(r"cats/3\.png is no image", [folder], "--prompts", table)
    (tmp_path / "empty").mkdir()
    refused("no images", [tmp_path / "empty"], "--prompts", table)
    with ShardWriter(tmp_path / "bare.tar", "png") as shard:
        shard.add(Sample("0000-000000", 0, "cat"), IMAGES[0])
    refused("0000-000000 has an empty prompt", [tmp_path / "bare.tar"])


def test_names_and_json_name_scorers(shards, model, tmp_path):
    spec = json.dumps({"kind": "clipscore", "variant": "torchmetrics"})
    [found], _ = measure(tmp_path / "m.json", shards, scorer=spec, model=model)
    assert found.metric == "clipscore_torchmetrics_vit_w32_p8"
    with pytest.raises(UserError, match="unknown scorer kind `clipscor`; did you mean `clipscore`"):
        measure(tmp_path / "m.json", shards, scorer="clipscor", model=model)
    with pytest.raises(UserError, match="set trust_remote_code: true"):
        measure(tmp_path / "m.json", shards, scorer="jina-clip", model=model)
