"""Score a compositional benchmark from what was found in its images, with intervals over prompts.

  python workflow/scripts/score_benchmark.py --benchmark geneval \\
      --prompts evaluation_metadata.jsonl --results results.jsonl --output metrics.json
"""

import argparse
import time

from synthgap.compositional import dpg, dpg_questions, geneval
from synthgap.job import command, facts, input_path, json_object, log, output_path, run
from synthgap.metrics.measures import write_measures


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--benchmark", choices=[geneval.BENCHMARK, dpg.BENCHMARK], required=True)
    parser.add_argument("--prompts", type=input_path, required=True, help="the official file")
    parser.add_argument("--results", type=input_path, required=True, help="a JSON line each")
    parser.add_argument(
        "--few", action="store_true", help="allow an incomplete set; named after it"
    )
    parser.add_argument(
        "--rewritten", action="store_true", help="of other wordings; named after it"
    )
    parser.add_argument("--about", type=json_object, default={}, help="to be said of all numbers")
    parser.add_argument("--seed", type=int, default=0, help="of the intervals")
    parser.add_argument("--output", type=output_path, required=True, help=".json")
    return parser


def main(args: argparse.Namespace) -> None:
    started = time.monotonic()
    kind = {"few": args.few, "rewritten": args.rewritten, "seed": args.seed}
    if args.benchmark == geneval.BENCHMARK:
        prompts = geneval.read_prompts(args.prompts)
        right = geneval.read_results(args.results, prompts)
        measures = geneval.measures(prompts, right, **kind)
    else:
        items = dpg_questions.read_items(args.prompts)
        measures = dpg.measures(items, dpg.read_answers(args.results, items), **kind)
    told = facts(args, time.monotonic() - started, measures[0].settings["images"])
    write_measures(args.output, measures, args.about, told)
    for one in measures:
        log.info("%s %.4f [%.4f, %.4f] of %d", one.metric, one.value, one.low, one.high, one.n)


if __name__ == "__main__":
    run(options(), main)
