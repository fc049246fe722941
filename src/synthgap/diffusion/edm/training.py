"""Training of an EDM model, as in EDM's appendix F.2 and table 7."""

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from synthgap import stopping
from synthgap.checkpoint import Checkpoint, require_finite
from synthgap.diffusion.denoising import Logged, MovingAverage
from synthgap.diffusion.edm.augmentation import augment
from synthgap.diffusion.edm.batches import Batch, Batches
from synthgap.diffusion.edm.network import EDMUNet
from synthgap.errors import UserError
from synthgap.progress import Progress
from synthgap.seeds import derive_seed


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; lengths are in thousands of images seen, as EDM counts.

    Attributes:
        kimg: in all, rounded up to whole batches.
        lr_rampup_kimg: over which the learning rate grows, evenly, to `learning_rate`, and stays.
        ema_halflife_kimg: after which an old weight counts half in the average that is saved.
        ema_rampup_ratio: half-lives are at most this share of what was seen so far.
        micro_batch: images that pass at once; None: all of a batch.
        log_every: steps between entries of the history.
    """

    kimg: float
    learning_rate: float = 1e-3
    lr_rampup_kimg: float = 10_000
    ema_halflife_kimg: float = 500
    ema_rampup_ratio: float = 0.05
    precision: str = "float32"
    micro_batch: int | None = None
    compile: bool = False
    log_every: int = 50
    seed: int = 0

    def steps(self, batch: int) -> int:
        """Return the optimiser steps of batches of so many images."""
        return -(-round(self.kimg * 1000) // batch)


def ema_decay(seen: int, batch: int, halflife: float, rampup: float) -> float:
    """Return what a batch leaves of the average before it.

    Args:
        seen: images, this batch's included.
        batch: images of this batch.
        halflife: in images, at most `rampup` of those seen.
    """
    halflife = min(halflife, rampup * seen)
    return float(0.5 ** (batch / halflife)) if halflife else 0.0


class HalfLife(MovingAverage):
    """The moving average of weights by the half-life of what they were."""

    def __init__(self, parameters: Sequence[Tensor], recipe: Recipe, batch: int) -> None:
        super().__init__(parameters, 0.0)
        self.recipe, self.batch = recipe, batch

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the live parameters after optimiser step `step` (from 0)."""
        seen, halflife = (step + 1) * self.batch, self.recipe.ema_halflife_kimg * 1000
        decay = ema_decay(seen, self.batch, halflife, self.recipe.ema_rampup_ratio)
        torch._foreach_lerp_(self.average, [p.detach() for p in self.live], 1 - decay)


def train(
    model: EDMUNet, batches: Batches, recipe: Recipe, checkpoint: Checkpoint, device: str = "cpu"
) -> list[Logged]:
    """Train in place; the model ends with the moving average of its weights.

    One that is killed goes on from its last checkpoint and ends with the same weights.

    Returns:
        The history.

    Raises:
        UserError: the loss is not finite.
    """
    training = _Training(model.to(device), batches, recipe, device)
    history = training.take_up(checkpoint.load())
    with Progress(training.steps, "steps", done=training.done) as progress, stopping.deferred():
        for batch in training.batches():
            training.step(batch)
            done = training.done
            if done % recipe.log_every == 0 or done == training.steps:
                history.append(training.entry())
                progress.update(done - progress.count, note=f"loss {history[-1].loss:.4f}")
            if checkpoint.due():
                checkpoint.save(training.state(history))
    training.average.swap()
    require_finite(model.state_dict())
    return history


