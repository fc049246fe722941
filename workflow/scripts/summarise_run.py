"""Tell in a few lines what a finished run has made, what it found and what it took."""

import argparse
import logging
import sys
import time
from pathlib import Path

from synthgap.job import command, count, json_object, run

HINTS = {
    True: "a further line under `generators` adds a source and makes what depends on it alone; "
    "`snakemake -n` shows which jobs that are. config/README.md has all options.",
    False: "`snakemake compare --config compare_with=FOLDER` puts another run's numbers beside "
    "these.",
}


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--report", type=Path, help="that was asked for, if it was")
    parser.add_argument("--sources", type=json_object, required=True, help="lists, by kind")
    parser.add_argument("--jobs", type=count, required=True, help="of this run")
    parser.add_argument("--began", type=float, required=True, help="seconds since 1970")
    parser.add_argument("--example", action="store_true", help="the study is the embedded default")
    return parser


def main(args: argparse.Namespace) -> None:
    # A run has come to its end when this begins: whatever is wrong, it has not failed.
    try:
        text = told(args)
    except Exception:
        logging.getLogger("synthgap").warning("no summary", exc_info=True)
        text = f"\nDone. No summary could be made of {args.results}; {args.log} says why."
    # A terminal that cannot show a sign gets a question mark.
    print(text.encode(sys.stdout.encoding, "replace").decode(sys.stdout.encoding))


def told(args: argparse.Namespace) -> str:
    from synthgap.metrics import table
    from synthgap.report import summary
    from synthgap.report.headlines import headlines
    from synthgap.report.stages import stages

    benchmarks, seconds = args.results / "benchmarks", time.time() - args.began
    if args.report is None:
        took = stages(benchmarks, since=args.began)
        return summary.short_summary(args.jobs, seconds, took)
    metrics = args.results / "metrics.parquet"
    return summary.summary(
        args.jobs,
        seconds,
        summary.made(args.results, args.sources),
        headlines(table.rows(table.read(metrics))) if metrics.exists() else [],
        stages(benchmarks),
        args.report,
        HINTS[args.example],
    )


if __name__ == "__main__":
    run(options(), main)
