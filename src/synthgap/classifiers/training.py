"""Train a classifier, keeping the weights with the lowest validation loss.

Source: paper A, section 4.1. A training that is killed and started again gives the same weights,
bit for bit, as an undisturbed one: whatever is random in an epoch derives from (seed, epoch).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from synthgap import stopping
from synthgap.checkpoint import Checkpoint
from synthgap.classifiers import augmentation
from synthgap.classifiers.evaluation import in_batches, normalise
from synthgap.errors import UserError
from synthgap.progress import Progress
from synthgap.seeds import derive_seed

Optimizer = Literal["adam", "adamw"]
Schedule = Literal["cosine", "constant"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train. Raises UserError on values out of range."""

    epochs: int
    batch_size: int  # at most; an epoch is cut into batches of nearly equal size
    optimizer: Optimizer  # decay adds to the gradient (adam) or shrinks the weights (adamw)
    learning_rate: float  # the highest, after warm-up
    weight_decay: float = 0.0  # of matrices and kernels, not of biases and norms
    warmup_epochs: int = 0  # linear, from near 0
    schedule: Schedule = "cosine"  # after warm-up: cosine to 0, or constant
    label_smoothing: float = 0.0
    gradient_clip: float = 0.0  # highest norm of the whole gradient; 0: none
    shift: int = 0  # pixels at most, in both directions
    flip: bool = False  # left to right
    crop_min_area: float = 1.0  # random resized crop of this share of the area or more; 1: none
    cutmix: bool = False  # on each batch

    def __post_init__(self) -> None:
        checks = {
            "epochs": self.epochs >= 1,
            "batch_size": self.batch_size >= 1,
            "optimizer": self.optimizer in get_args(Optimizer),
            "learning_rate": self.learning_rate > 0,
            "weight_decay": self.weight_decay >= 0,
            "warmup_epochs": 0 <= self.warmup_epochs <= self.epochs,
            "schedule": self.schedule in get_args(Schedule),
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "gradient_clip": self.gradient_clip >= 0,
            "shift": self.shift >= 0,
            "crop_min_area": 0 < self.crop_min_area <= 1,
        }
        if wrong := [f"{name} {getattr(self, name)!r}" for name, ok in checks.items() if not ok]:
            raise UserError(f"recipe: out of range: {', '.join(wrong)}; see config/README.md")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Return the recipe of a config's mapping.

        Raises:
            UserError: a key is unknown or missing, or a value of the wrong kind or out of range.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UserError(
                f"recipe: unknown {', '.join(unknown)}; the keys are {', '.join(sorted(known))}"
            )
        needed = ("epochs", "batch_size", "optimizer", "learning_rate")
        if missing := [name for name in needed if name not in values]:
            raise UserError(f"recipe: {', '.join(missing)} must be given")
        try:
            return cls(**values)
        except TypeError as error:
            raise UserError(f"recipe: a value is of the wrong kind: {error}") from error


class Batch(NamedTuple):
    """Normalised images (n, 3, h, w) and what they show; `share` < 1 after CutMix."""

    images: Tensor
    labels: Tensor
    pasted_labels: Tensor
    share: float


class Batches:
    """Serve the training images of an epoch in random order, augmented.

    All images lie in memory as uint8: n * h * w * 3 bytes (15 GB for 100 000 of 224 pixels).
    `train` asks only for `len()` and `epoch()`, so a reader that streams shards can stand in.
    """

    def __init__(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], recipe: Recipe
    ) -> None:
        self.images, self.labels = torch.from_numpy(images), torch.from_numpy(labels)
        self.recipe = recipe

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return math.ceil(len(self.images) / self.recipe.batch_size)

    def epoch(self, seed: int, device: torch.device) -> Iterator[Batch]:
        """Yield each image once; order and augmentation depend on `seed` alone."""
        rng = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.images), generator=rng)
        # Nearly equal parts, because a last batch of one or two would upset the batch norms.
        for chosen in order.tensor_split(len(self)):
            images = normalise(self.images[chosen].to(device))
            labels = self.labels[chosen].to(device)
            yield self._augment(images, labels, rng)

    def _augment(self, images: Tensor, labels: Tensor, rng: torch.Generator) -> Batch:
        recipe = self.recipe
        if recipe.crop_min_area < 1:
            images = augmentation.random_resized_crop(images, recipe.crop_min_area, rng)
        if recipe.shift:
            images = augmentation.shift(images, recipe.shift, rng)
        if recipe.flip:
            images = augmentation.flip(images, rng)
        if recipe.cutmix:
            images, pasted, share = augmentation.cutmix_batch(images, labels, rng)
            return Batch(images, labels, pasted, share)
        return Batch(images, labels, labels, 1.0)


