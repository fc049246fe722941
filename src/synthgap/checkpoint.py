"""Checkpoints of long training: saved now and then and when told to stop, found again later."""

import io
import time
from pathlib import Path
from typing import Any

import torch

from synthgap import stopping
from synthgap.atomic import read_sealed, write_sealed
from synthgap.errors import UserError


class Checkpoint:
    """One state in a scratch folder, replaced atomically.

    The folder must be named after everything that shapes the result (`synthgap.job.scratch_folder`
    does), so that a state is never taken up by a job with other settings.
    """

    def __init__(self, folder: Path, every_seconds: float) -> None:
        self.path = Path(folder) / "checkpoint.pt"
        self.every_seconds = every_seconds
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, or None where there is none that is whole."""
        if (content := read_sealed(self.path)) is None:
            return None
        state: dict[str, Any] = torch.load(
            io.BytesIO(content), map_location="cpu", weights_only=True
        )
        return state

    def due(self) -> bool:
        """Say whether `every_seconds` have passed since the last save, or a signal to stop came."""
        return stopping.asked() or time.monotonic() - self._saved >= self.every_seconds

    def save(self, state: dict[str, Any]) -> None:
        """Replace the state: tensors, numbers and strings in dicts and lists.

        Raises:
            Stopped: a signal to stop came; the state is saved.
            UserError: a tensor holds NaN or infinity; the state before stays.
        """
        self.write(state)
        if stopping.asked():
            raise stopping.Stopped

    def write(self, state: dict[str, Any]) -> None:
        """Replace the state, as `save` does, and go on even if a signal to stop came."""
        require_finite(state)
        # By way of memory: torch tells of a full disk in words that nobody understands.
        content = io.BytesIO()
        torch.save(state, content)
        write_sealed(self.path, content.getvalue())
        self.passed()

    def passed(self) -> None:
        """Count from now on: another process has saved the state that all share."""
        self._saved = time.monotonic()


def require_finite(state: Any, name: str = "") -> None:
    """Refuse weights, and what goes with them, that are no numbers.

    Args:
        state: a tensor, or tensors and other things in dicts and lists.
        name: of it.

    Raises:
        UserError: a tensor holds NaN or infinity; with its name.
    """
    if isinstance(state, torch.Tensor):
        if state.is_floating_point() and not state.isfinite().all():
            raise UserError(
                f"training diverged: `{name}` is NaN or infinite; what was saved before is kept, "
                "and the same command goes on from there. If it says so again, a smaller learning "
                "rate, a longer warm-up or float32 may help"
            )
    elif isinstance(state, dict):
        for key, one in state.items():
            require_finite(one, f"{name}.{key}" if name else str(key))
    elif isinstance(state, list | tuple):
        for number, one in enumerate(state):
            require_finite(one, f"{name}.{number}")
