"""Tell what a study will cost before it is paid for: jobs, images, hours, storage, downloads.

Reads the config and what finished jobs left behind; writes a table and prints it.
"""

import argparse
import json
import statistics
from collections import Counter, defaultdict
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from tabulate import tabulate

from synthgap.atomic import atomic_path
from synthgap.config import SPLITS, Config
from synthgap.data.slices import shard_slice
from synthgap.job import command, output_path, run
from synthgap.planning.captions import measure_captions
from synthgap.planning.plan import Plan, wall_hours
from synthgap.planning.rows import Measured, Row
from synthgap.prompts import sample_seed

DOWNLOADS = {"download_file", "download_model"}
# Which part of a benchmark file's path names the row of the plan that it belongs to.
NAMED_BY = {
    "train_autoencoder": 0,
    "build_text_encoder": 0,
    "encode_latents": 0,
    "encode_texts": 0,
    "train_generator": 0,
    "train_edm": 0,
    "train_classifier": 2,
    "evaluate_classifier": 2,
    "extract_features": 0,
    "measure_reference": 0,
    "measure_distribution": 0,
    "measure_alignment": 0,
    "train_linear_probe": 2,
    "train_realism": 0,
    "generate_benchmark_images": 1,
    "detect_objects": 0,
    "answer_questions": 0,
}


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--config", type=Config.model_validate_json, required=True, help="as JSON")
    parser.add_argument("--table", type=output_path, required=True, help=".csv to write")
    return parser


def main(args: argparse.Namespace) -> None:
    config: Config = args.config
    results = Path(config.results)
    classes, real, notes = known_images(config, results / "real" / "index.parquet")
    measured, stale = measure(config, results, classes)
    rows = Plan(config, measured, classes, real).rows()
    write_table(rows, args.table)
    print(render(rows, config.gpus))
    if stale:
        notes.append(f"{stale} shards were made with other settings; they are not counted as done.")
    for note in notes:
        print(f"\n{note}")
    print(f"\nAll columns, sources of the speeds included: {args.table}")


def known_images(config: Config, index: Path) -> tuple[int | None, dict[str, int], list[str]]:
    """Return the number of classes, the real images a split, and what to say of both."""
    folder = Path(config.real.folder or "")
    classes, notes = config.real.known_classes, list[str]()
    if classes is None and config.real.dataset == "imagefolder" and folder.is_dir():
        classes = sum(entry.is_dir() for entry in folder.iterdir()) or None
    if index.exists():
        table = pq.read_table(index, columns=["class_index", "split"])
        found, splits = len(table["class_index"].unique()), table["split"].to_pylist()
        if classes in (None, found):
            return found, {split: splits.count(split) for split in SPLITS}, notes
        notes.append(f"{index} has {found} classes, not {classes}: another study's, so not used.")
    if classes is None:
        notes.append("The number of classes is not known yet; set `real.classes`.")
        return None, {}, notes
    notes.append("The real images are not indexed yet; they are counted as the config has them.")
    if config.real.images_per_class:
        return classes, {s: classes * config.real.images_per_class[s] for s in SPLITS}, notes
    return classes, {s: classes * config.synthetic.samples_per_class[s] for s in SPLITS}, notes


