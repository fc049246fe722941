"""Print what each stage cost: jobs, seconds and memory, from Snakemake's benchmark files."""

import argparse
from pathlib import Path

from synthgap.job import command, run


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--benchmarks", type=Path, required=True, help="folder, one file a job")
    parser.add_argument("--report", type=Path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    stages: dict[str, list[tuple[float, float]]] = {}
    for file in sorted(args.benchmarks.rglob("*.tsv")):
        header, values, *_ = (line.split("\t") for line in file.read_text().splitlines())
        measured = dict(zip(header, values, strict=True))
        stage = file.relative_to(args.benchmarks).with_suffix("").parts[0]
        # A job too short to be sampled has no memory in its file.
        memory = measured["max_rss"]
        sampled = memory not in ("-", "NA")
        stages.setdefault(stage, []).append((float(measured["s"]), float(memory) if sampled else 0))
    if not stages:
        return
    print("\nWhat the finished jobs took:")
    print(f"{'stage':<24}{'jobs':>6}{'seconds':>10}{'longest':>10}{'memory, MB':>12}")
    for stage, jobs in sorted(stages.items(), key=lambda item: -sum(s for s, _ in item[1])):
        seconds = [s for s, _ in jobs]
        print(
            f"{stage:<24}{len(jobs):>6}{sum(seconds):>10.1f}{max(seconds):>10.1f}"
            f"{max(memory for _, memory in jobs):>12.0f}"
        )
    total = sum(s for jobs in stages.values() for s, _ in jobs)
    print(f"{'all (work of all cores)':<24}{sum(map(len, stages.values())):>6}{total:>10.1f}")
    if args.report.exists():
        print(f"\nThe report: {args.report.resolve()}")


if __name__ == "__main__":
    run(options(), main)
