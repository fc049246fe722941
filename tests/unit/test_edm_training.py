"""Training of EDM models on real and synthetic images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spoiled import nan_gradient_in_step
from synthgap import stopping
from synthgap.checkpoint import Checkpoint
from synthgap.diffusion.edm.batches import Batches, Labelled
from synthgap.diffusion.edm.network import EDMUNet
from synthgap.diffusion.edm.pipeline import EDMPipeline
from synthgap.diffusion.edm.preconditioning import Preconditioning
from synthgap.diffusion.edm.training import HalfLife, Recipe, ema_decay, train
from synthgap.errors import UserError

SIDE = 8
RECIPE = Recipe(
    kimg=0.048, learning_rate=5e-3, lr_rampup_kimg=0.02, ema_halflife_kimg=0.02, log_every=4
)


def batches(size: int = 8, augmentation: float = 0.0) -> Batches:
    """Six dark real images and 15 bright synthetic ones."""
    rng = np.random.default_rng(0)
    shades = np.repeat([60, 190], [6, 15])[:, None, None, None]
    images = (shades + rng.integers(-20, 20, (21, SIDE, SIDE, 3))).astype(np.uint8)
    data = Labelled(images, np.repeat([0, 1], [6, 15]), np.arange(21) % 3)
    return Batches(data, Preconditioning(), size=size, augmentation=augmentation, seed=3)


def network(sources: int = 2, dropout: float = 0.1) -> EDMUNet:
    torch.manual_seed(0)
    return EDMUNet(
        sample_size=SIDE, channels=8, multipliers=(1,), blocks=1, attention=(),
        dropout=dropout, sources=sources, augmentation=0,
    )  # fmt: skip


def trained(folder: Path, recipe: Recipe = RECIPE, every: float = 1e9, sources: int = 2, **kind):
    model = network(sources)
    history = train(model, batches(**kind), recipe, Checkpoint(folder, every))
    return model, history


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    others = other.state_dict()
    return all(torch.equal(tensor, others[name]) for name, tensor in one.state_dict().items())


def test_a_resumed_training_ends_in_the_same_weights(tmp_path, monkeypatch):
    """Dropout, augmentation and noise are drawn anew as they were."""
    model, history = trained(tmp_path / "whole", augmentation=0.5)
    assert [entry.step for entry in history] == [4, 6]
    monkeypatch.setattr(stopping, "_asked", True)
    with pytest.raises(stopping.Stopped):
        trained(tmp_path / "stopped", augmentation=0.5)
    monkeypatch.setattr(stopping, "_asked", False)
    torch.rand(7)  # whatever else was drawn meanwhile
    again, told = trained(tmp_path / "stopped", augmentation=0.5)
    assert same(again, model)
    assert told == history


def test_training_draws_nothing_from_global_state(tmp_path):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    model = network()
    torch.random.set_rng_state(before)
    train(model, batches(), RECIPE, Checkpoint(tmp_path, 1e9))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_parts_of_a_batch_give_the_gradient_of_the_whole(tmp_path):
    def last(micro_batch: int | None):
        model = network(dropout=0.0)
        recipe = replace(RECIPE, micro_batch=micro_batch)
        return train(model, batches(), recipe, Checkpoint(tmp_path / str(micro_batch), 1e9))[-1]

    whole, parts = last(None), last(3)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-4)
    assert parts.gradient_norm == pytest.approx(whole.gradient_norm, rel=1e-2)


def test_the_label_decides_after_training_with_it_and_not_without(tmp_path):
    """Dark real images and bright synthetic ones: CASD tells them apart, SDA mixes them."""
    recipe = replace(RECIPE, kimg=1.6, lr_rampup_kimg=0.1, ema_halflife_kimg=0.1)

    def shades(sources: int, label: int) -> torch.Tensor:
        model, _ = trained(tmp_path / f"{sources}", recipe, sources=sources)
        pipeline = EDMPipeline(model.eval())
        pipeline.set_progress_bar_config(disable=True)
        generators = [torch.Generator().manual_seed(i) for i in range(16)]
        made = pipeline([0] * 16, 8, generators, source_label=label, output_type="pt").images
        return made.mean((1, 2, 3))

    real, synthetic = shades(2, 0), shades(2, 1)
    assert abs(float(real.mean()) - 60 / 255) < 0.06
    assert abs(float(synthetic.mean()) - 190 / 255) < 0.06
    mixed = shades(0, 0)
    assert torch.equal(mixed, shades(0, 1))
    # As many bright ones as there are among the images, more or less.
    assert 0.3 < float((mixed > 0.5).float().mean()) < 1


def test_batches_hold_each_image_once_an_epoch_with_its_own_labels():
    of = batches(size=7)
    seen = np.concatenate([of.epochs.step(step, 7) for step in range(6)])
    assert sorted(seen[:21].tolist()) == sorted(seen[21:].tolist()) == list(range(21))
    assert seen[:21].tolist() != seen[21:].tolist()
    batch = of.batch(1)
    bright = batch.clean.mean((1, 2, 3)) > 0
    assert torch.equal(bright, batch.source == 1)
    rows = of.epochs.step(1, 7)
    assert batch.label.tolist() == (rows % 3).tolist()
    assert -1 <= batch.clean.min() < batch.clean.max() <= 1
    for one, other in zip(batch, batches(size=7).batch(1), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(batch.noise, of.batch(2).noise)


def test_images_that_are_no_squares_are_refused():
    none = np.zeros(2, np.int64)
    data = Labelled(np.zeros((2, 4, 6, 3), np.uint8), none, none)
    with pytest.raises(UserError, match="images must be squares, not"):
        Batches(data, Preconditioning(), size=2, augmentation=0, seed=0)


def test_old_weights_count_half_after_a_half_life():
    # Long after the start: 1000 images of batches of 10 halve what was there before.
    assert ema_decay(10**9, 10, 1000, 0.05) ** 100 == pytest.approx(0.5)
    # At first the half-life is a twentieth of what was seen.
    assert ema_decay(2000, 10, 10**6, 0.05) == pytest.approx(0.5 ** (10 / 100))
    assert ema_decay(10, 10, 0, 0.05) == 0.0


def test_the_average_follows_its_half_life():
    parameter = torch.nn.Parameter(torch.tensor([2.0]))
    recipe = replace(RECIPE, ema_halflife_kimg=0.1, ema_rampup_ratio=1e9)
    average = HalfLife([parameter], recipe, batch=10)
    with torch.no_grad():
        parameter.zero_()
    for step in range(10):  # 100 images, one half-life
        average.update(step)
    torch.testing.assert_close(average.average[0], torch.tensor([1.0]))


def test_the_learning_rate_grows_evenly_and_stays(tmp_path):
    recipe = replace(RECIPE, lr_rampup_kimg=0.032, log_every=1, kimg=0.05)
    _, history = trained(tmp_path, recipe)
    rates = [entry.learning_rate / recipe.learning_rate for entry in history]
    assert rates == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1])


def test_weights_that_are_no_numbers_after_the_last_step_are_told(tmp_path):
    spoiled = nan_gradient_in_step(6)
    with spoiled, pytest.raises(UserError, match=r"training diverged: `.+` is NaN or infinite"):
        trained(tmp_path)


def test_a_loss_that_is_no_number_is_told(tmp_path):
    recipe = replace(RECIPE, learning_rate=1e30, lr_rampup_kimg=0)
    with pytest.raises(UserError, match=r"the loss is (nan|inf) after 4 steps; a smaller"):
        trained(tmp_path, recipe)
