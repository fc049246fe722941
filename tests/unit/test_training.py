"""Training: recipes, batches, the weights that are kept, and going on after a kill."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from synthgap.checkpoint import Checkpoint
from synthgap.classifiers.architectures import build_seeded
from synthgap.classifiers.evaluation import extract, load, normalise, predict, save
from synthgap.classifiers.training import Batch, Batches, Recipe, _loss, learning_rate, train
from synthgap.errors import UserError

SPEC = {
    "family": "bagnet",
    "receptive_field": 9,
    "options": {"layers": [1, 1], "strides": [2, 2], "kernel3": [1, 1], "width": 4},
}
CLASSES = ["dark", "red"]
CPU = torch.device("cpu")
RECIPE = {
    "epochs": 4,
    "batch_size": 8,
    "optimizer": "adamw",
    "learning_rate": 1e-2,
    "weight_decay": 0.05,
    "warmup_epochs": 1,
    "label_smoothing": 0.1,
    "gradient_clip": 1.0,
    "shift": 2,
    "flip": True,
    "crop_min_area": 0.5,
    "cutmix": True,
}
PLAIN = {"epochs": 4, "batch_size": 8, "optimizer": "adam", "learning_rate": 1e-2}


def red_or_dark(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    images = rng.integers(0, 120, (n, 16, 16, 3))
    images[..., 0] += 100 * labels[:, None, None]
    return images.astype(np.uint8), labels


def run(folder: Path, recipe: dict, seed: int = 0, every: float = 1e9, stop_after: int = 0):
    """Train a small net; with `stop_after`, stop like a kill after that many checkpoints."""
    model = build_seeded(SPEC, 2, seed)
    checkpoint = Checkpoint(folder, every)
    if stop_after:
        save_state, saved = checkpoint.save, []

        def save_and_stop(state: dict) -> None:
            save_state(state)
            saved.append(1)
            if len(saved) == stop_after:
                raise KeyboardInterrupt

        checkpoint.save = save_and_stop
    data = (*red_or_dark(30, 1), *red_or_dark(20, 2))
    history = train(model, *data, Recipe.from_mapping(recipe), seed, checkpoint, CPU)
    return model, history


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_a_net_learns_what_is_there_to_learn(tmp_path):
    model, history = run(tmp_path, PLAIN)
    images, labels = red_or_dark(50, 3)
    assert (predict(model, images, 16).argmax(1) == labels).mean() > 0.9
    assert history.train_loss[-1] < history.train_loss[0]
    assert len(history.val_loss) == len(history.val_top1) == 4


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path, stop_after):
    whole, history = run(tmp_path / "whole", RECIPE)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", RECIPE, every=0, stop_after=stop_after)
    resumed, resumed_history = run(tmp_path / "stopped", RECIPE, every=0)
    assert same_weights(whole, resumed)
    assert history == resumed_history


def test_another_seed_gives_another_net(tmp_path):
    assert not same_weights(run(tmp_path / "a", RECIPE)[0], run(tmp_path / "b", RECIPE, seed=1)[0])


def test_global_randomness_neither_matters_nor_changes(tmp_path):
    torch.manual_seed(1)
    first, _ = run(tmp_path / "a", RECIPE)
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    again, _ = run(tmp_path / "b", RECIPE)
    assert torch.rand(1) == expected
    assert same_weights(first, again)


def test_each_epoch_has_randomness_of_its_own(tmp_path, monkeypatch):
    orders, states = [], []
    epoch = Batches.epoch

    def recorded(self: Batches, seed: int, device: torch.device):
        states.append(torch.get_rng_state().tolist())  # what dropout would draw from
        for batch in epoch(self, seed, device):
            orders.append(batch.labels.tolist())
            yield batch

    monkeypatch.setattr(Batches, "epoch", recorded)
    for attempt in (1, 2):
        torch.manual_seed(attempt)
        run(tmp_path, PLAIN)
    assert orders[:16] == orders[16:]
    assert states[:4] == states[4:]
    assert len({str(orders[start : start + 4]) for start in range(0, 16, 4)}) == 4
    assert len({str(state) for state in states}) == 4


def test_weight_decay_spares_biases_and_norms(tmp_path):
    model = build_seeded(SPEC, 2, 0)
    last = model.get_submodule("classifier")
    torch.nn.init.ones_(last.bias)
    before = last.weight.norm()
    recipe = Recipe.from_mapping(PLAIN | {"optimizer": "adamw", "epochs": 1, "weight_decay": 50.0})
    data = (*red_or_dark(8, 1), *red_or_dark(8, 2))
    train(model, *data, recipe, 0, Checkpoint(tmp_path, 1e9), CPU)
    # One step at rate 0.01 shrinks by half what decays, and moves the rest by 0.01 at most.
    assert last.weight.norm() < 0.7 * before
    assert (last.bias - 1).abs().max() < 0.02


def test_the_loss_after_cutmix_weighs_both_labels_by_their_share():
    logits, labels, pasted = torch.randn(3, 2), torch.tensor([0, 1, 0]), torch.tensor([1, 1, 0])
    own, other = (
        _loss(logits, Batch(torch.zeros(3), shown, shown, 1.0), 0.1) for shown in (labels, pasted)
    )
    mixed = _loss(logits, Batch(torch.zeros(3), labels, pasted, 0.25), 0.1)
    torch.testing.assert_close(mixed, 0.25 * own + 0.75 * other)
    torch.testing.assert_close(own, torch.nn.CrossEntropyLoss(label_smoothing=0.1)(logits, labels))


def test_the_weights_of_the_lowest_validation_loss_are_kept(tmp_path):
    # So high a rate makes the loss jump about, and the last epoch is not the best one.
    recipe = PLAIN | {"learning_rate": 0.3, "schedule": "constant", "epochs": 6}
    model, history = run(tmp_path, recipe, seed=3)
    best = history.best_epoch
    assert best < 5
    assert history.val_loss[best] == min(history.val_loss)
    images, labels = red_or_dark(20, 2)
    found = predict(model, images, 8)[np.arange(20), labels]
    assert -np.log(found).mean() == pytest.approx(history.val_loss[best], rel=1e-4)


def test_each_setting_of_a_recipe_shapes_the_result(tmp_path):
    plain, _ = run(tmp_path, RECIPE)
    changes = {
        "optimizer": "adam",
        "learning_rate": 2e-2,
        "weight_decay": 0.5,
        "warmup_epochs": 2,
        "schedule": "constant",
        "label_smoothing": 0.3,
        "gradient_clip": 0.1,
        "shift": 0,
        "flip": False,
        "crop_min_area": 1.0,
        "cutmix": False,
        "batch_size": 15,
        "epochs": 5,
    }
    assert set(changes) == set(Recipe.__dataclass_fields__)
    for name, value in changes.items():
        changed, _ = run(tmp_path, RECIPE | {name: value})
        assert not same_weights(plain, changed), name


def test_an_epoch_shows_each_image_once_in_batches_of_nearly_equal_size():
    images, labels = red_or_dark(17, 0)
    labels = np.arange(17)
    batches = Batches(images, labels, Recipe.from_mapping(PLAIN))
    served = list(batches.epoch(3, CPU))
    assert [len(batch.labels) for batch in served] == [6, 6, 5]
    assert len(batches) == 3
    order = torch.cat([batch.labels for batch in served])
    assert sorted(order.tolist()) == list(range(17))
    assert order.tolist() != list(range(17))
    shown = torch.cat([batch.images for batch in served])
    assert torch.equal(shown, normalise(torch.from_numpy(images[order.numpy()])))
    other = torch.cat([batch.labels for batch in batches.epoch(4, CPU)])
    assert order.tolist() != other.tolist()


def test_normalised_images_have_the_mean_and_deviation_of_imagenet():
    white = normalise(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8))
    expected = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert white.shape == (1, 3, 2, 2)
    assert white[0, :, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)


def test_learning_rate_rises_in_warmup_and_falls_as_a_cosine():
    recipe = Recipe.from_mapping(PLAIN | {"warmup_epochs": 1, "learning_rate": 1.0})
    rates = [learning_rate(recipe, step, 10) for step in range(40)]
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[10] == max(rates) == 1
    assert rates[25] == pytest.approx(0.5)
    assert rates[39] == pytest.approx((1 + math.cos(math.pi * 29 / 30)) / 2)
    constant = Recipe.from_mapping(PLAIN | {"schedule": "constant"})
    assert {learning_rate(constant, step, 10) for step in range(40)} == {1e-2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "out of range: epochs 0"),
        ({"optimizer": "sgd"}, "out of range: optimizer 'sgd'"),
        ({"learning_rate": "fast"}, "wrong kind"),
        ({"learning_rat": 1}, "unknown learning_rat; the keys are"),
        ({"warmup_epochs": 5}, "warmup_epochs 5"),
    ],
)
def test_wrong_recipes_are_refused(change: dict, message: str):
    with pytest.raises(UserError, match=message):
        Recipe.from_mapping(PLAIN | change)
    with pytest.raises(UserError, match="epochs must be given"):
        Recipe.from_mapping({k: v for k, v in PLAIN.items() if k != "epochs"})


def test_a_training_that_cannot_work_says_so(tmp_path):
    with pytest.raises(UserError, match="diverged in epoch 0"):
        run(tmp_path, PLAIN | {"learning_rate": 1e30})
    none = (np.zeros((0, 16, 16, 3), np.uint8), np.zeros(0, np.int64))
    checkpoint = Checkpoint(tmp_path / "none", 1e9)
    model, recipe = build_seeded(SPEC, 2, 0), Recipe.from_mapping(PLAIN)
    with pytest.raises(UserError, match="one image or more"):
        train(model, *red_or_dark(4, 0), *none, recipe, 0, checkpoint, CPU)


def test_predictions_do_not_depend_on_the_batch_size():
    model = build_seeded(SPEC, 2, 0)
    images, _ = red_or_dark(11, 0)
    assert predict(model, images, 3).sum(1) == pytest.approx(np.ones(11))
    np.testing.assert_allclose(predict(model, images, 3), predict(model, images, 11), atol=1e-6)
    np.testing.assert_allclose(extract(model, images, 3), extract(model, images, 11), atol=1e-5)
    assert extract(model, images, 4).shape == (11, 32)


def test_a_saved_model_loads_as_it_was(tmp_path):
    model = build_seeded(SPEC, 2, 0).to(memory_format=torch.channels_last)
    save(model, SPEC, CLASSES, tmp_path / "a.safetensors")
    loaded, spec, classes = load(tmp_path / "a.safetensors")
    assert (spec, classes) == (SPEC, CLASSES)
    assert same_weights(model, loaded)
    images, _ = red_or_dark(5, 0)
    np.testing.assert_array_equal(predict(loaded, images, 5), predict(model, images, 5))


def test_other_files_are_not_taken_for_models(tmp_path):
    (tmp_path / "junk").write_bytes(b"no model at all")
    with pytest.raises(UserError, match="not a classifier of this workflow"):
        load(tmp_path / "junk")
