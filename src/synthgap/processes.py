"""Several processes that train one model, started by torch's launcher `torchrun`, or one alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed

from synthgap import devices, stopping
from synthgap.errors import PeersLostError, UserError

# Longer than the first process takes to write a checkpoint on a slow file system.
PATIENCE = timedelta(hours=1)
# What gloo, NCCL and torch's store say when a process at the other end is gone.
LOST = (
    "Connection closed by peer", "Connection reset by peer", "Broken pipe",
    "remote process exited", "Connection was likely closed",
)  # fmt: skip


@contextmanager
def group(device: str) -> Iterator[tuple[int, int]]:
    """Join the launcher's processes, if it started this one; yield (rank, number of processes).

    Raises:
        PeersLostError: another one ended within.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    backend = "nccl" if device.startswith("cuda") else "gloo"
    with stopping.at_once():
        distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield distributed.get_rank(), world
    except RuntimeError as error:
        told = " ".join(str(error).split())
        if not any(words in told for words in LOST):
            raise
        raise PeersLostError(f"lost the other processes of this training ({told[:300]})") from error
    finally:
        distributed.destroy_process_group()


def take_device(gpus: int | None) -> str:
    """Return the torch device of this process; call it before anything touches CUDA.

    Args:
        gpus: of all processes here; 0 for the CPU, None for one each where there are any.

    Raises:
        UserError: fewer GPUs than processes.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if here == 1 or gpus == 0 or os.environ.get("SYNTHGAP_ON_CPU") == "1":
        return devices.take_device(gpus and 1)
    found = torch.cuda.device_count()
    if found == 0 and gpus is None:
        return "cpu"
    if found < here:
        raise UserError(f"{here} processes need a GPU each, and torch finds {found}")
    device = f"cuda:{os.environ['LOCAL_RANK']}"
    torch.cuda.set_device(device)
    return device


def any_of(here: bool, device: str) -> bool:
    """Say whether it is so in any process; all must ask."""
    if not distributed.is_initialized():
        return here
    flag = torch.tensor(float(here), device=device)
    distributed.all_reduce(flag, distributed.ReduceOp.MAX)
    return bool(flag)


def mean_of(value: Tensor) -> Tensor:
    """Return the mean over all processes; all must ask."""
    if not distributed.is_initialized():
        return value
    value = value.detach().clone()
    distributed.all_reduce(value, distributed.ReduceOp.SUM)
    return value / distributed.get_world_size()


def wait() -> None:
    """Wait until all processes are here."""
    if distributed.is_initialized():
        distributed.barrier()
