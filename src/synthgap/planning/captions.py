"""What captioning takes: images, tokens, money and hours."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from synthgap.config import Config
from synthgap.config.captioners import ModelCaptioner, ServiceCaptioner
from synthgap.planning.rows import BYTES_A_PIXEL, Measured, Row, speeds

# Until a shard is done, a service's own figures are not known. It is taken to need so many seconds
# for a reply and a token for so many pixels square, and to write as much as it may.
SECONDS_A_REPLY = 3.0
PIXELS_A_TOKEN = 32
TOKENS_A_WORD = 1.3
# LLaVA-NeXT: tokens of the base image, of a square image of up to 336 px, and of a larger one; and
# how much slower the latter two are, by their operations (benchmarks/captioning_tokens.py).
PRUNED_TOKENS, SMALL_TOKENS, LARGE_TOKENS = 576, 1176, 2928
SMALL_WORK, LARGE_WORK = 1.8, 4.2


def about(config: Config, source: str) -> str:
    """Return how the plan calls the captions of a source."""
    label = config.captioner.label
    return label if source == "real" else f"{label}, {source}"


def caption_rows(
    config: Config, measured: Mapping[tuple[str, str], Measured], real: Mapping[str, int]
) -> Iterator[Row]:
    """Yield a row a captioned source; each has as many images as there are real ones."""
    for source in config.captioned:
        what = about(config, source)
        found = measured.get(("caption_images", what), Measured())
        splits = config.caption_splits(source)
        jobs = sum(config.real.shards[split] for split in splits)
        counts = [real.get(split) for split in splits]
        images = None if None in counts else sum(filter(None, counts))
        done = min(sum(found.done.values()), jobs)
        row = Row("caption_images", what, jobs, done, images)
        captioner = config.captioner
        if isinstance(captioner, ModelCaptioner):
            row = _own_model(row, captioner, source, found, config.real.image_size)
        elif isinstance(captioner, ServiceCaptioner):
            if captioner.batch is not None:
                hours = _batch_hours(config, captioner, row)
                told = {"device": "service", "basis": "assumed", "hours": hours, "longest": hours}
                collected = int(done == jobs)
                yield Row(
                    "request_captions", what, 1, collected, images,
                    **told if not collected else {"device": "service", "hours": 0.0},
                    note=f"{captioner.batch.window} a batch at most" if not collected else "",
                )  # fmt: skip
            row = _service(row, captioner, source, found, config.real.image_size)
        elif found.hours_a_job is not None:
            row = row.changed(
                device="cpu", basis="measured", source="finished jobs",
                hours=found.hours_a_job * (jobs - done), longest=found.hours_a_job,
            )  # fmt: skip
        yield row


def _own_model(row: Row, captioner: ModelCaptioner, source: str, found: Measured, side: int) -> Row:
    words = len(captioner.options(source != "real")["prompt"].split())
    image_tokens, work = PRUNED_TOKENS, 1.0
    if not captioner.prune:
        small = (captioner.image_size or side) <= 336
        image_tokens = SMALL_TOKENS if small else LARGE_TOKENS
        work = SMALL_WORK if small else LARGE_WORK
    tokens = found.tokens or (image_tokens + TOKENS_A_WORD * words, captioner.max_new_tokens)
    row = _with_tokens(row, tokens)
    known = speeds()["caption_images"].get(captioner.model)
    if found.images_per_second:
        speed, told = found.images_per_second, {"basis": "measured", "source": "finished shards"}
        told["device"] = found.device
    elif known:
        speed = known["images_per_second"] / work
        told = {name: known[name] for name in ("device", "basis", "source")}
    else:
        return row.changed(note="speed unknown until a shard is done")
    return _with_speed(row, speed, told)


def _service(row: Row, captioner: ServiceCaptioner, source: str, found: Measured, side: int) -> Row:
    words = len(captioner.options(source != "real")["prompt"].split())
    patches = math.ceil((captioner.image_size or side) / PIXELS_A_TOKEN) ** 2
    tokens = found.tokens or (patches + TOKENS_A_WORD * words, captioner.max_tokens)
    row = _with_tokens(row, tokens)
    if captioner.batch is None:
        seconds = found.seconds_a_reply or SECONDS_A_REPLY
        basis = "measured" if found.seconds_a_reply else "assumed"
        told = {"device": "service", "basis": basis}
        told["source"] = f"{captioner.concurrency} requests at once, {seconds:.3g} s each"
        row = _with_speed(row, captioner.concurrency / seconds, told)
    else:
        row = row.changed(device="cpu", hours=0.0)
    if captioner.price is None:
        return row.changed(note="set `captioner.price` to know what it costs")
    factor = captioner.batch.price_factor if captioner.batch else 1.0
    dollars = tokens[0] * captioner.price.input + tokens[1] * captioner.price.output
    if row.images is None:
        return row
    left = row.images * (1 - row.done / row.jobs)
    row = row.changed(usd=factor * dollars / 1e6 * left)
    if found.tokens is None:
        row = row.changed(
            note=f"tokens are assumed until a shard is done: {tokens[0]:.0f} in, at most "
            f"{tokens[1]:.0f} out; try one with `snakemake <one caption table>`"
        )
    return row


def _with_tokens(row: Row, tokens: Sequence[float]) -> Row:
    if row.images is None:
        return row
    left = row.images * (1 - row.done / row.jobs)
    return row.changed(input_tokens=round(tokens[0] * left), output_tokens=round(tokens[1] * left))


def _with_speed(row: Row, speed: float, told: Mapping[str, Any]) -> Row:
    row = row.changed(images_per_second=speed, **told)
    if row.images is None:
        return row
    hours = row.images / speed / 3600
    return row.changed(hours=hours * (1 - row.done / row.jobs), longest=hours / row.jobs)


def _batch_hours(config: Config, captioner: ServiceCaptioner, row: Row) -> float | None:
    """Return the hours if each batch takes its whole window."""
    batch = captioner.batch
    assert batch is not None
    if row.images is None:
        return None
    side = captioner.image_size or config.real.image_size
    # Base64 makes four characters of three bytes; the rest of a request is small.
    size = side**2 * BYTES_A_PIXEL[config.real.image_format] * 4 / 3 + 1000
    each = min(batch.requests, max(1, int(batch.megabytes * 1e6 / size)))
    rounds = math.ceil(math.ceil(row.images / each) / batch.open)
    return rounds * float(batch.window.removesuffix("h"))


def measure_captions(config: Config, results: Path) -> dict[tuple[str, str], Measured]:
    """Return what finished caption tables say, by stage and what."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found = {}
    for source in config.captioned:
        folder = results / "captions" / source
        paths = sorted(
            p for s in config.caption_splits(source) for p in folder.glob(f"{s}/*.parquet")
        )
        done, hours, device = 0, list[float](), ""
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        for path in paths:
            facts = json.loads(path.with_suffix(".json").read_text())
            if facts["options"]["captioner"] != config.captioner.options(source != "real"):
                continue  # made with other settings
            done += 1
            hours.append(facts["seconds"] / 3600)
            device = facts["device"]
            table = pq.read_table(path, columns=["input_tokens", "output_tokens", "seconds"])
            for name in table.column_names:
                sums[name] = sums.get(name, 0.0) + (pc.sum(table[name]).as_py() or 0.0)
                counts[name] = counts.get(name, 0) + table.num_rows - table[name].null_count
        if not done:
            continue
        means = {name: sums[name] / counts[name] for name in sums if counts[name]}
        tokens = None
        if {"input_tokens", "output_tokens"} <= means.keys():
            tokens = means["input_tokens"], means["output_tokens"]
        seconds = means.get("seconds")
        found["caption_images", about(config, source)] = Measured(
            {"train": done},
            hours_a_job=sum(hours) / len(hours),
            images_per_second=1 / seconds if seconds else None,
            device=device,
            tokens=tokens,
            seconds_a_reply=seconds,
        )
    return found