class _Training:
    """The state of a training, and one step of it."""

    def __init__(self, model: EDMUNet, batches: Batches, recipe: Recipe, device: str) -> None:
        self.model, self.source, self.recipe, self.device = model, batches, recipe, device
        self.steps, self.done = recipe.steps(batches.size), 0
        model.train()
        self.parameters = list(model.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=recipe.learning_rate, fused=True)
        self.average = HalfLife(self.parameters, recipe, batches.size)
        self.network: Any = torch.compile(model) if recipe.compile else model
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []

    def batches(self) -> Iterator[Batch]:
        """Yield the batches to come, each made while the one before is learnt from."""
        pinned = "cuda" in self.device

        def read(step: int) -> Batch:
            batch = self.source.batch(step)
            return batch.each(torch.Tensor.pin_memory) if pinned else batch

        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(read, self.done)
            for step in range(self.done, self.steps):
                batch = ahead.result()
                if step + 1 < self.steps:
                    ahead = reader.submit(read, step + 1)
                yield batch

    def step(self, batch: Batch) -> None:
        """Take one step of Adam."""
        count = len(batch.clean)
        size = min(self.recipe.micro_batch or count, count)
        self.optimizer.param_groups[0]["lr"] = self._rate()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        with self._dropout():
            for start in range(0, count, size):
                here = slice(start, start + size)
                part = _part(batch, here, self.device)
                loss = self._loss(part) * (len(part.clean) / count)
                loss.backward()
                total += loss.detach()
        self._losses.append(total)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        self._norms.append(torch.nn.utils.get_total_norm(gradients))
        self.optimizer.step()
        self.average.update(self.done)
        self.done += 1

    def _loss(self, part: Batch) -> Tensor:
        reduced = self.recipe.precision == "bfloat16"

        def network(noisy: Tensor, noise: Tensor) -> Tensor:
            with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=reduced):
                found: Tensor = self.network(noisy, noise, part.source, part.label, part.augmented)
            return found.float()

        # Here and not while reading: a GPU does it in no time.
        clean = augment(part.clean, part.augmented) if self.source.augmentation else part.clean
        return self.source.preconditioning.loss(network, clean, part.noise, part.sigma)

    @contextlib.contextmanager
    def _dropout(self) -> Iterator[None]:
        """Inside, what torch draws by itself is the step's, and nobody else's draws change."""
        devices = [torch.device(self.device)] if "cuda" in self.device else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive_seed(self.recipe.seed, "dropout", self.done))
            yield

    def _rate(self) -> float:
        seen = self.done * self.source.size / 1000
        ramp = self.recipe.lr_rampup_kimg
        return self.recipe.learning_rate * (min(1.0, seen / ramp) if ramp else 1.0)

    def entry(self) -> Logged:
        """Return the means since the last entry.

        Raises:
            UserError: the loss is no number.
        """
        loss = float(torch.stack(self._losses).mean())
        norm = float(torch.stack(self._norms).mean())
        self._losses, self._norms = [], []
        if not torch.tensor(loss).isfinite():
            raise UserError(
                f"the loss is {loss} after {self.done} steps; a smaller learning_rate or a longer "
                "lr_rampup_kimg may help"
            )
        return Logged(self.done, loss, norm, self.optimizer.param_groups[0]["lr"])

    def state(self, history: Sequence[Logged]) -> dict[str, Any]:
        """Return all that `take_up` needs."""
        return {
            "done": self.done,
            "model": self.model.state_dict(),
            "average": self.average.average,
            "optimizer": self.optimizer.state_dict(),
            "losses": [float(value) for value in self._losses],
            "norms": [float(value) for value in self._norms],
            "history": [asdict(entry) for entry in history],
        }

    def take_up(self, state: dict[str, Any] | None) -> list[Logged]:
        """Go on from a checkpoint, if there is one; return its history."""
        if state is None:
            return []
        self.done = state["done"]
        self.model.load_state_dict(state["model"])
        self.average.average = [tensor.to(self.device) for tensor in state["average"]]
        self.optimizer.load_state_dict(state["optimizer"])
        self._losses = [torch.tensor(value, device=self.device) for value in state["losses"]]
        self._norms = [torch.tensor(value, device=self.device) for value in state["norms"]]
        return [Logged(**entry) for entry in state["history"]]


def _part(batch: Batch, here: slice, device: str) -> Batch:
    """Return some places of a batch on a device."""
    return batch.each(lambda part: part[here].to(device, non_blocking=True))
