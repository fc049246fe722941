"""Faults of numbers that tests put into a training."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.optim.optimizer import register_optimizer_step_pre_hook


@contextmanager
def nan_gradient_in_step(number: int) -> Iterator[None]:
    """Inside, one number of the gradient of an optimizer's step is NaN; the first step is 1."""
    steps = []

    def spoil(optimizer, args, kwargs):
        steps.append(None)
        if len(steps) == number:
            optimizer.param_groups[0]["params"][0].grad.view(-1)[0] = float("nan")

    handle = register_optimizer_step_pre_hook(spoil)
    try:
        yield
    finally:
        handle.remove()
