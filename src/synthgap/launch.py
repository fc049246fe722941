"""Start a command: one process, several on this machine, or several on each node of a Slurm job.

    python -m synthgap.launch --processes 16 --nodes 2 --cpus 8 -- train.py OPTIONS

Torch's launcher (`synthgap.torchrun`) starts several; the processes find each other as
`synthgap.processes` says. Without a Slurm job there is one node, whatever is asked for.
"""

import argparse
import os
import socket
import sys
from collections.abc import Mapping, Sequence

# Where the processes of a job meet; another for each job, as nodes may be shared.
FIRST_PORT, PORTS = 20_000, 20_000


def main() -> None:
    """Replace this process by what starts the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, required=True, help="of all nodes together")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--cpus", type=int, default=1, help="of each process")
    parser.add_argument("--gpus", type=int, default=0, help="of all nodes together")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    found = words(
        args.command, args.processes, args.nodes, args.cpus, args.gpus, os.environ,
        socket.gethostname(),
    )  # fmt: skip
    os.execvp(found[0], found)


def words(
    command: Sequence[str],
    processes: int,
    nodes: int,
    cpus: int,
    gpus: int,
    environment: Mapping[str, str],
    host: str,
) -> list[str]:
    """Return the words of what starts a command: a Python file and its options.

    Args:
        processes, gpus: of all nodes together.
        cpus: of each process.
        host: name of the first node, where this runs.
    """
    if processes == 1:
        return [sys.executable, *command]
    job = environment.get("SLURM_JOB_ID")
    nodes = nodes if job else 1
    each = processes // nodes
    torchrun = [
        sys.executable, "-m", "synthgap.torchrun", f"--nproc-per-node={each}",
        # Nothing is written there; else an empty folder would be left at each start.
        f"--log-dir={os.devnull}",
    ]  # fmt: skip
    if nodes == 1 or job is None:
        # Without the dashes it would take the command's options for its own.
        return [*torchrun, "--standalone", "--", *command]
    port = FIRST_PORT + int(job) % PORTS
    meeting = [
        f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-id={job}",
        f"--rdzv-endpoint={host}:{port}",
    ]  # fmt: skip
    srun = [
        "srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1",
        f"--cpus-per-task={each * cpus}", "--kill-on-bad-exit=1",
        *([f"--gpus-per-node={gpus // nodes}"] if gpus else []),
    ]  # fmt: skip
    return [*srun, *torchrun, *meeting, "--", *command]


if __name__ == "__main__":
    main()
