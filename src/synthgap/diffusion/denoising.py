"""Training of a denoiser on latents and text embeddings: paper B's, in one process or many."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from synthgap import processes, stopping
from synthgap.checkpoint import Checkpoint, require_finite
from synthgap.diffusion.layers import crop_mask, from_patches
from synthgap.diffusion.mixture import Batch, Mixture
from synthgap.diffusion.objectives import Objective
from synthgap.errors import UserError
from synthgap.progress import Progress

# Batches that are read at once: from a disk, one alone takes longer than a step of a fast GPU.
AHEAD = 3


@dataclass(frozen=True)
class Recipe:
    """How a denoiser is trained; defaults are those of paper B's public code.

    Attributes:
        steps: optimiser steps in all.
        micro_batch: places of the batch that a process takes at once; None: all of its share.
        warmup_steps: over which the learning rate grows; then it falls as a cosine to nothing,
            or stays, by `schedule`.
        ema_decay: of the moving average that is saved (1 - 1/n averages some n steps).
        self_conditioning: how often CAD-I starts from what it made of the same input before.
        log_every: steps between entries of the history.
    """

    steps: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = 5000
    schedule: str = "constant"
    gradient_clip: float = 2.0
    ema_decay: float = 0.9999
    self_conditioning: float = 0.9
    precision: str = "float32"
    micro_batch: int | None = None
    compile: bool = False
    log_every: int = 50
    seed: int = 0


@dataclass(frozen=True)
class Logged:
    """One entry of the history: means since the one before."""

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float


class MovingAverage:
    """Exponential moving average of parameters, with a ramp at the start."""

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.live, self.decay = list(parameters), decay
        self.average = [p.detach().clone() for p in self.live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the live parameters after optimiser step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.live], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the live parameters and their average."""
        kept = [p.detach().clone() for p in self.live]
        torch._foreach_copy_([p.detach() for p in self.live], self.average)
        torch._foreach_copy_(self.average, kept)


def train(
    model: nn.Module,
    mixture: Mixture,
    objective: Objective,
    recipe: Recipe,
    checkpoint: Checkpoint,
    *,
    device: str = "cpu",
    watch: Callable[[int, nn.Module], None] | None = None,
    watch_at: Set[int] = frozenset(),
) -> list[Logged]:
    """Train in place; the model ends with the moving average of its weights.

    Each process of a group (`processes.group`) calls this with the same arguments and a device of
    its own, and they share each batch. One that is killed goes on from its last checkpoint and
    ends with the same weights.

    Args:
        model: DiT-I, CAD-I or another of their signature.
        watch: called by the first process with the number of steps done and the averaged model,
            after those of `watch_at` and at the end.

    Returns:
        The history.

    Raises:
        UserError: the loss is not finite, or the batch cannot be shared evenly.
    """
    training = _Training(model.to(device), mixture, objective, recipe, device)
    history = training.take_up(checkpoint.load())
    with Progress(recipe.steps, "steps", done=training.done) as progress, stopping.deferred():
        for batch in training.batches():
            training.step(batch)
            done = training.done
            if done % recipe.log_every == 0 or done == recipe.steps:
                history.append(training.entry())
                progress.update(done - progress.count, note=f"loss {history[-1].loss:.4f}")
            seen = done in watch_at and done < recipe.steps
            if seen and watch is not None and training.rank == 0:
                with training.averaged() as model_now:
                    watch(done, model_now)
            training.save_if_due(checkpoint, history)
    training.average.swap()
    if training.rank == 0:  # all have the same weights, and one tells
        require_finite(model.state_dict())
    model.eval()
    if watch is not None and training.rank == 0:
        watch(recipe.steps, model)
    processes.wait()
    return history


