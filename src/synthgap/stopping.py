"""Stopping on SIGTERM without losing work.

Slurm sends it ahead of a time limit, on preemption and on `scancel`, and kills some seconds later.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """The process was told to stop. No `Exception`, so that only `synthgap.job.run` catches it."""


_asked = False
_deferred = 0


def listen() -> None:
    """From now on, SIGTERM raises `Stopped` in the main thread, or waits inside `deferred`."""
    signal.signal(signal.SIGTERM, _stop)


@contextmanager
def deferred() -> Iterator[None]:
    """Inside, SIGTERM does nothing but set `asked`: for work that first has to save its state."""
    global _deferred
    _deferred += 1
    try:
        yield
    finally:
        _deferred -= 1
    if _asked and not _deferred:
        raise Stopped


def asked() -> bool:
    """Say whether the process was told to stop."""
    return _asked


def _stop(_number: int, _frame: FrameType | None) -> None:
    global _asked
    _asked = True
    if not _deferred:
        raise Stopped
