"""Draw one figure from the metrics table: for the page, for print, and the rows that it shows."""

import argparse
import importlib

from synthgap.atomic import write_text
from synthgap.figures.data import csv_text
from synthgap.figures.style import spec, svg
from synthgap.job import command, input_path, output_path, run
from synthgap.metrics.table import read


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--metrics", type=input_path, required=True)
    parser.add_argument("--name", required=True, help="a module of synthgap.figures")
    parser.add_argument("--distribution", help="of the config's, where a figure shows one")
    parser.add_argument("--spec", type=output_path, help="Vega-Lite JSON to write, for the page")
    parser.add_argument("--figure", type=output_path, required=True, help="SVG to write")
    parser.add_argument("--numbers", type=output_path, help="CSV to write: the rows it shows")
    return parser


def main(args: argparse.Namespace) -> None:
    figure = importlib.import_module(f"synthgap.figures.{args.name}")
    chosen = {"distribution": args.distribution} if args.distribution else {}
    table = read(args.metrics)
    if args.numbers:
        write_text(args.numbers, csv_text(figure.numbers(table, **chosen)))
    chart = figure.draw(table, **chosen)
    if args.spec:
        write_text(args.spec, spec(chart))
    write_text(args.figure, svg(chart))


if __name__ == "__main__":
    run(options(), main)