@dataclass
class History:
    """A number for each epoch, and the epoch (from 0) whose weights were kept."""

    train_loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)  # cross-entropy without smoothing
    val_top1: list[float] = field(default_factory=list)  # 0..1

    @property
    def best_epoch(self) -> int:
        """The epoch of the lowest validation loss, the earliest of equals."""
        return self.val_loss.index(min(self.val_loss))

    def as_json(self) -> dict[str, Any]:
        """Return all of it for a JSON file."""
        return asdict(self) | {"best_epoch": self.best_epoch}


def train(
    model: nn.Module,
    train_images: NDArray[np.uint8],
    train_labels: NDArray[np.int64],
    val_images: NDArray[np.uint8],
    val_labels: NDArray[np.int64],
    recipe: Recipe,
    seed: int,
    checkpoint: Checkpoint,
    device: torch.device,
) -> History:
    """Train `model` in place; at the end it holds the weights of the lowest validation loss.

    Images are (n, h, w, 3), labels (n,). Takes up the state in `checkpoint`, if there is one, and
    saves one at the end of an epoch when it is due or a signal to stop has come.

    Raises:
        UserError: no images to train or validate on, or the loss is no longer finite.
    """
    if not len(train_images) or not len(val_images):
        raise UserError("a classifier needs one image or more to train and to validate on")
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = Batches(train_images, train_labels, recipe)
    val_inputs, val_targets = torch.from_numpy(val_images), torch.from_numpy(val_labels)
    optimizer = _optimizer(model, recipe)
    history, best = History(), {}

    if state := checkpoint.load():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        history, best = History(**state["history"]), state["best"]

    done = len(history.val_loss)
    with Progress(recipe.epochs, "epochs", done) as progress, stopping.deferred():
        for epoch in range(done, recipe.epochs):
            loss = _train_epoch(model, optimizer, batches, recipe, epoch, seed, device)
            logits = in_batches(model, model, val_inputs, recipe.batch_size)
            val_loss = float(F.cross_entropy(logits, val_targets))
            if not math.isfinite(loss + val_loss):
                raise UserError(
                    f"training diverged in epoch {epoch}: the loss is not finite; lower the "
                    "recipe's learning_rate or set gradient_clip"
                )
            history.train_loss.append(loss)
            history.val_loss.append(val_loss)
            history.val_top1.append(float((logits.argmax(1) == val_targets).float().mean()))
            if history.best_epoch == epoch:
                best = {name: value.cpu().clone() for name, value in model.state_dict().items()}
            if checkpoint.due():
                checkpoint.save(
                    {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "history": asdict(history),
                        "best": best,
                    }
                )
            progress.update(1, f"validation loss {val_loss:.3f}")

    model.load_state_dict(best)
    model.eval()
    return history


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of optimizer step `step`, counted from 0."""
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    if recipe.schedule == "constant":
        return recipe.learning_rate
    progress = (step - warmup) / (recipe.epochs * steps_per_epoch - warmup)
    return recipe.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    kinds: dict[str, type[torch.optim.Adam]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return kinds[recipe.optimizer](groups, lr=recipe.learning_rate, fused=True)


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    recipe: Recipe,
    epoch: int,
    seed: int,
    device: torch.device,
) -> float:
    """Take one step for each batch; return the mean loss of the epoch's images."""
    model.train()
    epoch_seed = derive_seed(seed, "epoch", epoch)
    total, count = torch.zeros((), device=device), 0
    with torch.random.fork_rng():
        torch.manual_seed(epoch_seed)  # for dropout and stochastic depth
        for index, batch in enumerate(batches.epoch(epoch_seed, device)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, epoch * len(batches) + index, len(batches))
            loss = _loss(model(batch.images), batch, recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            if recipe.gradient_clip:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
            optimizer.step()
            total += loss.detach() * len(batch.labels)
            count += len(batch.labels)
    return float(total) / count


def _loss(logits: Tensor, batch: Batch, smoothing: float) -> Tensor:
    loss = F.cross_entropy(logits, batch.labels, label_smoothing=smoothing)
    if batch.share == 1:
        return loss
    pasted = F.cross_entropy(logits, batch.pasted_labels, label_smoothing=smoothing)
    return batch.share * loss + (1 - batch.share) * pasted
