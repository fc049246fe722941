"""Train a classifier, keeping the weights with the lowest validation loss.

Source: paper A, section 4.1. A training that is killed and started again gives the same weights,
bit for bit, as an undisturbed one: whatever is random in an epoch derives from (seed, epoch).
"""

import logging
import math
from collections.abc import Callable, Iterator, Set
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from synthgap import stopping
from synthgap.checkpoint import Checkpoint
from synthgap.classifiers.batches import Batch, Batches
from synthgap.classifiers.evaluation import in_batches
from synthgap.classifiers.recipe import Recipe
from synthgap.classifiers.semi_supervised import PairedBatch, PairedBatches, PairedLoss
from synthgap.data.decoded import Images
from synthgap.data.labels import FewLabels
from synthgap.devices import is_too_large
from synthgap.errors import UserError
from synthgap.progress import Progress
from synthgap.seeds import derive_seed

log = logging.getLogger("synthgap")

Weights = dict[str, Tensor]


@dataclass
class History:
    """A number for each epoch, and the epoch (from 0) whose weights were kept."""

    learning_rate: list[float] = field(default_factory=list)  # of the epoch's last step
    train_loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)  # cross-entropy without smoothing
    val_top1: list[float] = field(default_factory=list)  # 0..1
    micro_batch: list[int] = field(default_factory=list)  # images at once on the device, at most

    def __len__(self) -> int:
        """Epochs done."""
        return len(self.val_loss)

    @property
    def best_epoch(self) -> int:
        """The epoch of the lowest validation loss, the earliest of equals."""
        return self.val_loss.index(min(self.val_loss))

    def as_table(self) -> pa.Table:
        """Return a row for each epoch; the metadata `best_epoch` names that of the weights."""
        columns = {"epoch": list(range(len(self)))} | asdict(self)
        return pa.table(columns, metadata={"best_epoch": str(self.best_epoch)})


def train(
    model: nn.Module,
    train_images: Images,
    train_labels: NDArray[np.int64],
    val_images: Images,
    val_labels: NDArray[np.int64],
    recipe: Recipe,
    seed: int,
    checkpoint: Checkpoint,
    device: torch.device,
    pool: Executor | None = None,
    few: FewLabels | None = None,
) -> tuple[History, Weights]:
    """Train `model` in place; at the end it holds the weights of the lowest validation loss.

    Takes up the state in `checkpoint`, if there is one, and saves one at the end of an epoch when
    it is due or a signal to stop has come. A batch for which the device has no room is cut into
    halves whose gradients add up, and the epoch is begun anew.

    Args:
        train_images, val_images: (n, h, w, 3); the latter in the size that the network sees.
        train_labels, val_labels: (n,).
        pool: threads that read and crop images; the caller does where there is none.
        few: whose labels are known; needed where the recipe is semi-supervised.

    Returns:
        What happened, and the weights after the last epoch.

    Raises:
        UserError: no images to train or validate on; the loss is no longer finite, in which case
            the checkpoint holds the last epoch before; a single image is too much for the device.
    """
    if not len(train_images) or not len(val_images):
        raise UserError("a classifier needs one image or more to train and to validate on")
    batches: Served = Batches(train_images, train_labels, recipe, pool)
    loss: Loss = MixedLoss(recipe.label_smoothing)
    if recipe.semi_supervised:
        assert few is not None
        batches = PairedBatches(train_images, train_labels, few, recipe, pool)
        loss = PairedLoss(recipe, few)
    return fit(
        model,
        batches,
        lambda model, size: in_batches(model, model, val_images, size),
        torch.from_numpy(val_labels),
        recipe,
        seed,
        checkpoint,
        device,
        loss,
    )


class Served(Protocol):
    """What a training takes its batches from."""

    @property
    def images_a_step(self) -> int:
        """The most that a batch has."""

    def __len__(self) -> int:
        """Batches an epoch."""

    def epoch(self, seed: int, device: torch.device) -> Iterator[Batch | PairedBatch]:
        """Yield the batches of an epoch; the seed alone decides what is drawn."""


