"""The command that trains a model on chosen images."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from test_blends import make_manifest
from test_generation import contents, kill_when

from synthgap.config.edm import EDMModel
from synthgap.data.choice import Wanted, write_choice
from synthgap.diffusion.edm.building import build
from synthgap.diffusion.edm.pipeline import EDMPipeline
from synthgap.errors import UserError

SCRIPT = Path(__file__).parents[2] / "workflow" / "scripts" / "train_edm.py"
NETWORK = {"channels": 4, "multipliers": [1], "blocks": 1, "attention": [], "dropout": 0.1}
MODEL = EDMModel(
    network=NETWORK,
    synthetic=[{"source": "made", "images": 8}],
    source_label=True,
    class_label=True,
    augment=0.2,
    kimg=0.12,
    batch_size=8,
)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chosen")
    real, made = make_manifest(folder / "real", 6), make_manifest(folder / "made", 5)
    path = folder / "images.parquet"
    write_choice(path, [Wanted("real", real), Wanted("made", made, 8)], seed=0)
    return path


def command(chosen: Path, folder: Path) -> list[str]:
    told = {
        "images": chosen, "model": json.dumps(MODEL.options()), "threads": 1, "gpus": 0,
        "checkpoint-seconds": 0, "scratch": folder / "scratch", "pipeline": folder / "model",
        "history": folder / "history.parquet",
    }  # fmt: skip
    given = [str(x) for name, value in told.items() for x in (f"--{name}", value)]
    return [sys.executable, str(SCRIPT), *given]


@pytest.mark.long
def test_a_killed_training_goes_on_to_the_same_bytes(chosen, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(chosen, whole), check=True, capture_output=True)
    kill_when(command(chosen, killed), lambda: any(killed.glob("scratch/*/checkpoint.pt")))
    assert not (killed / "model").exists()
    result = subprocess.run(command(chosen, killed), check=True, capture_output=True, text=True)
    assert "going on after" in result.stderr
    assert contents(whole) == contents(killed)
    assert not (killed / "scratch").exists()

    pipeline = EDMPipeline.from_pretrained(whole / "model")
    assert (pipeline.unet.config.sources, pipeline.unet.config.classes) == (2, 2)
    assert not list((whole / "model").rglob("*.bin"))
    history = pq.read_table(whole / "history.parquet").to_pylist()
    assert [entry["step"] for entry in history] == [15]


def test_arms_begin_alike_but_for_what_they_are_told():
    def begun(sources: int) -> dict[str, torch.Tensor]:
        model = build(NETWORK, side=8, sources=sources, classes=0, augmented=True, seed=3)
        return model.state_dict()

    untold, told = begun(0), begun(2)
    assert told.keys() - untold.keys() == {"source.weight"}
    assert all(torch.equal(untold[name], told[name]) for name in untold)
    assert not torch.equal(build(NETWORK, side=8, sources=0, classes=0, augmented=True,
                                 seed=4).into.weight, untold["into.weight"])  # fmt: skip
    with pytest.raises(UserError, match=r"network.multipliers: 3 levels"):
        build(NETWORK | {"multipliers": [1, 1, 1]}, side=10, sources=0, classes=0,
              augmented=False, seed=0)  # fmt: skip