def measure(
    config: Config, results: Path, classes: int | None
) -> tuple[dict[tuple[str, str], Measured], int]:
    """Return what finished jobs say of their stage, and the number of shards that do not count."""
    found = {key: measure_jobs(hours) for key, hours in job_hours(config, results).items()}
    for file in config.weight_files:
        path = Path(config.downloads_folder, "files", file)
        found["download_file", file] = Measured({"": int(path.exists())})
    for model in config.hub_models.values():
        facts = Path(config.downloads_folder, f"{model.name}.json")
        found["download_model", model.label] = Measured({"": int(facts.exists())})
    found |= measure_captions(config, results)
    shards: dict[tuple[str, str], list[Path]] = defaultdict(list)
    stale = 0
    for tar in sorted((results / "images").glob("*/*/*/*.tar")):
        source, _, view, _ = tar.relative_to(results / "images").parts
        if view != "rgb":
            stage = "estimate_depth" if view in config.depth_views else "derive_view"
            shards[stage, view].append(tar)
        elif source in config.image_sets:
            shards["prepare_images", source].append(tar)
        elif source not in config.sources:
            stage = "prepare_real" if source == "real" else "composite_images"
            shards[stage, source].append(tar)
        elif is_current(config, source, tar, classes):
            shards["generate_images", source].append(tar)
        else:
            stale += 1
    for key, tars in shards.items():
        found[key] = measure_shards(key[0], tars, found.get(key, Measured()))
    # What is known of one kind of prompt serves the other.
    for source, (name, _) in config.sources.items():
        for other in (source for source, (owner, _) in config.sources.items() if owner == name):
            known = found.get(("generate_images", other))
            if known and ("generate_images", source) not in found:
                found["generate_images", source] = replace(known, done={})
    return found, stale


def job_hours(config: Config, results: Path) -> dict[tuple[str, str], list[float]]:
    """Return the hours of finished jobs, by stage and what, from Snakemake's benchmark files."""
    one_row = {
        "prepare_real": "real",
        "measure_spectrum": "transfer",
        "map_occlusion": "distinguish",
        "check_leaks": "distinguish",
        "measure_captions": "transfer",
        "measure_replication": "transfer",
        "choose_images": "edm",
        "measure_memorised": "casd",
        "count_classes": "casd",
    }
    hours: dict[tuple[str, str], list[float]] = defaultdict(list)
    for file in (results / "benchmarks").rglob("*.tsv"):
        stage, *parts = file.relative_to(results / "benchmarks").with_suffix("").parts
        what = one_row.get(stage) or (parts[NAMED_BY[stage]] if stage in NAMED_BY else "")
        lines = [line.split("\t") for line in file.read_text().splitlines()]
        if what and len(lines) > 1:
            hours[stage, what].append(float(dict(zip(*lines[:2], strict=True))["s"]) / 3600)
    return hours


def measure_jobs(hours: list[float]) -> Measured:
    """Return what jobs without images of their own say; they run on the CPU so far."""
    return Measured({"": len(hours)}, statistics.fmean(hours), device="cpu")


def is_current(config: Config, source: str, tar: Path, classes: int | None) -> bool:
    """Whether a shard was made with the settings that the config has now."""
    facts, split = json.loads(tar.with_suffix(".json").read_text()), tar.parts[-3]
    name = config.sources[source][0]
    expected = {
        "generator": config.generator_options(name),
        "shards": config.shards_of(source)[split],
        "threads": config.generators[name].threads,
    }
    if any(facts["options"].get(key) != value for key, value in expected.items()):
        return False
    [first] = pq.ParquetFile(tar.with_suffix(".parquet")).read_row_group(0).slice(0, 1).to_pylist()
    index = int(first["key"].rpartition("-")[2])
    if first["seed"] != sample_seed(config.seed, source, split, first["class_name"], index):
        return False
    total = (classes or 0) * config.samples_of(source)[split]
    wanted = shard_slice(total, int(tar.stem), config.shards_of(source)[split])
    return classes is None or facts["images"] == wanted.stop - wanted.start


def measure_shards(stage: str, tars: list[Path], known: Measured) -> Measured:
    """Return what finished shards say: how many, how fast, how large."""
    facts = [json.loads(tar.with_suffix(".json").read_text()) for tar in tars]
    images = sum(fact["images"] for fact in facts)
    size = sum(tar.stat().st_size for tar in tars) / images if images else None
    speed, hours, device = None, known.hours_a_job, known.device
    if stage in ("generate_images", "estimate_depth"):
        speed = statistics.median(fact["images_per_second"] for fact in facts)
        device = facts[-1]["device"]
    if hours is None:
        hours = statistics.fmean(fact["seconds"] for fact in facts) / 3600
        device = facts[-1]["device"]
    return Measured(Counter(tar.parts[-3] for tar in tars), hours, speed, device, size)


