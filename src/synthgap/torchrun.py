"""Torch's launcher, quiet: what goes wrong in a process is told by that process alone, in its line.

    python -m synthgap.torchrun --nproc-per-node 2 --standalone -- train.py OPTIONS

It takes the options of `torch.distributed.run`, and ends with the status of the process that failed
first. By itself that launcher adds some thirty lines with a stack trace of its own.
"""

import logging
import signal
import sys
from collections.abc import Iterable

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import parse_args, run

from synthgap.errors import PeersLostError


def main() -> None:
    """Start the processes and wait for them."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):  # each has a level of its own
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        run(parse_args(sys.argv[1:]))
    except ChildFailedError as error:
        failure = first_of(error.failures.values())
        if failure.exitcode < 0:
            number = -failure.exitcode
            known = number in signal.valid_signals() and number < signal.SIGRTMIN
            name = signal.Signals(number).name if known else f"signal {number}"
            hint = "; memory may have run out" if number == signal.SIGKILL else ""
            print(f"error: process {failure.local_rank} ended by {name}{hint}", file=sys.stderr)
        own = failure.exitcode > 0 and failure.exitcode != PeersLostError.status
        sys.exit(failure.exitcode if own else 1)
    except SignalException as stopped:
        sys.exit(128 + stopped.sigval.value)


def first_of(failures: Iterable[ProcessFailure]) -> ProcessFailure:
    """Return the failure that the others came of.

    When a process has failed, torch's launcher ends the others by SIGTERM, which ours tell by
    status 143, and those that have not ended half a minute later by SIGKILL. So an error of its own
    tells most, then another signal than SIGTERM, then that one was stopped.
    """

    def rank(failure: ProcessFailure) -> tuple[int, int]:
        told_last = [128 + signal.SIGTERM, PeersLostError.status, -signal.SIGTERM]
        if failure.exitcode in told_last:
            return 2 + told_last.index(failure.exitcode), failure.timestamp
        return int(failure.exitcode < 0), failure.timestamp

    return min(failures, key=rank)


if __name__ == "__main__":
    main()
