"""Long run: a stage's work again and again in one process, and what the process holds meanwhile.

The rule: over the second half of the loops, open files and temporary files do not grow at all,
threads by two at most (pools of a bounded size start them late), and the least-squares line through
the memory in use grows by less than 4 MiB and less than 1 % of it, or less than three standard
errors of its slope.
"""

import json
import os
import random
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from campaign import rows, study
from campaign.rows import Row

PART = "long-run"
SECONDS = float(os.environ.get("SYNTHGAP_CAMPAIGN_LOOP_SECONDS", "60"))
LEAST = 12
MEMORY_MB = 4.0
SLACK = {"threads": 2}  # pools of a bounded size start one when they first have use for it


def prepare() -> None:
    """Make the study once without disturbance."""
    study.reference()


def trials(seed: int, number: int) -> Row:
    """Loop one stage."""
    chance = rows.chance(seed, PART, number)
    rules = sorted({job.rule for job in study.jobs()})
    random.Random(number // len(rules)).shuffle(rules)
    rule = rules[number % len(rules)]
    job = chance.choice([job for job in study.jobs() if job.rule == rule])
    told = {"fault": "a stage again and again", "hit": rule}
    with study.copy_of_study() as tree:
        words = shlex.split(job.command)
        at = next(i for i, word in enumerate(words) if word.endswith(f"{rule}.py"))
        expanded = [os.path.expandvars(word) for word in words[at + 1 :]]
        environment = tree.environment()
        for name in ("SYNTHGAP_SCRATCH", "SYNTHGAP_CHECKPOINT_SECONDS", "SYNTHGAP_UNCAPTIONED"):
            expanded = [word.replace(f"${name}", environment[name]) for word in expanded]
        script = str(tree.folder / "workflow/scripts" / f"{rule}.py")
        looped = [sys.executable, str(Path(__file__).with_name("looped.py"))]
        done = subprocess.run(
            [*looped, str(SECONDS), str(LEAST), script, *expanded],
            cwd=tree.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS + study.PATIENCE,
        )
        if done.returncode:
            outcome = f"{rows.DEFECT}: it fails in a loop: {done.stderr[-400:]}"
            return rows.row(PART, seed, number, **told, outcome=outcome, losses=1)
        measured = json.loads(done.stdout.splitlines()[-1])
    wrong, grown = growth(measured)
    outcome = f"{rows.DEFECT}: {'; '.join(wrong)}" if wrong else "no growth"
    more = {"loops": len(measured), "memory_mb": round(measured[-1]["memory"] / 2**20)}
    moment = f"{len(measured)} loops, memory {grown:+.1f} MiB over half of them"
    return rows.row(PART, seed, number, **told, moment=moment, outcome=outcome, **more)


def growth(measured: list[dict[str, float]]) -> tuple[list[str], float]:
    """Return what grows over the second half of the loops, and memory's growth in MiB."""
    half = measured[len(measured) // 2 :]
    wrong = [
        f"{name} grow from {half[0][name]} to {half[-1][name]}"
        for name in ("files", "threads", "temporary")
        if half[-1][name] > half[0][name] + SLACK.get(name, 0)
        and half[-1][name] == max(one[name] for one in half)
    ]
    memory = np.array([one["memory"] for one in half]) / 2**20
    loop = np.arange(len(half)) - (len(half) - 1) / 2
    slope = float(loop @ memory / (loop @ loop))
    rest = memory - memory.mean() - slope * loop
    error = float(np.sqrt(rest @ rest / max(len(half) - 2, 1) / (loop @ loop)))
    grown = slope * (len(half) - 1)
    if grown > max(MEMORY_MB, 0.01 * memory[-1]) and slope > 3 * error:
        wrong.append(f"memory grows by {grown:.1f} MiB to {memory[-1]:.0f} over {len(half)} loops")
    return wrong, grown
