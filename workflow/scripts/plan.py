"""Tell what a study will cost before it is paid for: jobs, images, hours, storage, downloads.

Reads the config and what finished jobs left behind; writes a table and prints it.
"""

import argparse
import json
import statistics
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from tabulate import tabulate

from synthgap.atomic import atomic_path
from synthgap.config import SPLITS, Config
from synthgap.job import command, output_path, run
from synthgap.planning.plan import Measured, Row, plan, wall_hours

IMAGE_STAGES = ("prepare_real", "generate_images", "composite_images", "derive_view")


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--config", type=Config.model_validate_json, required=True, help="as JSON")
    parser.add_argument("--table", type=output_path, required=True, help=".csv to write")
    return parser


def main(args: argparse.Namespace) -> None:
    config: Config = args.config
    results = Path(config.results)
    index = results / "real" / "index.parquet"
    classes, real = config.real.classes, {}
    if config.real.dataset == "digits":
        classes = 10
    if index.exists():
        table = pq.read_table(index, columns=["class_index", "split"])
        classes = len(table["class_index"].unique())
        found = table["split"].to_pylist()
        real = {split: found.count(split) for split in SPLITS}
    assumed = classes is not None and not real
    if assumed:
        real = {split: classes * config.synthetic.samples_per_class[split] for split in SPLITS}
    rows = plan(config, measure(config, results), classes=classes, real_images=real)
    write_table(rows, args.table)
    print(render(rows, config.gpus))
    if assumed:
        print("\nThe real images are not indexed yet; they are counted as many as a source's.")
    if classes is None:
        print("\nThe number of classes is not known yet; set `real.classes`, or index the images.")
    print(f"\nAll columns, sources of the speeds included: {args.table}")


def measure(config: Config, results: Path) -> dict[tuple[str, str], Measured]:
    """Return what finished jobs say of their stage, by stage and what."""
    found: dict[tuple[str, str], Measured] = {}
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for file in (results / "benchmarks").rglob("*.tsv"):
        stage, *parts = file.relative_to(results / "benchmarks").with_suffix("").parts
        header, values = (line.split("\t") for line in file.read_text().splitlines()[:2])
        spent = float(dict(zip(header, values, strict=True))["s"])
        for what in parts_of(config, stage, parts):
            seconds[stage, what].append(spent)
    for key, spent_by_job in seconds.items():
        hours = statistics.fmean(spent_by_job) / 3600
        found[key] = Measured(len(spent_by_job), hours, device="cpu")
    shards: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for tar in (results / "images").glob("*/*/*/*.tar"):
        source, _, view, _ = tar.relative_to(results / "images").parts
        if view != "rgb":
            shards["derive_view", view].append(tar)
        elif source in config.sources:
            shards["generate_images", source].append(tar)
        else:
            stage = "prepare_real" if source == "real" else "composite_images"
            shards[stage, source].append(tar)
    for key, tars in shards.items():
        found[key] = measure_shards(key[0], tars, found.get(key, Measured()))
    return found


def parts_of(config: Config, stage: str, parts: list[str]) -> list[str]:
    """Return which of a stage's rows a benchmark file belongs to."""
    names = {
        "prepare_real": "real",
        "caption_images": config.captioner.kind,
        "extract_features": config.studies.transfer.encoder,
        "measure_distribution": "transfer",
    }
    if stage in names:
        return [names[stage]]
    if stage == "download_model":
        hub = [name for name in config.generators if config.generators[name].hub_model]
        models = {config.download_name(name): config.resolved(name).model or "" for name in hub}
        return [models.get(part, "") for part in parts]
    return [f"cutmix-{part}" if stage == "composite_images" else part for part in parts]


def measure_shards(stage: str, tars: list[Path], known: Measured) -> Measured:
    """Return what finished shards say: how many, how fast, how large."""
    facts = [json.loads(tar.with_suffix(".json").read_text()) for tar in tars]
    images = sum(fact["images"] for fact in facts)
    size = sum(tar.stat().st_size for tar in tars) / images if images else None
    speed, device = None, known.device
    if stage == "generate_images":
        speed = statistics.median(fact["images_per_second"] for fact in facts)
        device = facts[-1]["device"]
    return Measured(len(tars), known.hours_a_job, speed, device, size)


def write_table(rows: list[Row], path: Path) -> None:
    """Write all that is known, a line a row."""
    table = pa.Table.from_pylist([asdict(row) | {"hours": row.hours} for row in rows])
    with atomic_path(path) as part:
        pyarrow.csv.write_csv(table, part)


def render(rows: list[Row], gpus: int) -> str:
    """Return the table as text, with the sums below."""
    lines = [
        (
            row.stage, row.what, row.jobs, row.done, number(row.images), row.device or "?",
            speed(row.images_per_second), row.basis or "?", number(row.hours, 1),
            number(row.hours_a_job and row.hours_a_job * 60, 1), number(row.gb, 1),
        )
        for row in rows
    ]  # fmt: skip
    headers = (
        "stage", "what", "jobs", "done", "images", "device", "images/s", "basis",
        "hours left", "min/job", "GB",
    )  # fmt: skip
    right = ("left", "left", *["right"] * 3, "left", "right", "left", *["right"] * 3)
    table = tabulate(lines, headers, colalign=right, disable_numparse=True)
    notes = [f"  {row.stage} {row.what}: {row.note}" for row in rows if row.note]
    on_gpu = [row for row in rows if row.on_gpu]
    hours = sum(row.hours or 0 for row in on_gpu)
    downloads = [row for row in rows if row.stage == "download_model" and not row.done]
    unknown = [f"{row.stage} {row.what}" for row in rows if row.hours is None and not row.gb]
    sums = [
        f"{sum(row.jobs for row in rows):,} jobs, {sum(row.done for row in rows):,} of them done",
        f"{hours:,.0f} GPU hours left, {wall_hours(rows, gpus):,.1f} hours on {gpus} GPUs "
        "(`gpus` in the config)",
        f"{sum(row.gb or 0 for row in rows if row.stage != 'download_model'):,.0f} GB of images",
        f"{len(downloads)} models to download, {sum(row.gb or 0 for row in downloads):,.0f} GB",
    ]
    if unknown:
        sums.append("time not known yet, and not in the sums: " + ", ".join(unknown))
    return "\n".join([table, "", *notes, *([""] if notes else []), *sums])


def number(value: float | None, digits: int = 0) -> str:
    """Return a number for people, `?` for one that is not known."""
    return "?" if value is None else f"{value:,.{digits}f}"


def speed(value: float | None) -> str:
    """Return a speed to three digits that count."""
    return "?" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    run(options(), main)
