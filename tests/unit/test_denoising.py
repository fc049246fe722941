"""Training of denoisers."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_up_latents import CHANNELS, SIDE, TEXT_WIDTH, made_up

from spoiled import nan_gradient_in_step
from synthgap import stopping
from synthgap.checkpoint import Checkpoint
from synthgap.diffusion.cad import CADI
from synthgap.diffusion.denoising import MovingAverage, Recipe, train
from synthgap.diffusion.dit import DiTI
from synthgap.diffusion.mixture import Composites, Crops, Mixture
from synthgap.diffusion.objectives import OBJECTIVES
from synthgap.errors import UserError

SMALL = {
    "sample_size": SIDE,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "width": 32,
    "heads": 2,
    "text_width": TEXT_WIDTH,
    "text_heads": 2,
    "crop_tokens": True,
}
MODELS = {
    "dit-i": (DiTI, {"layers": 2}),
    "cad-i": (CADI, {"num_latents": 8, "data_width": 32, "num_blocks": 2, "layers": 1}),
}
RECIPE = Recipe(steps=6, learning_rate=2e-3, warmup_steps=2, ema_decay=0.9, log_every=4)
EACH = pytest.mark.parametrize("kind", list(MODELS))


def small(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    network, options = MODELS[kind]
    return network(**SMALL, **options)


def trained(
    kind: str,
    folder: Path,
    recipe: Recipe = RECIPE,
    dtype: torch.dtype = torch.float32,
    **options: object,
):
    """Train a small model on made-up data, with composites and crops; return it and its history."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "composites").mkdir(exist_ok=True)
    objective = OBJECTIVES["epsilon"]()
    mixture = Mixture(
        made_up(folder / "images", kinds=2, dtype=dtype),
        objective,
        size=8,
        drop_text=0.1,
        seed=0,
        grid=(SIDE // 2, SIDE // 2),
        composites=Composites(made_up(folder / "composites", (6, 2), 1, 1, dtype), 0.5, 400),
        crops=Crops(0.5, 0.5),
    )
    model = small(kind)
    every = options.pop("every_seconds", 1e9)
    checkpoint = Checkpoint(folder / options.pop("checkpoint", "checkpoint"), every)
    history = train(model, mixture, objective, recipe, checkpoint, **options)
    return model.state_dict(), history


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@EACH
def test_a_resumed_training_ends_in_the_same_weights(kind, tmp_path, monkeypatch):
    weights, history = trained(kind, tmp_path)
    assert [entry.step for entry in history] == [4, 6]

    class Killed(BaseException):
        pass

    def killed(step: int, _model: torch.nn.Module) -> None:
        if step == 5:
            raise Killed

    # Each step is saved, and the sixth never comes.
    resumed = {"checkpoint": "resumed", "every_seconds": 0.0}
    with pytest.raises(Killed):
        trained(kind, tmp_path, **resumed, watch=killed, watch_at={1, 2, 3, 4, 5})
    steps = []
    again, told = trained(
        kind, tmp_path, **resumed, watch=lambda n, _: steps.append(n), watch_at={1, 2, 3, 4, 5}
    )
    assert steps == [5, 6]
    assert same(again, weights)
    assert told == history

    monkeypatch.setattr(stopping, "_asked", True)
    with pytest.raises(stopping.Stopped):
        trained(kind, tmp_path, checkpoint="stopped")
    monkeypatch.setattr(stopping, "_asked", False)
    assert same(trained(kind, tmp_path, checkpoint="stopped")[0], weights)


@EACH
def test_parts_of_a_batch_give_the_gradient_of_the_whole(kind, tmp_path):
    whole, history = trained(kind, tmp_path)
    parts, in_parts = trained(kind, tmp_path, replace(RECIPE, micro_batch=3), checkpoint="parts")
    assert in_parts[-1].loss == pytest.approx(history[-1].loss, rel=1e-4)
    assert in_parts[-1].gradient_norm == pytest.approx(history[-1].gradient_norm, rel=1e-2)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=0.05, atol=2e-3)


