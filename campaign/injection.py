"""NaN, infinity and memory that runs out, put into a network while a stage of the study is at work.

The stage runs in a fork (`campaign.forked_stage`). At a random call of a layer one number of what
it returns is made NaN, or one of a gradient, or one that leaves a network is made infinite, or the
call ends as on a device without memory. The rule: the stage is refused with one line, or the image is noted as failed, or
the files are those of the undisturbed run. Where memory runs out, the stage may also do its work
in smaller parts, in which last digits may differ; nothing in its files may be odd.
"""

import json
import math
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from campaign import disk, forked_stage, rows, study
from campaign.study import Job, Tree

FAULTS = ("NaN from a layer", "infinity from a network", "NaN in a gradient", "no memory")
MOST_CALLS = 3000  # of layers, more than most stages of the study make
REACHED = "injected"
NOTED = "noted as failed"
SMALLER = "done in smaller parts"


def trial(seed: int, number: int, part: str) -> rows.Row:
    """Make one trial: a stage, a fault and its moment."""
    chance = rows.chance(seed, part, number)
    # Numerics makes one such trial of two: else each second rule would be left out.
    job = disk.a_job(
        chance, number // 2, lambda job: uses_networks(job) and forked_stage.possible(job)
    )
    fault = FAULTS[chance.randrange(len(FAULTS))]
    with study.copy_of_study() as tree:
        tree.remove(job)
        said = tree.folder / "said.txt"
        process = forked_stage.Forked(tree, job, said, lambda: plant(fault, chance))
        try:
            status = process.wait(study.PATIENCE)
        except subprocess.TimeoutExpired:
            status = 124
        reached = tree.folder / REACHED
        moment = reached.read_text() if reached.exists() else "after its end"
        reached.unlink(missing_ok=True)
        told = {"fault": fault, "hit": job.rule, "moment": moment, "times": int(moment[0] != "a")}
        outcome = judged(tree, job, status, said.read_text(errors="replace"), fault)
    return rows.row(part, seed, number, outcome=outcome, **told)  # type: ignore[arg-type]


def uses_networks(job: Job) -> bool:
    """Say whether a job may call a network of torch."""
    verbs = ("train", "encode", "generate", "evaluate", "extract", "sample", "map", "build", "grow")
    return job.rule.startswith(verbs)


def plant(fault: str, chance: random.Random) -> None:
    """In the stage's process: have one call of a layer, or one step, go wrong."""
    import torch
    from torch.nn.modules.module import (
        register_module_forward_hook,
        register_module_forward_pre_hook,
    )
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    steps = fault == "NaN in a gradient"
    most = 40 if steps or fault.startswith("infinity") else MOST_CALLS
    at = int(math.exp(chance.uniform(0, math.log(most))))
    calls = depth = 0

    def due(name: str) -> bool:
        nonlocal calls
        calls += 1
        if calls == at:
            Path(REACHED).write_text(f"call {at}, of {name}")
        return calls == at

    def enter(module: torch.nn.Module, given: Any) -> None:
        nonlocal depth
        depth += 1

    def leave(module: torch.nn.Module, given: Any, returned: Any) -> Any:
        nonlocal depth
        depth -= 1
        # An infinity may vanish within a network, as exp(-inf) does; out of one it must not.
        tensor = None if fault.startswith("infinity") and depth else first_tensor(returned)
        if tensor is None or not due(type(module).__name__):
            return None
        if fault == "no memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")
        # In place, as what is returned may be a tuple, or an object of any kind.
        with torch.no_grad():
            place = tuple(chance.randrange(size) for size in tensor.shape)
            tensor.data[place] = math.nan if "NaN" in fault else math.inf
        return None

    def in_step(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        found = [p.grad for group in optimizer.param_groups for p in group["params"]]
        grads = [grad for grad in found if grad is not None]
        if grads and due(type(optimizer).__name__):
            grads[chance.randrange(len(grads))].view(-1)[0] = math.nan

    if steps:
        register_optimizer_step_pre_hook(in_step)
    else:
        register_module_forward_pre_hook(enter)
        register_module_forward_hook(leave, always_call=True)


def first_tensor(returned: Any) -> Any:
    """Return the first tensor of floats in what a module returns, or None."""
    import torch

    if isinstance(returned, torch.Tensor):
        return returned if returned.is_floating_point() and returned.numel() else None
    if isinstance(returned, dict):  # as the libraries' outputs are
        returned = tuple(returned.values())
    if isinstance(returned, tuple | list):
        return next((one for part in returned if (one := first_tensor(part)) is not None), None)
    return None


def judged(tree: Tree, job: Job, status: int, said: str, fault: str) -> str:
    """Return the outcome of a trial."""
    if status == 124:
        return f"{rows.DEFECT}: it hangs"
    if half := tree.half_written(job) if status else []:
        return f"{rows.DEFECT}: it fails and leaves: {half[0]}"
    if status:
        # Warnings of libraries may come before the line.
        why = disk.refusal(said, ["error: "])
        return f"{rows.DEFECT}: {why}" if why else rows.REFUSED
    changed = [one for one in tree.changed() if not one.endswith("was not there before")]
    if not changed:
        return rows.RECOVERED
    if odd := next(odd_numbers(tree, job), None):
        return f"{rows.DEFECT}: odd numbers in {odd}"
    if fault == "no memory":
        return SMALLER
    if any(failed(tree.folder / output) for output in job.outputs):
        return NOTED
    return f"{rows.DEFECT}: no word of it, and {changed[0]}"


def odd_numbers(tree: Tree, job: Job) -> Iterator[str]:
    """Yield what of a job's files holds a number that is none."""
    for output in job.outputs:
        path = tree.folder / output
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            read = READERS.get(file.suffix)
            if file.is_file() and read and not read(file):
                yield str(file.relative_to(tree.folder))


def failed(path: Path) -> bool:
    """Say whether the rows beside a shard note an image as failed, or as made at a second try."""
    beside = path.with_suffix(".parquet")
    if path.suffix != ".tar" or not beside.exists():
        return False
    rows_beside = pq.read_table(beside, columns=["status", "details"]).to_pylist()
    return any(row["status"] != "ok" or '"refused"' in row["details"] for row in rows_beside)


def _finite_table(path: Path) -> bool:
    for column in pq.read_table(path).itercolumns():
        for chunk in column.chunks:
            flat = chunk
            while pa.types.is_list(flat.type) or pa.types.is_fixed_size_list(flat.type):
                flat = flat.flatten()
            if (
                pa.types.is_floating(flat.type)
                and not pc.all(pc.is_finite(flat)).as_py()
                and (pc.all(pc.is_finite(flat)).as_py() is not None)
            ):
                return False
    return True


def _finite_weights(path: Path) -> bool:
    from safetensors.numpy import load_file

    return all(
        np.isfinite(value.astype(np.float64)).all()
        for value in load_file(path).values()
        if np.issubdtype(value.dtype, np.floating)
    )


def _finite_json(path: Path) -> bool:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        json.loads(path.read_text(), parse_constant=refuse)
    except ValueError:
        return False
    return True


READERS: dict[str, Callable[[Path], bool]] = {
    ".parquet": _finite_table,
    ".safetensors": _finite_weights,
    ".json": _finite_json,
}
