"""NaN, infinity and memory that runs out, put into a network while a stage of the study is at work.

The stage runs in a fork (`campaign.forked_stage`). At a random call of a layer one number of what
it returns is made NaN, or one of a gradient, or one that leaves a network is made infinite, or the
call ends as on a device without memory. The rule: the stage is refused with one line that says so,
or the image is noted as failed or made anew, or the files are those of the undisturbed run. Where
memory runs out, the stage may also do its work in smaller parts, in which last digits may differ.
"""

import io
import json
import math
import os
import random
import signal
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from campaign import disk, forked_stage, rows, study
from campaign.study import Job, Tree

FAULTS = ("NaN from a layer", "infinity from a network", "NaN in a gradient", "no memory")
MOST_CALLS = 3000  # of layers, more than most stages of the study make
REACHED = "injected"
NOTED = "noted as failed"
SMALLER = "done in smaller parts"
# One of which a refusal has to say.
NUMBERS = ["NaN", "nan", "inf", "not a number", "not finite"]
MEMORY = ["memory"]
NEAR, NEAR_LEVELS = 0.05, 4.0  # relative, and of 255


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
        reached = tree.folder / REACHED
        try:
            status = process.wait(study.PATIENCE)
        except subprocess.TimeoutExpired:
            status = 124
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(study.PATIENCE)
        moment = reached.read_text() if reached.exists() else ""
        told = {"fault": fault, "hit": job.rule, "moment": moment or "after its end"}
        reached.unlink(missing_ok=True)
        words = said.read_text(errors="replace")
        if status and not moment:
            outcome = f"{rows.DEFECT}: it fails by itself: {words[-300:]}"
        else:
            outcome = judged(tree, job, status, words, fault)
        if outcome == rows.REFUSED and chance.random() < 0.3:
            wrong = disk.end(tree, job)  # nothing odd may be left that it goes on with
            outcome = f"{rows.DEFECT}: {wrong[0]}" if wrong else outcome
    return rows.row(part, seed, number, outcome=outcome, times=int(bool(moment)), **told)


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
        why = disk.refusal(said, MEMORY if fault == "no memory" else NUMBERS)
        return f"{rows.DEFECT}: {why}" if why else rows.REFUSED
    if left := [*tree.wait_for_quiet(10), *tree.left_over()]:
        return f"{rows.DEFECT}: left over: {left[0]}"
    changed = tree.changed()
    if not changed:
        return rows.RECOVERED
    if odd := next(odd_numbers(tree, job), None):
        return f"{rows.DEFECT}: odd numbers in {odd}"
    shards = [tree.folder / output for output in job.outputs if output.endswith(".tar")]
    if shards and all(only_noted_differ(tree, shard) for shard in shards):
        return NOTED
    if fault == "no memory" and all(is_near(tree, output) for output in job.outputs):
        return SMALLER
    return f"{rows.DEFECT}: no word of it, and {changed[0]}"


def only_noted_differ(tree: Tree, tar: Path) -> bool:
    """Say whether all images are as they were, but those that are noted.

    Noted is an image that failed, or that was made at a second try.
    """
    here = pq.read_table(tar.with_suffix(".parquet")).to_pylist()
    there = pq.read_table(original(tree, tar).with_suffix(".parquet")).to_pylist()
    if [row["key"] for row in here] != [row["key"] for row in there]:
        return False
    noted = [row["status"] != "ok" or '"refused"' in row["details"] for row in here]
    same = [one["sha256"] == other["sha256"] for one, other in zip(here, there, strict=True)]
    return any(noted) and all(a or b for a, b in zip(noted, same, strict=True))


def is_near(tree: Tree, output: str) -> bool:
    """Say whether a file differs in last digits only: weights, features, or images of a shard."""
    path = tree.folder / output
    other = original(tree, path)
    if path.suffix == ".tar":
        here, there = _images(path), _images(other)
        return len(here) == len(there) and all(
            a.shape == b.shape and np.abs(a.astype(int) - b).mean() < NEAR_LEVELS
            for a, b in zip(here, there, strict=True)
        )
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        one, two = load_file(path), load_file(other)
        return one.keys() == two.keys() and all(
            np.linalg.norm(one[x].astype(float) - two[x]) <= NEAR * np.linalg.norm(two[x]) + NEAR
            for x in one
        )
    if path.suffix == ".parquet":
        return pq.read_metadata(path).num_rows == pq.read_metadata(other).num_rows
    return path.exists()


def _images(tar: Path) -> list[np.ndarray]:
    with tarfile.open(tar) as file:
        found = [file.extractfile(member) for member in file if member.name.endswith(".png")]
        return [np.asarray(Image.open(io.BytesIO(one.read()))) for one in found if one]


def original(tree: Tree, path: Path) -> Path:
    """Return the same file of the undisturbed run."""
    return study.reference() / path.relative_to(tree.folder)


def odd_numbers(tree: Tree, job: Job) -> Iterator[str]:
    """Yield what of a job's files holds a number that is none."""
    for output in job.outputs:
        path = tree.folder / output
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            read = READERS.get(file.suffix)
            if file.is_file() and read and not read(file):
                yield str(file.relative_to(tree.folder))


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
