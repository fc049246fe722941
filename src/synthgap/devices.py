"""Which device a job computes on, and which GPU of several is its own.

A cluster gives each job a GPU of its own. Where a job sees several, on one machine or inside an
allocation, jobs that run side by side take one each by a lock in the folder for temporary files;
SYNTHGAP_JOBS_PER_GPU (the site's `jobs_per_gpu`) lets several small ones share each.
"""

import fcntl
import logging
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TextIO

from synthgap.errors import UserError

log = logging.getLogger("synthgap")

# What devices say, besides torch's own error, when memory or an index type is too small.
TOO_LARGE = ("out of memory", "_ALLOC_FAILED", "can't allocate memory", "INT_MAX elements")

_held: list[TextIO] = []  # open as long as the process lives, and so locked


def visible_gpus() -> list[str]:
    """Return the numbers or names of the NVIDIA GPUs that this process may use."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30
        )
    except subprocess.TimeoutExpired:
        return []
    lines = listed.stdout.splitlines() if listed.returncode == 0 else []
    return [str(number) for number, line in enumerate(lines) if line.startswith("GPU ")]


def take_device(gpus: int | None) -> str:
    """Return the torch device that a job is to use; call it before anything touches CUDA.

    Args:
        gpus: 1 for a GPU, 0 for the CPU, None for a GPU where there is one.

    Raises:
        UserError: a GPU was asked for, and torch finds none.
    """
    if gpus == 0 or (gpus and os.environ.get("SYNTHGAP_ON_CPU") == "1"):
        return "cpu"
    found = visible_gpus()
    if len(found) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = _lock_one(found)
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if gpus:
        raise UserError(
            f"this job was given a GPU (CUDA_VISIBLE_DEVICES="
            f"{os.environ.get('CUDA_VISIBLE_DEVICES', '')}), but torch {torch.__version__} finds "
            "none: look at `nvidia-smi` on this node, or set SYNTHGAP_ON_CPU=1 to do without"
        )
    return "cpu"


def jobs_per_gpu() -> int:
    """Return how many jobs may share a GPU."""
    text = os.environ.get("SYNTHGAP_JOBS_PER_GPU", "1")
    if not text.isdecimal() or text == "0":
        raise UserError(f"SYNTHGAP_JOBS_PER_GPU must be a whole number of 1 or more: {text}")
    return int(text)


def _lock_one(names: list[str]) -> str:
    """Return one of the GPUs, that few enough others use; wait where all are taken."""
    # An allocation numbers its own GPUs from 0.
    allocation = os.environ.get("SLURM_JOB_ID", "all")
    folder = Path(tempfile.gettempdir(), f"synthgap-gpus-{os.getuid()}-{allocation}")
    folder.mkdir(mode=0o700, exist_ok=True)
    places = [(name, place) for place in range(jobs_per_gpu()) for name in names]
    files = [(name, (folder / f"{name.replace('/', '-')}.{n}").open("a")) for name, n in places]
    told = False
    while True:
        for name, file in files:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            _held.append(file)
            return name
        if not told:
            log.info("waiting for one of the GPUs %s", ", ".join(names))
            told = True
        time.sleep(1)


def limit_threads(threads: int) -> None:
    """Let torch and numpy compute with so many CPU threads."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads)


def is_too_large(error: RuntimeError) -> bool:
    """Whether an error of torch says that the device has no room for a batch."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or any(s in str(error) for s in TOO_LARGE)
