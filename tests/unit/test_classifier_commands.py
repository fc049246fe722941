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
import torch
import torch.nn.functional as F

import evaluate_classifier
import train_classifier
from synthgap.classifiers.evaluation import About, load, predict
from synthgap.data.decoded import resize
from synthgap.data.shards import Manifest, Sample, ShardWriter, gather, write_manifest
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
        "last": out / "last.safetensors",
        "history": out / "history.parquet",
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


def test_the_middle_is_validated_on_and_tested_alike(data, tmp_path):
    recipe = RECIPE | {"epochs": 1, "warmup_epochs": 0, "input_size": 12, "test_share": 0.5}
    succeed(train_command(data, tmp_path, recipe=json.dumps(recipe)))
    model, about = load(tmp_path / "model.safetensors")
    manifest = Manifest(data["val"])
    seen = about.fit(manifest.images())
    middle = np.stack([resize(image, 12) for image in manifest.images()[:, 4:12, 4:12]])
    np.testing.assert_array_equal(seen, middle)
    found = F.cross_entropy(
        torch.from_numpy(predict(model, seen, 16)), torch.from_numpy(manifest.class_indices)
    )
    (loss,) = pq.read_table(tmp_path / "history.parquet")["val_loss"].to_pylist()
    assert float(found) == pytest.approx(loss, rel=1e-4)


def test_training_writes_models_and_history_and_removes_its_scratch(data, trained: Path):
    about = About(ARCHITECTURE, ["blue", "green"], train_images=48)
    best, told = load(trained / "model.safetensors")
    last, told_of_last = load(trained / "last.safetensors")
    assert told == told_of_last == about
    history = pq.read_table(trained / "history.parquet")
    assert history["epoch"].to_pylist() == list(range(100))
    losses = history["val_loss"].to_pylist()
    best_epoch = int(history.schema.metadata[b"best_epoch"])
    assert losses[best_epoch] == min(losses)
    images, labels = Manifest(data["val"]).images(), Manifest(data["val"]).class_indices
    for model, epoch in ((best, best_epoch), (last, 99)):
        found = F.cross_entropy(
            torch.from_numpy(predict(model, images, 16)), torch.from_numpy(labels)
        )
        assert float(found) == pytest.approx(losses[epoch], rel=1e-4)
    names = ["history.parquet", "last.safetensors", "model.safetensors"]
    noted = [f".{name}.sha256" for name in names]
    assert sorted(p.name for p in trained.iterdir()) == sorted([*names, *noted])


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
    for name in ("model.safetensors", "last.safetensors", "history.parquet"):
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

    model, _ = load(model_path)
    manifests = [Manifest(data["test"]), Manifest(data["val"])]
    keys = [key for manifest in manifests for key in manifest.table["key"].to_pylist()]
    assert table["key"].to_pylist() == keys
    shown = np.concatenate([manifest.class_indices for manifest in manifests])
    expected = np.concatenate([predict(model, manifest.images(), 8) for manifest in manifests])
    assert table["class_index"].to_pylist() == shown.tolist()
    assert table["predicted"].to_pylist() == expected.argmax(1).tolist()
    assert table["correct"].to_pylist() == (expected.argmax(1) == shown).tolist()
    probabilities = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    np.testing.assert_allclose(
        table["probability_of_class"].to_numpy(), probabilities[np.arange(37), shown], atol=1e-6
    )
    top = np.asarray(table["top_classes"].to_pylist())
    assert top[:, 0].tolist() == table["predicted"].to_pylist()
    logits = np.asarray(table["top_logits"].to_pylist())
    np.testing.assert_allclose(logits, np.take_along_axis(expected, top, 1), atol=1e-5)
    assert (np.diff(logits, axis=1) <= 0).all()
    facts = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert json.loads(facts.pop("calibration")) == {"temperature": 1.0, "doubt": 0.0}
    assert facts == {"classes": '["blue", "green"]', "train_images": "48"}

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
    assert "has no class green and" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "p.parquet").exists()


def test_training_and_validation_images_must_have_the_same_classes(data, tmp_path):
    words = train_command(data, tmp_path, val=data["other"])
    with pytest.raises(UserError, match=r"has no class grey and .* has; both need"):
        train_classifier.main(train_classifier.options().parse_args(words[2:]))


def test_a_class_with_one_image_is_too_few_to_learn_from(data, tmp_path):
    lonely = make_manifest(tmp_path / "lonely", 3, 5, ("blue", "green"))
    words = train_command(data, tmp_path, train=lonely)
    with pytest.raises(UserError, match="class green has 1 images, and 2 are needed"):
        train_classifier.main(train_classifier.options().parse_args(words[2:]))


def test_an_empty_data_set_is_refused(data, trained, tmp_path):
    whole = Manifest(data["train"])
    write_manifest(tmp_path / "empty.parquet", whole.table.slice(0, 0), whole.classes)
    words = train_command(data, tmp_path, train=tmp_path / "empty.parquet")
    with pytest.raises(UserError, match=r"class blue has 0 images, and 2 are needed \(1 other"):
        train_classifier.main(train_classifier.options().parse_args(words[2:]))
    words = command(
        "evaluate_classifier",
        model=trained / "model.safetensors",
        test=f"real={tmp_path / 'empty.parquet'}",
        threads=1,
        predictions=tmp_path / "p.parquet",
    )
    with pytest.raises(UserError, match="has no images to test on"):
        evaluate_classifier.main(evaluate_classifier.options().parse_args(words[2:]))


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
