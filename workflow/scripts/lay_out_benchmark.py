"""Lay out a benchmark's images, from shards, as its official evaluation expects them.

GenEval: NNNNN/metadata.jsonl and NNNNN/samples/0000.png to 0003.png. DPG-Bench: ITEM_ID.png, a 2x2
grid. The folder appears when it is whole; killed, the command goes on with what it had written.
"""

import argparse

from synthgap.compositional import dpg, dpg_questions, geneval
from synthgap.job import command, input_path, log, output_path, run


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--benchmark", choices=[geneval.BENCHMARK, dpg.BENCHMARK], required=True)
    parser.add_argument("--official", type=input_path, required=True, help="the official file")
    parser.add_argument("--prompts-folder", type=input_path, help="of DPG-Bench: ITEM_ID.txt each")
    parser.add_argument("--images", type=input_path, nargs="+", required=True, help="shards")
    parser.add_argument("--few", action="store_true", help="allow prompts without all images")
    parser.add_argument("--folder", type=output_path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    if args.benchmark == geneval.BENCHMARK:
        prompts = geneval.read_prompts(args.official)
        images = geneval.lay_out(args.images, prompts, args.folder, args.few)
    else:
        items = dpg_questions.read_items(args.official, args.prompts_folder)
        images = dpg.lay_out(args.images, items, args.folder, args.few)
    log.info("%d images", images)


if __name__ == "__main__":
    run(options(), main)