def write_table(rows: list[Row], path: Path) -> None:
    """Write all that is known, a line a row."""
    table = pa.Table.from_pylist([asdict(row) for row in rows])
    with atomic_path(path) as part:
        pyarrow.csv.write_csv(table, part)


def render(rows: list[Row], gpus: int) -> str:
    """Return the table as text, with the sums below."""
    lines = [line(row) for row in rows]
    headers = (
        "stage", "what", "jobs", "done", "images", "device", "images/s", "basis",
        "hours left", "longest, min", "GB",
    )  # fmt: skip
    right = ("left", "left", *["right"] * 3, "left", "right", "left", *["right"] * 3)
    table = tabulate(lines, headers, colalign=right, disable_numparse=True)
    notes = [
        f"  {row.what}: {row.note}"
        for row in rows
        if row.note and (row.stage not in DOWNLOADS or "gated" in row.note)
    ]
    devices: dict[str, float] = defaultdict(float)
    for row in rows:
        if row.on_gpu:
            devices[row.device] += row.hours or 0.0
    shares = ", ".join(f"{hours:,.1f} on {device}" for device, hours in devices.items())
    downloads = [row for row in rows if row.stage in DOWNLOADS and not row.done]
    unknown = [f"{row.stage} {row.what}" for row in rows if row.hours is None]
    sums = [
        f"{sum(row.jobs for row in rows):,} jobs of the stages above, "
        f"{sum(row.done for row in rows):,} of them done",
        f"{sum(devices.values()):,.1f} GPU hours left" + (f" ({shares})" if shares else ""),
        f"{wall_hours(rows, gpus):,.1f} hours on {gpus} GPUs at once (`gpus` in the config)",
        f"{sum(row.hours or 0 for row in rows if row.device == 'cpu'):,.1f} hours of CPU jobs left",
        f"{sum(row.gb or 0 for row in rows if row.stage not in DOWNLOADS):,.1f} GB of images, and "
        "of latents and texts to learn from",
        f"models to download: {len(downloads)}, {sum(row.gb or 0 for row in downloads):,.1f} GB"
        + (", some of unknown size" if any(row.gb is None for row in downloads) else ""),
    ]
    if any(row.input_tokens for row in rows):
        tokens_in, tokens_out = (
            sum(getattr(row, name) or 0 for row in rows) / 1e6
            for name in ("input_tokens", "output_tokens")
        )
        asked = [row for row in rows if row.stage == "caption_images"]
        costs = [row.usd for row in asked if row.usd is not None]
        told = f"{tokens_in:,.1f} million tokens in, {tokens_out:,.1f} out"
        money = f", {sum(costs):,.2f} US dollars" if costs else ""
        sums.append(f"captions left: {told}{money}")
    if unknown:
        sums.append("not known yet, and so not in these hours: " + ", ".join(unknown))
    return "\n".join([table, "", *notes, *([""] if notes else []), *sums])


def line(row: Row) -> tuple[str | int, ...]:
    """Return the cells of a row: empty where nothing belongs, `?` for what is not known."""
    if row.stage in DOWNLOADS:
        return (row.stage, row.what, row.jobs, row.done, *[""] * 6, number(row.gb, 1))
    return (
        row.stage, row.what, row.jobs, row.done, number(row.images), row.device or "?",
        speed(row.images_per_second), row.basis or "?", number(row.hours, 1),
        number(row.longest and row.longest * 60, 1), number(row.gb, 1) if row.gb else "",
    )  # fmt: skip


def number(value: float | None, digits: int = 0) -> str:
    """Return a number for people, `?` for one that is not known."""
    if value is None:
        return "?"
    if 0 < value < 0.5 * 10**-digits:
        return f"<{10**-digits:g}"
    return f"{value:,.{digits}f}"


def speed(value: float | None) -> str:
    """Return a speed to three digits that count."""
    if value is None:
        return "?"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    run(options(), main)
