"""A caption service that misbehaves: each image is captioned once, and paid for once.

A trial is a shard of images and a service that answers with faults as often as an hour of a bad
day has; pauses between tries take no time. In some trials the job is killed and started again.
"""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from campaign import rows
from campaign.forked import LIGHT, ROOT, Ended, run_command
from campaign.rows import RIGHT, Row

PART = "services"
PRICE = {"input": 1.0, "output": 10.0}
COST = (100 * 1.0 + 20 * 10.0) / 1e6  # of a reply of the service of the tests
CONCURRENCY = 8
MOST_STARTS = 12
MODULES = (*LIGHT, "openai", "httpx2", "synthgap.captioners.service")


def hurry() -> None:
    """In a trial's process: tries follow one another at once."""
    import synthgap.captioners.service as service

    service.pause = lambda attempt: 0.0  # type: ignore[assignment]


def shard(folder: Path, rng: random.Random, images: int) -> Path:
    """Write a shard of noise and return its tar."""
    from synthgap.data.shards import Sample, ShardWriter

    tar = folder / "images" / "00000.tar"
    tar.parent.mkdir(parents=True)
    with ShardWriter(tar, "png") as writer:
        for i in range(images):
            pixels = np.frombuffer(rng.randbytes(8 * 8 * 3), np.uint8).reshape(8, 8, 3)
            writer.add(Sample(f"{i % 3:04d}-{i:06d}", i % 3, "a cat"), pixels)
    return tar


def captioned(work: Path, tar: Path, url: str, **how: Any) -> Ended:
    """Run the stage as the rules do."""
    from synthgap.config.captioners import ServiceCaptioner

    settings: dict[str, Any] = {"concurrency": CONCURRENCY, "attempts": 12, "timeout": 5.0}
    config = ServiceCaptioner(
        kind="service", model="tiny-captioner", base_url=url, prompt="paper-a", price=PRICE,
        **settings | how.pop("settings", {}),
    )  # fmt: skip
    return run_command(
        "caption_images",
        ["--tar", tar, "--captioner", json.dumps(config.options()), "--service", config.transport,
         "--cache", "cache", "--max-failed", 0, "--scratch", "results/.scratch",
         "--captions", "results/captions.parquet", "--log", "results/logs/captions.log"],
        work, modules=MODULES, before="campaign.services:hurry", **how,
    )  # fmt: skip


def faults(rng: random.Random, number: int) -> list[Any]:
    """Return what is wrong with the next replies; None for nothing."""
    from fake_service import error

    limit = {"retry-after-ms": str(rng.randrange(1, 50))}
    kinds: list[Any] = [
        "cut", "malformed", "page",
        (500, error("server_error"), {}), (502, {}, {}), (503, error("busy"), limit),
        (429, error("rate_limit_exceeded"), limit), (408, error("timeout"), {}),
        (200, {"id": "c", "choices": []}, {}), (200, {"choices": None}, {}), (200, [], {}),
        (200, {}, {}), (200, None, {}),
    ]  # fmt: skip
    share = rng.choice([0.1, 0.3, 0.5])
    return [rng.choice(kinds) if rng.random() < share else None for _ in range(number)]


def trial(seed: int, number: int, folder: Path) -> Row:
    """Run one trial in an empty folder of its own; return its row."""
    import sys

    sys.path[:0] = [str(ROOT / "tests")]
    from fake_service import KEY, serving

    rng = rows.chance(seed, PART, number)
    work = folder / "work"
    work.mkdir()
    images = rng.choice([60, 120, 200])
    killed = rng.random() < 0.6
    tar = shard(work, rng, images)
    how = {"environment": {"OPENAI_API_KEY": KEY}}
    starts, kills, ended = 0, 0, None
    with serving() as server:
        server.latency = rng.choice([0.0, 0.005, 0.05])
        for fault in faults(rng, images):
            server.faults.put(fault)
        while starts < MOST_STARTS:
            starts += 1
            limit = rng.uniform(0.3, 1.5) if killed and starts < MOST_STARTS // 2 else 120
            ended = captioned(work, tar, server.url, seconds=limit, **how)
            kills += ended.late
            if not ended.late and not ended.status:
                break
            if not ended.late and "Traceback" in ended.error:
                break
        server.faults = type(server.faults)()
        answered, asked = Counter(server.answered), len(server.asked)
    assert ended is not None
    outcome = _judged(work, images, ended, answered, kills * CONCURRENCY)
    return rows.row(
        PART,
        seed,
        number,
        fault="a service that misbehaves" + ", and kills" * killed,
        hit=f"{images} images, {asked} requests, {starts} starts",
        outcome=outcome,
        images=images,
        requests=asked,
    )


trials = rows.in_folder(trial)


def _judged(work: Path, images: int, ended: Ended, answered: Counter[str], lost: int) -> str:
    """Compare the table with what the service counted.

    Args:
        lost: replies that may have been under way when the job was killed, which nobody can keep.
    """
    if ended.late or ended.status:
        return ended.fault() or f"DEFECT refused: {ended.error[:200]}"
    rows = pq.read_table(work / "results/captions.parquet").to_pylist()
    keys = Counter(row["key"] for row in rows)
    if len(rows) != images or max(keys.values()) > 1:
        return f"DEFECT {len(rows)} rows of {len(keys)} keys for {images} images"
    if wrong := [row["status"] for row in rows if row["status"] != "ok"]:
        return f"DEFECT {len(wrong)} without a caption: {wrong[0]}"
    if len(answered) != images:
        return f"DEFECT the service answered for {len(answered)} of {images} images"
    twice = sum(answered.values()) - images
    if twice > lost:
        return f"DEFECT {twice} replies paid for twice, {lost} may have been lost by kills"
    spent = sum(row["cost_usd"] for row in rows)
    if abs(spent - COST * images) > 1e-9:
        return f"DEFECT {spent} US dollars told, {COST * images} spent on what was kept"
    return RIGHT
