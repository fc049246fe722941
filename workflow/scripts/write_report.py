"""Write the report, one HTML page that opens offline, and what it found of the paper's claims."""

import argparse
import importlib.metadata
import os
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from synthgap import __version__
from synthgap.atomic import write_text
from synthgap.figures.comparisons import label
from synthgap.job import command, input_path, json_list, json_object, output_path, run
from synthgap.metrics.table import read, rows
from synthgap.report.claims import claims, claims_csv
from synthgap.report.examples import Examples
from synthgap.report.render import render
from synthgap.report.stages import stages

OCCLUSION = "occlusion-"
OCCLUSION_CAPTION = (
    "Test images, and how much surer the classifier is of their source with each place than "
    "without it: the drop of the log-odds when a square there is covered. The last panels are the "
    "mean over the images of each source: where they differ whatever they show."
)
LIBRARIES = ("torch", "diffusers", "transformers", "timm", "numpy", "scikit-learn")


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--metrics", type=input_path, required=True)
    parser.add_argument("--figures", type=input_path, nargs="*", default=[], help="SVG")
    parser.add_argument(
        "--numbers", type=input_path, nargs="*", default=[], help="CSV, of figures of these names"
    )
    parser.add_argument(
        "--specs", type=input_path, nargs="*", default=[], help="JSON, of figures of these names"
    )
    parser.add_argument("--examples", type=input_path, nargs="?", help="of choose_examples")
    parser.add_argument("--config-files", nargs="*", default=[], help="but for the default one")
    parser.add_argument(
        "--overrides", nargs="*", default=[], help="values of the config as they were typed"
    )
    parser.add_argument(
        "--quizzes", type=json_list, default=[], help="for people: name, page and answers of each"
    )
    parser.add_argument("--sheets", type=input_path, nargs="*", default=[], help="PNG")
    parser.add_argument("--classes", type=input_path, help="accuracies by class (parquet)")
    parser.add_argument("--caption-sample", type=input_path, nargs="?", help="where there is one")
    parser.add_argument("--captioner", type=json_object, default={}, help="as it was asked")
    parser.add_argument("--benchmarks", type=Path, help="folder: what the jobs of each stage took")
    parser.add_argument("--distribution", help="of the config's, for the main table")
    parser.add_argument("--config", type=json_object, required=True, help="the whole config")
    parser.add_argument("--report", type=output_path, required=True)
    parser.add_argument("--claims", type=output_path, help="CSV to write: a row a finding")
    return parser


def commands(given: str) -> list[str]:
    """Return what makes all of it again, what is missing, and the page alone."""
    return [
        f"snakemake{given}" if given else "make demo",
        f"snakemake report{given}",
        f"snakemake report{given} --forcerun write_report",
    ]


def main(args: argparse.Namespace) -> None:
    sheets = []
    for path in args.sheets:
        title = f"Where the classifier looks: {label(path.stem.removeprefix(OCCLUSION))}"
        told = {"title": title, "caption": OCCLUSION_CAPTION, "fit": True}
        sheets.append(told | {"png_bytes": path.read_bytes()})
    given = f" --configfile {' '.join(args.config_files)}" if args.config_files else ""
    if args.overrides:
        given += f" --config {shlex.join(args.overrides)}"
    context = {
        "config_yaml": yaml.safe_dump(args.config, sort_keys=False),
        # Not by its metadata: where the library comes by PYTHONPATH only, it has none.
        "versions": {"synthgap": __version__}
        | {name: importlib.metadata.version(name) for name in LIBRARIES},
        "distribution": args.distribution,
        "caption_prompt": args.captioner.get("prompt", ""),
        "commands": commands(given),
        "given": given,
        "quizzes": args.quizzes,
        "gpu_stages": os.environ.get("SYNTHGAP_GPU_STAGES", "").split(),
    }
    figures, numbers, specs = (
        {path.stem: path.read_text() for path in paths}
        for paths in (args.figures, args.numbers, args.specs)
    )
    sample = pq.read_table(args.caption_sample).to_pylist() if args.caption_sample else []
    examples = Examples.of(pq.read_table(args.examples)) if args.examples else None
    table = read(args.metrics)
    found = claims(rows(table), distribution=args.distribution)
    if args.claims:
        write_text(args.claims, claims_csv(found))
    classes = pq.read_table(args.classes).to_pylist() if args.classes else []
    page = render(
        table,
        figures,
        sheets,
        context,
        sample,
        numbers,
        found,
        classes,
        specs,
        examples,
        stages(args.benchmarks) if args.benchmarks else [],
    )
    write_text(args.report, page)


if __name__ == "__main__":
    run(options(), main)
