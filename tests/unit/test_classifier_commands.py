"""The three commands by themselves: files in, files out, killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import evaluate_classifier
import train_classifier
from synthgap.classifiers.evaluation import load, predict
from synthgap.data.shards import Manifest, Sample, ShardWriter, gather
from synthgap.errors import UserError

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
ARCHITECTURE = {
    "family": "bagnet",
    "receptive_field": 9,
    "options": {"layers": [1, 1], "strides": [2, 2], "kernel3": [1, 1], "width": 4},
}
RECIPE = {
    "epochs": 100,  # long enough to be killed in the middle
    "batch_size": 16,
    "optimizer": "adamw",
    "learning_rate": 0.01,
    "shift": 1,
    "cutmix": True,
}


def make_manifest(folder: Path, n: int, seed: int, classes: tuple[str, ...]) -> Path:
    """Write a shard of images whose brightest channel tells their class, and its manifest."""
    rng = np.random.default_rng(seed)
    with ShardWriter(folder / "00000.tar", "png") as writer:
        for index in range(n):
            label = index % len(classes)
            image = rng.integers(0, 120, (16, 16, 3))
            image[..., label] += 100
            sample = Sample(f"{folder.name}-{index:03d}", label, classes[label])
            writer.add(sample, image.astype(np.uint8))
    gather([folder / "00000.tar"], folder / "manifest.parquet")
    return folder / "manifest.parquet"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    colours = ("blue", "green")
    return {
        "train": make_manifest(folder / "train", 48, 1, colours),
        "val": make_manifest(folder / "val", 16, 2, colours),
        "test": make_manifest(folder / "test", 21, 3, colours),
        "other": make_manifest(folder / "other", 8, 4, ("blue", "grey")),
    }


def command(name: str, **options: object) -> list[str]:
    words = [sys.executable, str(SCRIPTS / f"{name}.py")]
    for option, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            words += [f"--{option.replace('_', '-')}", str(each)]
    return words


def train_command(data: dict[str, Path], out: Path, **more: object) -> list[str]:
    options = {
        "train": data["train"],
        "val": data["val"],
        "architecture": json.dumps(ARCHITECTURE),
        "recipe": json.dumps(RECIPE),
        "seed": 0,
        "threads": 1,
        "checkpoint_seconds": 0,
        "scratch": out / "scratch",
        "model": out / "model.safetensors",
        "history": out / "history.json",
    }
    return command("train_classifier", **(options | more))


def succeed(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def trained(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    succeed(train_command(data, out))
    return out


def test_training_writes_model_and_history_and_removes_its_scratch(trained: Path):
    _, spec, classes = load(trained / "model.safetensors")
    assert (spec, classes) == (ARCHITECTURE, ["blue", "green"])
    history = json.loads((trained / "history.json").read_text())
    assert [len(history[key]) for key in ("train_loss", "val_loss", "val_top1")] == [100] * 3
    assert history["val_loss"][history["best_epoch"]] == min(history["val_loss"])
    assert sorted(p.name for p in trained.iterdir()) == ["history.json", "model.safetensors"]


def test_a_killed_training_ends_in_the_same_bytes(data, trained, tmp_path):
    words = train_command(data, tmp_path)
    scratch = tmp_path / "scratch"
    started = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(scratch.glob("*/checkpoint.pt")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(started.pid, signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL, "the training ended before it was killed"
    assert any(scratch.glob("*/checkpoint.pt"))
    assert not (tmp_path / "model.safetensors").exists()

    done = subprocess.run(words, capture_output=True, text=True)
    assert "going on after" in done.stderr
    for name in ("model.safetensors", "history.json"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes(), name
    assert not scratch.exists()


def in_place(module, words: list[str], out: Path) -> pa.Table:
    """Run a command once more in this process, with another output file."""
    module.main(module.options().parse_args([*words[2:-1], str(out)]))
    return pq.read_table(out)


def test_evaluation_writes_a_row_for_each_image_in_order(data, trained, tmp_path, monkeypatch):
    out = tmp_path / "predictions.parquet"
    tests = [f"second={data['test']}", f"first={data['val']}"]
    model_path = trained / "model.safetensors"
    words = command("evaluate_classifier", model=model_path, test=tests, threads=1, predictions=out)
    succeed(words)
    table = pq.read_table(out)
    assert table["test_source"].to_pylist() == ["second"] * 21 + ["first"] * 16

    model, _, _ = load(model_path)
    manifests = [Manifest(data["test"]), Manifest(data["val"])]
    keys = [key for manifest in manifests for key in manifest.table["key"].to_pylist()]
    assert table["key"].to_pylist() == keys
    shown = np.concatenate([manifest.class_indices for manifest in manifests])
    expected = np.concatenate([predict(model, manifest.images(), 8) for manifest in manifests])
    assert table["class_index"].to_pylist() == shown.tolist()
    assert table["predicted"].to_pylist() == expected.argmax(1).tolist()
    assert table["correct"].to_pylist() == (expected.argmax(1) == shown).tolist()
    np.testing.assert_allclose(
        table["probability_of_class"].to_numpy(), expected[np.arange(37), shown], atol=1e-6
    )

    in_place(evaluate_classifier, words, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == out.read_bytes()
    monkeypatch.setattr(evaluate_classifier, "BATCH", 8)
    parts = in_place(evaluate_classifier, words, tmp_path / "parts.parquet")
    exact = ["test_source", "key", "class_index", "predicted", "correct"]
    assert parts.select(exact) == table.select(exact)
    probabilities = [t["probability_of_class"].to_numpy() for t in (parts, table)]
    np.testing.assert_allclose(*probabilities, atol=1e-6)


def test_a_mistake_is_told_in_one_line(data, trained, tmp_path):
    words = command(
        "evaluate_classifier",
        model=trained / "model.safetensors",
        test=f"other={data['other']}",
        threads=1,
        predictions=tmp_path / "p.parquet",
    )
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert "names and order must be the same" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "p.parquet").exists()


def test_training_and_validation_images_must_have_the_same_classes(data, tmp_path):
    words = train_command(data, tmp_path, val=data["other"])
    with pytest.raises(UserError, match="have different classes"):
        train_classifier.main(train_classifier.options().parse_args(words[2:]))


def test_a_test_needs_a_name_of_its_own(data, trained):
    with pytest.raises(UserError, match="give NAME=MANIFEST"):
        evaluate_classifier.test_option(str(data["test"]))
    test = f"real={data['test']}"
    words = command(
        "evaluate_classifier",
        model=trained / "model.safetensors",
        test=[test, test],
        threads=1,
        predictions=trained / "p.parquet",
    )
    with pytest.raises(UserError, match="a name is given twice"):
        evaluate_classifier.main(evaluate_classifier.options().parse_args(words[2:]))
