"""Measure how well images follow their prompts, or how people would like them.

Works on anybody's images: a folder of them with a table of prompts, or shards of this project, each
image with its own prompt. Killed and started again it goes on after its last finished batch.

  python workflow/scripts/measure_alignment.py --images photos/ --prompts prompts.csv \\
      --scorer clipscore --model clip=clip-vit-base-patch32/ --output metrics.json
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthgap.atomic import atomic_path
from synthgap.devices import limit_threads, take_device
from synthgap.errors import UserError
from synthgap.job import (
    InputPath,
    command,
    count,
    facts,
    input_path,
    json_object,
    log,
    output_path,
    run,
    scratch_folder,
    seed,
)
from synthgap.metrics.intervals import bootstrap_mean
from synthgap.metrics.measures import Measure, write_measures
from synthgap.progress import Progress
from synthgap.scorers import SCORER_KINDS, Scorer, make_scorer, modules_of
from synthgap.scorers.pairs import Pair, read_pairs
from synthgap.scorers.scoring import Scored, score_resumably

SCHEMA = pa.schema([("key", pa.string()), ("prompt", pa.string()), ("score", pa.float32())])
BATCH_SIZE = 64


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument(
        "--images", type=input_path, nargs="+", required=True, help="shards, or one folder"
    )
    parser.add_argument(
        "--prompts", type=input_path, help="parquet, csv or jsonl: `file`, `prompt`"
    )
    parser.add_argument(
        "--scorer", type=scorer, required=True, help=f"JSON, or one of {', '.join(SCORER_KINDS)}"
    )
    parser.add_argument(
        "--model", nargs="+", default=[], metavar="ROLE=PATH", help="the scorer's folders and files"
    )
    parser.add_argument("--samples", type=int, help="only the first images")
    parser.add_argument("--batch-size", type=int, help="images a call; default: the scorer's")
    parser.add_argument("--threads", type=count, default=2, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument("--seed", type=seed, default=0, help="of the interval")
    parser.add_argument("--about", type=json_object, default={}, help="to be said of the number")
    parser.add_argument("--scratch", type=Path, help="folder of unfinished work")
    parser.add_argument("--scores", type=output_path, help="parquet: a row an image")
    parser.add_argument("--output", type=output_path, required=True, help=".json")
    return parser


def scorer(text: str) -> dict[str, Any]:
    """Option type: a scorer's options as JSON, or the name of its kind."""
    return json_object(text) if text.lstrip().startswith("{") else {"kind": text}


def main(args: argparse.Namespace) -> None:
    started = time.monotonic()
    modules = modules_of(args.scorer)
    if args.batch_size is None:
        args.batch_size = args.scorer.get("batch_size", BATCH_SIZE)
    for name in ("samples", "batch_size", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1: {value}")
    # Separate options, so that their files enter the name of the scratch folder.
    args.models = list(models_of(args.model).values())
    args.scratch = args.scratch or args.output.with_name(f".{args.output.name}.scratch")
    device = take_device(args.gpus)
    limit_threads(args.threads)
    made = make_scorer(args.scorer, models=models_of(args.model), device=device)
    total, pairs = read_pairs(args.images, args.prompts, args.samples, made.needs_prompt)
    log.info("%s of %d images on %s", made.metric, total, device)
    folder = scratch_folder(args, *modules)
    batches = score_resumably(
        pairs, made, folder=folder, batch_size=args.batch_size, threads=args.threads
    )
    if args.scores:
        with atomic_path(args.scores) as part, pq.ParquetWriter(part, SCHEMA) as table:
            scores, cut = collect(batches, total, table)
    else:
        scores, cut = collect(batches, total)
    measure = measured(made, scores, cut, args.seed)
    if cut:
        log.info("%d of %d prompts are longer than %s reads", cut, total, made.metric)
    told = facts(args, time.monotonic() - started, total, device)
    write_measures(args.output, [measure], args.about, told)
    log.info("%s %.4f [%.4f, %.4f]", made.metric, measure.value, measure.low, measure.high)


def models_of(given: list[str]) -> dict[str, InputPath]:
    """Return folders and files by role, from ROLE=PATH."""
    found = {}
    for text in given:
        role, equals, path = text.partition("=")
        if not equals:
            raise UserError(f"--model {text}: write ROLE=PATH, such as clip=folder")
        if role in found:
            raise UserError(f"--model {role} is given twice")
        found[role] = input_path(path)
    return found


def collect(
    batches: Iterator[tuple[list[Pair], Scored]], total: int, table: pq.ParquetWriter | None = None
) -> tuple[NDArray[np.float32], int]:
    """Return all scores, and the number of prompts that were cut; write rows as they come."""
    scores: list[float] = []
    cut = 0
    with Progress(total, "images") as progress:
        for pairs, scored in batches:
            scores += scored.scores
            cut += scored.cut
            if table is not None:
                columns = [[p.key for p in pairs], [p.prompt for p in pairs], scored.scores]
                table.write_table(pa.table(columns, schema=SCHEMA))
            progress.update(len(pairs))
    return np.asarray(scores, np.float32), cut


def measured(scorer: Scorer, scores: NDArray[np.float32], cut: int, seed: int) -> Measure:
    """Return the mean over images with its interval."""
    mean = bootstrap_mean(scores, seed=seed)
    return Measure(
        scorer.metric,
        mean.value,
        len(scores),
        mean.low,
        mean.high,
        settings={"scorer": scorer.identity, "prompts_cut": cut},
        name=scorer.name,
    )


if __name__ == "__main__":
    run(options(), main)