class Loss(Protocol):
    """What a training minimises, and what it has learnt of that on the way."""

    def __call__(self, network: Callable[[Tensor], Tensor], part: Any, whole: Any) -> Tensor:
        """Return what a part of a batch adds to the batch's mean loss."""

    def state_dict(self) -> dict[str, Any]:
        """Return what changes from step to step."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state."""


class MixedLoss:
    """Cross-entropy; of mixed images, that of both labels by their shares."""

    def __init__(self, smoothing: float) -> None:
        self.smoothing = smoothing

    def __call__(self, network: Callable[[Tensor], Tensor], part: Batch, whole: Batch) -> Tensor:
        logits = network(part.images)
        loss = F.cross_entropy(logits, part.labels, label_smoothing=self.smoothing)
        if part.share != 1:
            pasted = F.cross_entropy(logits, part.pasted_labels, label_smoothing=self.smoothing)
            loss = part.share * loss + (1 - part.share) * pasted
        return loss * (len(part.labels) / len(whole.labels))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def fit(
    model: nn.Module,
    batches: Served,
    validate: Callable[[nn.Module, int], Tensor],
    targets: Tensor,
    recipe: Recipe,
    seed: int,
    checkpoint: Checkpoint,
    device: torch.device,
    loss: Loss | None = None,
) -> tuple[History, Weights]:
    """Do what `train` does, on batches from anywhere.

    Args:
        validate: logits (n, classes) on the CPU of all validation samples, by the model and the
            number of samples at once.
        targets: classes of the validation samples, (n,).
        loss: cross-entropy by default.
    """
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = _Run(model, batches, loss or MixedLoss(recipe.label_smoothing), recipe, seed, device)
    if state := checkpoint.load():
        run.restore(state)
    with Progress(recipe.epochs, "epochs", len(run.history)) as progress, stopping.deferred():
        before = run.state()
        while (epoch := len(run.history)) < recipe.epochs:
            too_large = ""
            try:
                train_loss = run.epoch(epoch)
                with run.averaged():
                    logits = validate(model, run.micro_batch)
                    seen = _copied(model.state_dict())
            except RuntimeError as error:
                if not is_too_large(error):
                    raise
                too_large = str(error).splitlines()[0]
            if too_large:  # out here, as the error holds on to what is on the device
                run.restore(before)
                run.halve(too_large)
                before = run.state()
                continue
            history, val_loss = run.history, float(F.cross_entropy(logits, targets))
            if not math.isfinite(train_loss + val_loss):
                raise _diverged(epoch, before, checkpoint)
            history.learning_rate.append(run.rate)
            history.train_loss.append(train_loss)
            history.val_loss.append(val_loss)
            history.val_top1.append(float((logits.argmax(1) == targets).float().mean()))
            history.micro_batch.append(run.micro_batch)
            if history.best_epoch == epoch:
                run.best = seen
            before = run.state()
            if checkpoint.due():
                checkpoint.save(before)
            progress.update(1, f"validation loss {val_loss:.3f}")

    with run.averaged():
        last = _copied(model.state_dict())
    model.load_state_dict(run.best)
    model.eval()
    return run.history, last


