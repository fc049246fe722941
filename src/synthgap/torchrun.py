"""Torch's launcher, quiet: what goes wrong in a process is told by that process alone, in its line.

    python -m synthgap.torchrun --nproc-per-node 2 --standalone -- train.py OPTIONS

It takes the options of `torch.distributed.run`, and ends with the status of the process that failed
first. By itself that launcher adds some thirty lines with a stack trace of its own.
"""

import logging
import signal
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import parse_args, run


def main() -> None:
    """Start the processes and wait for them."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):  # each has a level of its own
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        run(parse_args(sys.argv[1:]))
    except ChildFailedError as error:
        failure = min(error.failures.values(), key=_lateness)
        if failure.exitcode < 0:
            number = -failure.exitcode
            known = number in signal.valid_signals() and number < signal.SIGRTMIN
            name = signal.Signals(number).name if known else f"signal {number}"
            hint = "; memory may have run out" if number == signal.SIGKILL else ""
            print(f"error: process {failure.local_rank} ended by {name}{hint}", file=sys.stderr)
        sys.exit(failure.exitcode if failure.exitcode > 0 else 1)
    except SignalException as stopped:
        sys.exit(128 + stopped.sigval.value)


def _lateness(failure: ProcessFailure) -> tuple[int, int]:
    """Order failures by what they tell: others may only have lost one that was killed.

    Those that this launcher ended, by SIGTERM, come last.
    """
    if failure.exitcode == -signal.SIGTERM:
        return 2, failure.timestamp
    return int(failure.exitcode > 0), failure.timestamp


if __name__ == "__main__":
    main()
