"""Training: recipes, batches, the weights that are kept, and going on after a kill."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from synthgap.checkpoint import Checkpoint
from synthgap.classifiers import augmentation, training
from synthgap.classifiers.architectures import build_seeded
from synthgap.classifiers.batches import Batch, Batches
from synthgap.classifiers.evaluation import About, extract, load, normalise, predict, save
from synthgap.classifiers.recipe import Recipe
from synthgap.classifiers.training import MixedLoss, learning_rate, train
from synthgap.data.decoded import EncodedImages
from synthgap.data.shards import Manifest, Sample, ShardWriter, gather
from synthgap.errors import UserError
from synthgap.seeds import derive_seed

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
    "three_augment": True,
    "colour_jitter": 0.2,
    "rand_augment": 9.0,
    "mixup": 0.8,
    "cutmix": True,
}
PLAIN = {
    "epochs": 4,
    "batch_size": 8,
    "optimizer": "adam",
    "learning_rate": 1e-2,
    "weight_decay": 0.0,
    "warmup_epochs": 0,
    "label_smoothing": 0.0,
    "shift": 0,
}


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
    history, _ = train(model, *data, Recipe.from_mapping(recipe), seed, checkpoint, CPU)
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


@pytest.mark.parametrize(("stop_after", "decay"), [(1, 0.0), (3, 0.0), (4, 0.0), (2, 0.9)])
def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path, stop_after, decay):
    recipe = RECIPE | {"ema_decay": decay}
    whole, history = run(tmp_path / "whole", recipe)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", recipe, every=0, stop_after=stop_after)
    resumed, resumed_history = run(tmp_path / "stopped", recipe, every=0)
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


def test_weight_decay_spares_what_a_network_names(tmp_path):
    options = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
    spec = {"family": "timm", "name": "vit_tiny_patch16_224", "options": options}
    model = build_seeded(spec, 2, 0)
    parts = {"pos_embed": model.pos_embed, "patches": model.patch_embed.proj.weight}
    before = {name: part.detach().clone() for name, part in parts.items()}
    recipe = Recipe.from_mapping(
        PLAIN | {"optimizer": "adamw", "epochs": 1, "weight_decay": 50.0, "learning_rate": 1e-3}
    )
    data = (*red_or_dark(8, 1), *red_or_dark(8, 2))
    train(model, *data, recipe, 0, Checkpoint(tmp_path, 1e9), CPU)
    # One step moves each number by 0.001 at most, and shrinks by a twentieth what decays.
    moved = {name: parts[name] - before[name] for name in parts}
    assert moved["pos_embed"].abs().max() < 0.0011
    assert (moved["patches"] + 0.05 * before["patches"]).abs().max() < 0.0011


def test_the_average_of_the_weights_is_validated_and_kept(tmp_path, monkeypatch):
    decay, steps = 0.8, []
    step = training._Run._step

    def noting(self, batch):
        if not steps:
            steps.append([p.detach().clone() for p in self.model.parameters()])
        loss = step(self, batch)
        steps.append([p.detach().clone() for p in self.model.parameters()])
        return loss

    monkeypatch.setattr(training._Run, "_step", noting)
    model, history = run(tmp_path, PLAIN | {"ema_decay": decay, "epochs": 1})
    expected = steps[0]
    for weights in steps[1:]:
        expected = [decay * a + (1 - decay) * w for a, w in zip(expected, weights, strict=True)]
    for found, wanted in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(found.detach(), wanted)
    images, labels = red_or_dark(20, 2)
    loss = torch.nn.functional.cross_entropy(
        torch.from_numpy(predict(model, images, 8)), torch.from_numpy(labels)
    )
    assert float(loss) == pytest.approx(history.val_loss[0], rel=1e-4)


def test_an_average_does_not_change_what_is_averaged(tmp_path):
    plain, averaged = (
        run(tmp_path / str(decay), PLAIN | {"ema_decay": decay})[1] for decay in (0.0, 0.9)
    )
    assert plain.train_loss == averaged.train_loss
    assert plain.val_loss != averaged.val_loss


def test_the_loss_after_cutmix_weighs_both_labels_by_their_share():
    logits, labels, pasted = torch.randn(3, 2), torch.tensor([0, 1, 0]), torch.tensor([1, 1, 0])

    def loss(*batch: object) -> torch.Tensor:
        whole = Batch(torch.zeros(3), *batch)
        return MixedLoss(0.1)(lambda images: logits, whole, whole)

    own, other = (loss(shown, shown, 1.0) for shown in (labels, pasted))
    mixed = loss(labels, pasted, 0.25)
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
    found = torch.nn.functional.cross_entropy(
        torch.from_numpy(predict(model, images, 8)), torch.from_numpy(labels)
    )
    assert float(found) == pytest.approx(history.val_loss[best], rel=1e-4)


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
        "three_augment": False,
        "colour_jitter": 0.0,
        "cutmix": False,
        "rand_augment": 4.0,
        "rand_augment_deviation": 3.0,
        "mixup": 0.0,
        "betas": [0.5, 0.9],
        "micro_batch": 3,
        "precision": "bfloat16",
        "input_size": 12,
        "batch_size": 15,
        "epochs": 5,
        "ema_decay": 0.9,
    }
    few = {"labels_per_class", "semi_supervised"}  # see test_semi_supervised.py
    few |= {"test_share"}  # what `train` is given is cut already
    assert set(changes) | few == set(Recipe.model_fields)
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


def test_without_mixup_and_rand_augment_batches_are_drawn_as_before_there_were_any():
    images, labels = red_or_dark(20, 0)
    recipe = Recipe.from_mapping(PLAIN | {"flip": True, "shift": 2, "cutmix": True})
    for place, batch in enumerate(Batches(images, labels, recipe).epoch(3, CPU)):
        order = torch.randperm(20, generator=torch.Generator().manual_seed(3)).tensor_split(3)
        chosen = order[place]
        rng = torch.Generator().manual_seed(derive_seed(3, "batch", place))
        mirrored = torch.rand(len(chosen), generator=rng) < 0.5
        pixels = torch.from_numpy(images[chosen.numpy()])
        pixels[mirrored] = pixels[mirrored].flip(2)
        pixels = augmentation.shift(pixels.permute(0, 3, 1, 2), 2, rng).permute(0, 2, 3, 1)
        mixed = augmentation.cutmix_batch(normalise(pixels), torch.from_numpy(labels)[chosen], rng)
        assert torch.equal(batch.images, mixed[0])
        assert torch.equal(batch.pasted_labels, mixed[1])
        assert batch.share == mixed[2]


def test_a_batch_has_mixup_or_cutmix_with_equal_chance():
    # Each image in one colour: CutMix leaves no other colours than these, mixup leaves few.
    colours = np.arange(1600, dtype=np.int64) % 250
    images = np.broadcast_to(colours[:, None, None, None], (1600, 8, 8, 3)).astype(np.uint8)
    settings = {"batch_size": 8, "mixup": 0.8, "cutmix": True}
    recipe = Recipe.from_mapping(PLAIN | settings)
    known = normalise(torch.from_numpy(images))[:250, 0, 0, 0]
    pasted = [
        bool(torch.isin(batch.images[:, 0], known).all())
        for batch in Batches(images, colours, recipe).epoch(0, CPU)
    ]
    assert len(pasted) == 200
    assert 75 < sum(pasted) < 125


def test_mixup_alone_pastes_nothing():
    images, labels = red_or_dark(40, 0)
    recipe = Recipe.from_mapping(PLAIN | {"mixup": 0.8})
    for batch in Batches(images, labels, recipe).epoch(0, CPU):
        pixels = torch.from_numpy(images)
        originals = [normalise(pixels[torch.from_numpy(labels) == kind]) for kind in (0, 1)]
        # Of a dark and a red one the mean red lies between theirs, by the share.
        red = batch.images[:, 0].mean((1, 2))
        dark, bright = (kind[:, 0].mean() for kind in originals)
        share = batch.share * batch.labels + (1 - batch.share) * batch.pasted_labels
        torch.testing.assert_close(red, dark + share * (bright - dark), atol=0.15, rtol=0)


def test_sgd_takes_its_momentum_from_the_first_beta():
    options = {"optimizer": "sgd", "betas": [0.8, 0.9]}
    optimizer = training._optimizer(build_seeded(SPEC, 2, 0), Recipe.from_mapping(PLAIN | options))
    assert isinstance(optimizer, torch.optim.SGD)
    assert (optimizer.defaults["momentum"], optimizer.defaults["nesterov"]) == (0.8, True)


def test_betas_are_adams():
    recipe = Recipe.from_mapping(PLAIN | {"betas": [0.9, 0.95]})
    groups = training._optimizer(build_seeded(SPEC, 2, 0), recipe).param_groups
    assert [group["betas"] for group in groups] == [(0.9, 0.95)] * 2
    usual = training._optimizer(build_seeded(SPEC, 2, 0), Recipe())
    assert usual.defaults["betas"] == torch.optim.Adam([torch.zeros(1)]).defaults["betas"]


@pytest.mark.parametrize("threads", [0, 2])
def test_half_of_the_images_are_mirrored(threads):
    images = np.random.default_rng(0).integers(0, 256, (400, 8, 8, 3)).astype(np.uint8)
    recipe = Recipe.from_mapping(PLAIN | {"flip": True})
    pool = ThreadPoolExecutor(threads) if threads else None
    batches = Batches(images, np.zeros(400, np.int64), recipe, pool)
    shown = batches.read(torch.arange(400), torch.Generator().manual_seed(0)).numpy()
    mirrored = (shown == images[:, :, ::-1]).all((1, 2, 3))
    kept = (shown == images).all((1, 2, 3))
    np.testing.assert_array_equal(mirrored, ~kept)
    assert 160 < mirrored.sum() < 240
    assert images.flags.writeable
    assert len(np.unique(images[0])) > 50, "the images themselves are as they were"


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
        ({"epochs": 0}, "epochs: Input should be greater"),
        ({"optimizer": "lion"}, "optimizer: Input should be 'adam', 'adamw' or 'sgd'"),
        ({"learning_rate": "fast"}, "learning_rate: Input should be a valid number"),
        ({"learning_rat": 1}, "learning_rat: Extra inputs"),
        ({"betas": [0.9]}, "betas: List should have at least 2 items"),
        ({"betas": [0.9, 1.0]}, r"betas.1: Input should be less than 1"),
        ({"mixup": -0.1}, "mixup: Input should be greater than or equal to 0"),
        ({"mixup": math.inf}, "mixup: Input should be a finite number"),
        ({"rand_augment": 11.0}, "rand_augment: Input should be less than or equal to 10"),
        ({"rand_augment_deviation": -1.0}, "rand_augment_deviation: Input should be greater"),
        ({"warmup_epochs": 5}, "warmup_epochs must not be above epochs"),
    ],
)
def test_wrong_recipes_are_refused(change: dict, message: str):
    with pytest.raises(UserError, match=message):
        Recipe.from_mapping(PLAIN | change)


class Small(torch.nn.Module):
    """A net without batch norm, on a device with room for so many images."""

    def __init__(self, room: int = 100) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.room = torch.nn.Linear(16 * 16 * 3, 2), room

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")
        return self.linear(images.flatten(1))


def run_small(folder: Path, model: Small, **changes):
    recipe = Recipe.from_mapping(RECIPE | {"learning_rate": 1e-3} | changes)
    data = (*red_or_dark(30, 1), *red_or_dark(20, 2))
    return train(model, *data, recipe, 0, Checkpoint(folder, 1e9), CPU)[0]


def test_gradients_of_parts_add_up_to_those_of_the_batch(tmp_path):
    whole, parts = Small(), Small()
    run_small(tmp_path / "a", whole)
    history = run_small(tmp_path / "b", parts, micro_batch=3)
    assert history.micro_batch == [3] * 4
    torch.testing.assert_close(whole.state_dict(), parts.state_dict(), rtol=1e-4, atol=1e-6)


def test_a_batch_without_room_is_halved_and_gives_what_smaller_parts_give(tmp_path, caplog):
    # Eight images, then four, then two.
    short, chosen = Small(room=3), Small()
    history = run_small(tmp_path / "a", short)
    assert history == run_small(tmp_path / "b", chosen, micro_batch=2)
    assert same_weights(short, chosen)
    told = [r.getMessage() for r in caplog.records if "no room" in r.getMessage()]
    assert [message.split()[11] for message in told] == ["4", "2"]
    with pytest.raises(UserError, match=r"single image: CUDA out of memory"):
        run_small(tmp_path / "c", Small(room=0))


def test_a_diverged_training_keeps_its_last_good_epoch(tmp_path, monkeypatch):
    whole, history = run(tmp_path / "whole", PLAIN | {"schedule": "constant"})
    epoch = training._Run.epoch

    def diverge(self, number: int) -> float:
        return math.nan if number == 2 else epoch(self, number)

    monkeypatch.setattr(training._Run, "epoch", diverge)
    with pytest.raises(UserError, match=r"diverged in epoch 2: .*epoch 1, the last good one, is"):
        run(tmp_path / "nan", PLAIN | {"schedule": "constant"})
    monkeypatch.undo()
    state = Checkpoint(tmp_path / "nan", 0).load()
    assert state["history"]["val_loss"] == history.val_loss[:2]
    resumed, _ = run(tmp_path / "nan", PLAIN | {"schedule": "constant"})
    assert same_weights(whole, resumed)


def test_threads_and_where_images_lie_do_not_matter(tmp_path):
    images, labels = red_or_dark(40, 1)
    with ShardWriter(tmp_path / "00000.tar", "png") as writer:
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            writer.add(Sample(f"{index:02d}", int(label), CLASSES[label]), image)
    gather([tmp_path / "00000.tar"], tmp_path / "manifest.parquet")
    manifest = Manifest(tmp_path / "manifest.parquet")
    for changes in ({}, {"crop_min_area": 1.0}, {"crop_min_area": 1.0, "input_size": 12}):
        recipe = Recipe.from_mapping(RECIPE | changes)
        with ThreadPoolExecutor(3) as pool:
            served = [
                list(Batches(where, labels, recipe, threads).epoch(3, CPU))
                for where in (images, EncodedImages(manifest))
                for threads in (None, pool)
            ]
        for other in served[1:]:
            for one, same in zip(served[0], other, strict=True):
                assert torch.equal(one.images, same.images)
                assert torch.equal(one.labels, same.labels)


def test_a_training_that_cannot_work_says_so(tmp_path):
    with pytest.raises(UserError, match=r"diverged in epoch 0: .* no epoch before"):
        run(tmp_path, PLAIN | {"learning_rate": 1e30})
    none = (np.zeros((0, 16, 16, 3), np.uint8), np.zeros(0, np.int64))
    checkpoint = Checkpoint(tmp_path / "none", 1e9)
    model, recipe = build_seeded(SPEC, 2, 0), Recipe.from_mapping(PLAIN)
    with pytest.raises(UserError, match="one image or more"):
        train(model, *red_or_dark(4, 0), *none, recipe, 0, checkpoint, CPU)


def test_predictions_do_not_depend_on_the_batch_size():
    model = build_seeded(SPEC, 2, 0)
    images, _ = red_or_dark(11, 0)
    np.testing.assert_allclose(predict(model, images, 3), predict(model, images, 11), atol=1e-6)
    np.testing.assert_allclose(extract(model, images, 3), extract(model, images, 11), atol=1e-5)
    assert extract(model, images, 4).shape == (11, 32)


def test_a_saved_model_loads_as_it_was(tmp_path):
    model = build_seeded(SPEC, 2, 0).to(memory_format=torch.channels_last)
    about = About(SPEC, CLASSES, input_size=16, train_images=30)
    save(model, about, tmp_path / "a.safetensors")
    loaded, told = load(tmp_path / "a.safetensors")
    assert told == about
    assert same_weights(model, loaded)
    images, _ = red_or_dark(5, 0)
    np.testing.assert_array_equal(predict(loaded, images, 5), predict(model, images, 5))


def test_weights_of_another_architecture_are_refused(tmp_path):
    wider = SPEC | {"options": SPEC["options"] | {"width": 8}}
    save(build_seeded(wider, 2, 0), About(SPEC, CLASSES), tmp_path / "a")
    with pytest.raises(UserError, match=r"a: its weights are of another architecture .*size misma"):
        load(tmp_path / "a")


def test_other_files_are_not_taken_for_models(tmp_path):
    (tmp_path / "junk").write_bytes(b"no model at all")
    with pytest.raises(UserError, match="not a classifier of this workflow"):
        load(tmp_path / "junk")
