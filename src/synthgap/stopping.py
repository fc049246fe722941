"""Stopping on a signal without losing work.

Slurm sends SIGTERM on preemption and `scancel`, and kills some seconds later: its `srun` gives up
on a step that got one. Ahead of a time limit the profile has it send SIGURG, which all that stands
between Slurm and a job (`srun`, Snakemake, shells) ignores, and so the job has all of the time.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGURG)


class Stopped(BaseException):
    """The process was told to stop. No `Exception`, so that only `synthgap.job.run` catches it."""


_asked = False
_deferred = 0


def listen() -> None:
    """From now on, a signal raises `Stopped` in the main thread, or waits inside `deferred`."""
    for number in SIGNALS:
        signal.signal(number, _stop)


@contextmanager
def deferred() -> Iterator[None]:
    """Inside, a signal does nothing but set `asked`: for work that first has to save its state."""
    global _deferred
    _deferred += 1
    try:
        yield
    finally:
        _deferred -= 1
    if _asked and not _deferred:
        raise Stopped


@contextmanager
def at_once() -> Iterator[None]:
    """Inside, SIGTERM ends the process without Python, which some calls keep from being heard.

    For the main thread, where there is nothing to save.
    """
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def asked() -> bool:
    """Say whether the process was told to stop."""
    return _asked


def _stop(_number: int, _frame: FrameType | None) -> None:
    global _asked
    if _asked:
        return  # what ends already is not to be disturbed
    _asked = True
    if not _deferred:
        raise Stopped
