"""Checkpoints of long training: saved now and then and when told to stop, found again later."""

import io
import time
from pathlib import Path
from typing import Any

import torch

from synthgap import stopping
from synthgap.atomic import read_sealed, write_sealed


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
        """
        self.write(state)
        if stopping.asked():
            raise stopping.Stopped

    def write(self, state: dict[str, Any]) -> None:
        """Replace the state, as `save` does, and go on even if a signal to stop came."""
        # By way of memory: torch tells of a full disk in words that nobody understands.
        content = io.BytesIO()
        torch.save(state, content)
        write_sealed(self.path, content.getvalue())
        self.passed()

    def passed(self) -> None:
        """Count from now on: another process has saved the state that all share."""
        self._saved = time.monotonic()