def test_texts_stay_small_until_they_are_on_the_device(tmp_path):
    stored = made_up(tmp_path, dtype=torch.bfloat16)
    mixture = Mixture(
        stored, OBJECTIVES["flow"](), size=4, drop_text=0.5, seed=0, grid=(SIDE, SIDE)
    )
    assert mixture.batch(mixture.places(0)).text.dtype == torch.bfloat16
    half, _ = trained("dit-i", tmp_path / "half", dtype=torch.bfloat16)
    whole, _ = trained("dit-i", tmp_path / "whole")
    assert same(half, whole)


@pytest.mark.parametrize("objective", list(OBJECTIVES))
@EACH
def test_a_handful_of_images_is_learnt(kind, objective, tmp_path):
    chosen = OBJECTIVES[objective]()
    mixture = Mixture(
        made_up(tmp_path, (4,), kinds=2),
        chosen,
        size=16,
        drop_text=0.0,
        seed=0,
        grid=(SIDE // 2, SIDE // 2),
    )
    model = small(kind)
    recipe = replace(
        RECIPE, steps=200, learning_rate=6e-3, warmup_steps=20, log_every=20, schedule="cosine"
    )
    history = train(model, mixture, chosen, recipe, Checkpoint(tmp_path, 1e9))
    # Who knows nothing has an error of 1, or 2 where the image itself is part of the target.
    assert history[0].loss > 0.6
    assert history[-1].loss < 0.6 * history[0].loss
    assert history[-1].learning_rate < 1e-5


def test_other_weights_are_watched_than_are_trained(tmp_path):
    """What is watched is the average, and the training goes on as if nobody had looked."""
    plain = trained("dit-i", tmp_path)[0]
    seen = {}

    def look(step: int, model: torch.nn.Module) -> None:
        assert not model.training
        seen[step] = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    watched = trained("dit-i", tmp_path, checkpoint="watched", watch=look, watch_at={2, 4})[0]
    assert list(seen) == [2, 4, 6]
    assert same(seen[6], watched)
    assert same(watched, plain)
    assert not same(seen[4], watched)


def test_the_moving_average_is_what_its_formula_says():
    parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    average = MovingAverage([parameter], 0.9)
    expected = parameter.detach().clone()
    for step in range(200):
        with torch.no_grad():
            parameter += 0.5 + step % 3
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * parameter.detach()
        average.update(step)
    torch.testing.assert_close(average.average[0], expected)
    live = parameter.detach().clone()
    average.swap()
    torch.testing.assert_close(parameter.detach(), expected)
    average.swap()
    assert torch.equal(parameter.detach(), live)


def test_weights_that_are_no_numbers_after_the_last_step_are_told(tmp_path):
    spoiled = nan_gradient_in_step(RECIPE.steps)
    with spoiled, pytest.raises(UserError, match=r"training diverged: `.+` is NaN or infinite"):
        trained("dit-i", tmp_path)


def test_a_loss_that_is_no_number_is_told(tmp_path):
    with pytest.raises(UserError, match=r"the loss is (nan|inf) after 4 steps; a smaller"):
        trained("dit-i", tmp_path, replace(RECIPE, learning_rate=1e30, gradient_clip=0.0))


PROCESS = """
import json, sys, torch
from pathlib import Path
from safetensors.torch import save_file
from test_denoising import trained
from synthgap import processes
torch.set_num_threads(1)
folder = Path(sys.argv[1])
with processes.group("cpu") as (rank, world):
    own = folder / str(rank)  # each makes the same data
    own.mkdir()
    weights, history = trained(sys.argv[2], own)
if rank == 0:
    save_file(weights, folder / "weights.safetensors")
    (folder / "last.json").write_text(json.dumps(vars(history[-1])))
"""


@EACH
def test_two_processes_train_as_one(kind, tmp_path):
    from safetensors.torch import load_file

    program = tmp_path / "program.py"
    program.write_text(PROCESS)
    launch = ["-m", "synthgap.torchrun", "--standalone", "--nproc-per-node=2"]
    command = [sys.executable, *launch, str(program), str(tmp_path), kind]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # as this test's
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    one, history = trained(kind, tmp_path)
    two = load_file(tmp_path / "weights.safetensors")
    told = json.loads((tmp_path / "last.json").read_text())
    assert told == pytest.approx(vars(history[-1]), rel=1e-3)
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=0.05, atol=2e-3)