def _diverged(epoch: int, before: dict[str, Any], checkpoint: Checkpoint) -> UserError:
    kept = "no epoch before it was any good"
    if epoch:
        checkpoint.save(before)
        kept = f"epoch {epoch - 1}, the last good one, is kept in {checkpoint.path}"
    return UserError(
        f"training diverged in epoch {epoch}: the loss is not finite; {kept}. Lower the recipe's "
        "learning_rate or set gradient_clip"
    )


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of optimizer step `step`, counted from 0."""
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    if recipe.schedule == "constant":
        return recipe.learning_rate
    progress = (step - warmup) / (recipe.epochs * steps_per_epoch - warmup)
    return recipe.learning_rate * (1 + math.cos(math.pi * progress)) / 2


class _Run:
    """All that changes in a training: the model, its optimizer, what was seen and kept."""

    def __init__(
        self,
        model: nn.Module,
        batches: Served,
        loss: Loss,
        recipe: Recipe,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model, self.batches, self.loss = model, batches, loss
        self.recipe, self.seed, self.device = recipe, seed, device
        self.optimizer = _optimizer(model, recipe)
        self.history, self.best = History(), Weights()
        most = batches.images_a_step
        self.micro_batch = min(recipe.micro_batch or most, most)
        self.rate = 0.0
        self.average = dict(_copied(dict(model.named_parameters()))) if recipe.ema_decay else {}
        self._to_device()

    def _to_device(self) -> None:
        self.average = {name: one.to(self.device) for name, one in self.average.items()}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the model have the moving average of its weights, where the recipe has one."""
        own = {name: p.data for name, p in self.model.named_parameters()} if self.average else {}
        for name, parameter in self.model.named_parameters() if own else ():
            parameter.data = self.average[name]
        try:
            yield
        finally:
            for name, parameter in self.model.named_parameters() if own else ():
                parameter.data = own[name]

    def state(self) -> dict[str, Any]:
        """Return a copy on the CPU, for `restore` and for checkpoints."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "loss": self.loss.state_dict(),
            "history": asdict(self.history),
            "best": self.best,
            "average": self.average,
            "micro_batch": self.micro_batch,
        }
        copied: dict[str, Any] = _copied(state)
        return copied

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.loss.load_state_dict(_copied(state["loss"]))
        self.history = History(**_copied(state["history"]))
        self.best, self.micro_batch = state["best"], state["micro_batch"]
        self.average = _copied(state["average"])
        self._to_device()

    def halve(self, why: str) -> None:
        """Put half as many images on the device at once."""
        if self.micro_batch == 1:
            raise UserError(f"the device has no room for a step with a single image: {why}")
        self.optimizer.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.micro_batch = math.ceil(self.micro_batch / 2)
        log.warning(
            "the device has no room for the batch; going on with %d images at once, whose "
            "gradients add up (set the recipe's micro_batch to begin so)",
            self.micro_batch,
        )

    def epoch(self, epoch: int) -> float:
        """Take one step for each batch; return the mean loss of the epoch's images."""
        self.model.train()
        epoch_seed = derive_seed(self.seed, "epoch", epoch)
        total, count = torch.zeros((), device=self.device), 0
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(epoch_seed)  # for dropout and stochastic depth
            for index, batch in enumerate(self.batches.epoch(epoch_seed, self.device)):
                steps = len(self.batches)
                self.rate = learning_rate(self.recipe, epoch * steps + index, steps)
                total += self._step(batch) * len(batch.labels)
                count += len(batch.labels)
        return float(total) / count

    def _step(self, batch: Batch | PairedBatch) -> Tensor:
        """Return the batch's mean loss, before the step."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.optimizer.zero_grad()
        whole = torch.zeros((), device=self.device)
        for part in batch.parts(self.micro_batch):
            loss = self.loss(self._logits, part, batch)
            loss.backward()
            whole += loss.detach()
        if self.recipe.gradient_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
        self.optimizer.step()
        if self.average:
            weights = [p.detach() for p in self.model.parameters()]
            torch._foreach_lerp_(list(self.average.values()), weights, 1 - self.recipe.ema_decay)
        return whole

    def _logits(self, images: Tensor) -> Tensor:
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"
        ):
            logits: Tensor = self.model(images)
        return logits.float()


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    # Networks of timm name what is no matrix for all its dimensions: tokens, position embeddings.
    spared: Set[str] = getattr(model, "no_weight_decay", set)()
    decays: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        decays[parameter.ndim > 1 and name not in spared].append(parameter)
    groups = [
        {"params": decays[True], "weight_decay": recipe.weight_decay},
        {"params": decays[False], "weight_decay": 0.0},
    ]
    (first, second), rate = recipe.betas, recipe.learning_rate
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, rate, momentum=first, nesterov=first > 0, fused=True)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, rate, betas=(first, second), fused=True)


def _copied(tree: Any) -> Any:
    """Return dicts and lists of tensors and numbers as a copy of their own, on the CPU."""
    if isinstance(tree, Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_copied(value) for value in tree]
    return tree