class _Training:
    """The state of a training, and one step of it."""

    def __init__(
        self,
        model: nn.Module,
        mixture: Mixture,
        objective: Objective,
        recipe: Recipe,
        device: str,
    ) -> None:
        joined = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = torch.distributed.get_rank() if joined else 0
        self.world = torch.distributed.get_world_size() if joined else 1
        if mixture.size % self.world:
            raise UserError(
                f"batch_size: {mixture.size} images cannot be shared by {self.world} processes"
            )
        self.model, self.mixture, self.objective = model, mixture, objective
        self.recipe, self.device, self.done = recipe, device, 0
        model.train()
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = _optimizer(model, recipe, device)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.average = MovingAverage(self.parameters, recipe.ema_decay)
        runner: nn.Module = model
        if self.world > 1:
            ids = [torch.device(device).index] if device.startswith("cuda") else None
            runner = DistributedDataParallel(model, device_ids=ids)
        self.runner: Any = torch.compile(runner) if recipe.compile else runner
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []

    def take_up(self, state: dict[str, Any] | None) -> list[Logged]:
        """Go on from a checkpoint, if there is one; return its history."""
        if state is None:
            return []
        self.done = state["done"]
        self.model.load_state_dict(state["model"])
        self.average.average = [tensor.to(self.device) for tensor in state["average"]]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self._losses = [torch.tensor(value) for value in state["losses"]]
        self._norms = [torch.tensor(value) for value in state["norms"]]
        return [Logged(**entry) for entry in state["history"]]

    def batches(self) -> Iterator[Batch]:
        """Yield this process's share of each batch to come, read some steps ahead."""
        share = self.mixture.size // self.world
        mine = slice(self.rank * share, (self.rank + 1) * share)

        def read(step: int) -> Batch:
            batch = self.mixture.batch(self.mixture.places(step)[mine])
            return batch.each(torch.Tensor.pin_memory) if "cuda" in self.device else batch

        steps = iter(range(self.done, self.recipe.steps))
        with ThreadPoolExecutor(AHEAD) as readers:
            ahead = deque(readers.submit(read, step) for step in islice(steps, AHEAD))
            while ahead:
                batch = ahead.popleft().result()
                ahead.extend(readers.submit(read, step) for step in islice(steps, 1))
                yield batch

    def step(self, batch: Batch) -> None:
        """Take one step of the optimiser."""
        count = len(batch.clean)
        size = min(self.recipe.micro_batch or count, count)
        pieces = [range(start, min(start + size, count)) for start in range(0, count, size)]
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for piece in pieces:
            # Gradients are shared between processes once, with the last part.
            alone = self.world > 1 and piece is not pieces[-1]
            with self.runner.no_sync() if alone else contextlib.nullcontext():
                part = _part(batch, piece, self.device)
                loss = self._loss(part) * (len(piece) / count)
                loss.backward()
            total += loss.detach()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe.gradient_clip or float("inf"))
        self.optimizer.step()
        self.schedule.step()
        self.average.update(self.done)
        self.done += 1
        self._losses.append(total)
        self._norms.append(norm.detach())

    def entry(self) -> Logged:
        """Return the means since the last entry.

        Raises:
            UserError: the loss is no number.
        """
        loss = float(
            processes.mean_of(torch.stack([x.to(self.device) for x in self._losses]).mean())
        )
        norm = float(torch.stack([x.to(self.device) for x in self._norms]).mean())
        self._losses, self._norms = [], []
        if not torch.tensor(loss).isfinite():
            raise UserError(
                f"the loss is {loss} after {self.done} steps; a smaller learning_rate, a longer "
                "warmup_steps or float32 may help"
            )
        return Logged(self.done, loss, norm, self.optimizer.param_groups[0]["lr"])

    @contextlib.contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """Inside, the model has its averaged weights."""
        self.average.swap()
        self.model.eval()
        try:
            yield self.model
        finally:
            self.average.swap()
            self.model.train()

    def save_if_due(self, checkpoint: Checkpoint, history: list[Logged]) -> None:
        """Save the state where it is time, or a signal came to any process."""
        # Processes agree on it at the same steps, which costs them a meeting.
        if self.world > 1 and self.done % 10 and self.done != self.recipe.steps:
            return
        if not processes.any_of(checkpoint.due(), self.device):
            return
        stop = processes.any_of(stopping.asked(), self.device)
        state = {
            "done": self.done,
            "model": self.model.state_dict(),
            "average": self.average.average,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "losses": [float(value) for value in self._losses],
            "norms": [float(value) for value in self._norms],
            "history": [vars(entry) for entry in history],
        }
        if self.rank == 0:
            checkpoint.write(state)
        processes.wait()
        checkpoint.passed()
        if stop:
            raise stopping.Stopped

    def _rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, self.recipe.warmup_steps))
        if self.recipe.schedule == "constant":
            return warm
        left = torch.tensor(step / self.recipe.steps * torch.pi)
        return warm * float(0.5 + 0.5 * left.cos())

    def _loss(self, batch: Batch) -> Tensor:
        """Return the mean squared error over what is seen of each image, then over images."""
        noisy = self.objective.noisy(batch.clean, batch.noise, batch.timesteps)
        given = {
            "encoder_hidden_states": batch.text,
            "timestep": batch.timesteps,
            "encoder_attention_mask": batch.mask,
            "return_dict": False,
        }
        if batch.crop is not None:
            given["crop"] = batch.crop
        reduced = self.recipe.precision == "bfloat16"
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=reduced):
            if getattr(self.model.config, "num_latents", None):
                given["previous"] = self._previous(noisy, given, batch.chance)
            predicted = self.runner(noisy, **given)[0].float()
        error = (predicted - self.objective.target(batch.clean, batch.noise)).square()
        if batch.crop is None:
            mean: Tensor = error.mean()
            return mean
        config: Any = self.model.config
        size = int(config.patch_size)
        height, width = noisy.shape[-2:]
        inside = crop_mask(batch.crop, height // size, width // size)
        patches = inside[:, :, None].expand(-1, -1, size * size).float()
        seen = from_patches(patches, size, height, width)
        shares = seen.sum((1, 2, 3)) * error.shape[1]
        of_seen: Tensor = ((error * seen).sum((1, 2, 3)) / shares).mean()
        return of_seen

    def _previous(self, noisy: Tensor, given: dict[str, Any], chance: Tensor) -> Tensor:
        """Return what CAD-I makes of the same input from nothing, for some places of the batch."""
        with torch.no_grad():
            latents: Tensor = self.model(noisy, **given)[1]
        return latents * (chance < self.recipe.self_conditioning)[:, None, None]


def _part(batch: Batch, places: range, device: str) -> Batch:
    """Return some places of a batch on a device, where texts become float32."""
    cut = slice(places.start, places.stop)
    part = batch.each(lambda tensor: tensor[cut].to(device, non_blocking=True))
    return part._replace(text=part.text.float())


def _optimizer(model: nn.Module, recipe: Recipe, device: str) -> torch.optim.AdamW:
    """Return AdamW; norms, biases and other vectors are not decayed."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, fused=True)
