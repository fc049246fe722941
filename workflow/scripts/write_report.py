"""Write the report, one HTML page that opens offline, and what it found of the paper's claims."""

import argparse
import importlib.metadata

import pyarrow.parquet as pq
import yaml

from synthgap import __version__
from synthgap.atomic import write_text
from synthgap.figures.comparisons import label
from synthgap.job import command, input_path, json_list, json_object, output_path, run
from synthgap.metrics.table import read, rows
from synthgap.report.claims import claims, claims_csv
from synthgap.report.render import render

SHEETS = {
    "contact-sources": (
        "What the sources look like",
        "The first test images of each source; columns go through the classes in turn.",
    ),
    "contact-views": (
        "What each view keeps",
        "Test images of real and generated sources in each view: first as they are, then what is "
        "left of them. A row is one image; the classes are the same for all sources. A classifier "
        "is trained and tested in one view.",
    ),
    "contact-composites": (
        "CutMix composites",
        "Real training images, each with a part from an image of another class.",
    ),
    "contact-models": (
        "What models of real and synthetic images make",
        "Real training images, the synthetic ones, and samples of each model: of real images alone "
        "(dm), of both (sda), of both with their source told (casd). n is the number of real "
        "images, m that of synthetic ones.",
    ),
    "contact-nearest": (
        "Generated images and the training images that they are nearest to",
        "Of each model the images that come nearest to one of its real training images, and under "
        "each that image: what is the same in both is a copy.",
    ),
}
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
    parser.add_argument("--config-files", nargs="*", default=[], help="but for the default one")
    parser.add_argument(
        "--quizzes", type=json_list, default=[], help="for people: name, page and answers of each"
    )
    parser.add_argument("--sheets", type=input_path, nargs="+", required=True, help="PNG")
    parser.add_argument("--classes", type=input_path, help="accuracies by class (parquet)")
    parser.add_argument("--caption-sample", type=input_path, nargs="?", help="where there is one")
    parser.add_argument("--captioner", type=json_object, default={}, help="as it was asked")
    parser.add_argument("--distribution", help="of the config's, for the main table")
    parser.add_argument("--config", type=json_object, required=True, help="the whole config")
    parser.add_argument("--report", type=output_path, required=True)
    parser.add_argument("--claims", type=output_path, help="CSV to write: a row a finding")
    return parser


def described(sheet: str) -> tuple[str, str]:
    """Return title and caption of an image, by its file's name."""
    if not sheet.startswith(OCCLUSION):
        return SHEETS[sheet]
    return f"Where the classifier looks: {label(sheet.removeprefix(OCCLUSION))}", OCCLUSION_CAPTION


def commands(config_files: list[str]) -> list[str]:
    """Return what makes all of it again, what is missing, and the page alone."""
    given = f" --configfile {' '.join(config_files)}" if config_files else ""
    return [
        f"snakemake{given}" if given else "make demo",
        f"snakemake report{given}",
        f"snakemake report{given} --forcerun write_report",
    ]


def main(args: argparse.Namespace) -> None:
    sheets = []
    for path in args.sheets:
        title, caption = described(path.stem)
        told = {"title": title, "caption": caption, "fit": path.stem.startswith(OCCLUSION)}
        sheets.append(told | {"png_bytes": path.read_bytes()})
    context = {
        "config_yaml": yaml.safe_dump(args.config, sort_keys=False),
        # Not by its metadata: where the library comes by PYTHONPATH only, it has none.
        "versions": {"synthgap": __version__}
        | {name: importlib.metadata.version(name) for name in LIBRARIES},
        "distribution": args.distribution,
        "caption_prompt": args.captioner.get("prompt", ""),
        "commands": commands(args.config_files),
        "quizzes": args.quizzes,
    }
    figures = {path.stem: path.read_text() for path in args.figures}
    sample = pq.read_table(args.caption_sample).to_pylist() if args.caption_sample else []
    numbers = {path.stem: path.read_text() for path in args.numbers}
    table = read(args.metrics)
    found = claims(rows(table), distribution=args.distribution)
    if args.claims:
        write_text(args.claims, claims_csv(found))
    classes = pq.read_table(args.classes).to_pylist() if args.classes else []
    page = render(table, figures, sheets, context, sample, numbers, found, classes)
    write_text(args.report, page)


if __name__ == "__main__":
    run(options(), main)
