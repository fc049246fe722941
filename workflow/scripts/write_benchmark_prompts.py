"""Write the prompts of a compositional benchmark, for `generate_images`: a row for each image.

The official file is the user's own copy: GenEval's `evaluation_metadata.jsonl`, or DPG-Bench's
`dpg_bench.csv` (and, with `--prompts-folder`, its folder of prompts).
"""

import argparse
import json

import pyarrow as pa
import pyarrow.parquet as pq

from synthgap.atomic import atomic_path
from synthgap.compositional import dpg, dpg_questions, geneval
from synthgap.compositional.images import IMAGES_PER_PROMPT, prompt_rows
from synthgap.errors import UserError
from synthgap.job import command, input_path, log, output_path, run


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--benchmark", choices=[geneval.BENCHMARK, dpg.BENCHMARK], required=True)
    parser.add_argument("--official", type=input_path, required=True, help="the official file")
    parser.add_argument("--prompts-folder", type=input_path, help="of DPG-Bench: ITEM_ID.txt each")
    parser.add_argument("--rewritten", type=input_path, help="text: other wordings, a line each")
    parser.add_argument("--images", type=int, default=IMAGES_PER_PROMPT, help="a prompt")
    parser.add_argument("--few", action="store_true", help="allow another set than the official")
    parser.add_argument("--source", required=True, help="enters the seeds")
    parser.add_argument("--seed", type=int, required=True, help="the study's")
    parser.add_argument("--prompts", type=output_path, required=True, help=".parquet")
    return parser


def main(args: argparse.Namespace) -> None:
    if args.images < 1:
        raise UserError(f"--images must be at least 1: {args.images}")
    if args.benchmark == geneval.BENCHMARK:
        lines = geneval.read_prompts(args.official)
        reason, prompts = geneval.unofficial(lines), [(line.task, line.text) for line in lines]
    else:
        items = dpg_questions.read_items(args.official, args.prompts_folder)
        reason, prompts = dpg_questions.unofficial(items), [(i.item_id, i.prompt) for i in items]
    if reason and not args.few:
        raise UserError(f"{args.official} is not the official set: {reason}; allow `few` to use it")
    rows = prompt_rows(
        args.benchmark,
        prompts,
        images=args.images,
        source=args.source,
        seed=args.seed,
        rewritten=args.rewritten.read_text().splitlines() if args.rewritten else None,
    )
    table = pa.Table.from_pylist(
        [row | {"details": json.dumps(row["details"], sort_keys=True)} for row in rows]
    )
    with atomic_path(args.prompts) as part:
        pq.write_table(table, part)
    log.info("%d images of %d prompts, the first: %s", len(rows), len(prompts), rows[0]["prompt"])


if __name__ == "__main__":
    run(options(), main)
