"""Put the metrics tables of two runs side by side, with the differences that can be shown."""

import argparse

from synthgap.atomic import write_text
from synthgap.job import command, input_path, output_path, run
from synthgap.metrics.compare import check_labels, compare, comparison_csv
from synthgap.metrics.table import read, rows
from synthgap.report.compare import headline, page


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument(
        "--metrics", type=input_path, nargs=2, required=True, help="the older table, the newer one"
    )
    parser.add_argument("--labels", nargs=2, help="what to call them; their paths by default")
    parser.add_argument(
        "--single-seeds", action="store_true", help="also numbers of single training seeds"
    )
    parser.add_argument("--comparison", type=output_path, required=True, help="HTML to write")
    parser.add_argument("--numbers", type=output_path, required=True, help="CSV to write")
    return parser


def main(args: argparse.Namespace) -> None:
    labels = check_labels(args.labels or [str(path) for path in args.metrics])
    first, second = (rows(read(path)) for path in args.metrics)
    found = compare(first, second, single_seeds=args.single_seeds)
    write_text(args.numbers, comparison_csv(found, labels))
    write_text(args.comparison, page(found, labels, [str(path) for path in args.metrics]))
    print(f"{labels[1]} beside {labels[0]}: {headline(found.pairs)}")
    print(f"{len(found.only_first)} numbers only in {labels[0]}, {len(found.only_second)} only in "
          f"{labels[1]}; the page: {args.comparison.resolve().as_uri()}")  # fmt: skip


if __name__ == "__main__":
    run(options(), main)
