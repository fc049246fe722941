"""Choose the images that the page shows, with what leads back to what made each.

`--sheets` says what there is to choose from: JSON, a kind of sheet and the files of its lines.
"""

import argparse
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from synthgap.atomic import atomic_path
from synthgap.data.captions import read_captions
from synthgap.data.shards import Manifest
from synthgap.job import command, input_path, json_object, log, output_path, run
from synthgap.metrics.predictions import Predictions
from synthgap.report import examples
from synthgap.report.examples import Picked


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--sheets", type=json_object, required=True, help="by kind, their files")
    parser.add_argument("--captions", type=input_path, nargs="*", default=[], help="of real images")
    parser.add_argument("--examples", type=output_path, required=True, help=".parquet to write")
    return parser


def main(args: argparse.Namespace) -> None:
    sheets = {kind: PICK[kind](files) for kind, files in args.sheets.items()}
    captions = {row["key"]: row["caption"] for row in read_captions(args.captions)}
    found = examples.describe(sheets, captions)
    for kind, picked in sheets.items():
        log.info("%s: %d images", kind, len(picked))
    with atomic_path(args.examples) as part:
        pq.write_table(found.table(), part)


def same_classes(files: dict[str, Any]) -> list[Picked]:
    return examples.same_classes({line: Manifest(path) for line, path in files.items()})


def in_views(files: dict[str, Any]) -> list[Picked]:
    manifests = {
        source: {view: Manifest(path) for view, path in views.items()}
        for source, views in files.items()
    }
    return examples.in_views(manifests)


def typical(files: dict[str, Any]) -> list[Picked]:
    most = examples.columns(2 * len(files))
    return [
        one
        for source, of in files.items()
        for one in examples.typical(
            source, Manifest(of["manifest"]), pq.read_table(of["items"]), most
        )
    ]


def uncovered(files: dict[str, Any]) -> list[Picked]:
    real, most = Manifest(files["real"]), examples.columns(len(files["items"]))
    return [
        one
        for source, items in files["items"].items()
        for one in examples.uncovered(source, real, pq.read_table(items), most)
    ]


def nearest(files: dict[str, Any]) -> list[Picked]:
    real, most = Manifest(files["real"]), examples.columns(2 * len(files["sources"])) // 2
    return [
        one
        for source, of in files["sources"].items()
        for one in examples.nearest(
            source,
            real,
            Manifest(of["manifest"]),
            pq.read_table(of["nearest"]),
            files["metric"],
            most,
        )
    ]


def mistaken(files: dict[str, Any]) -> list[Picked]:
    """Real test images that classifiers, each trained on another source, get wrong."""
    manifest, most = Manifest(files["manifest"]), examples.columns(len(files["predictions"]))
    found = []
    for source, path in files["predictions"].items():
        predictions = Predictions(Path(path))
        line = f"learnt from {source}"
        found += examples.mistaken(
            line, manifest, predictions.of(files["test"]), predictions.classes, most
        )
    return found


def taken(files: dict[str, Any]) -> list[Picked]:
    """Test images that a classifier takes for those of another source."""
    most = examples.columns(len(files))
    found = []
    for comparison, of in files.items():
        predictions, manifest = Predictions(Path(of["predictions"])), Manifest(of["manifest"])
        answers = predictions.of(comparison)
        found += examples.mistaken(comparison, manifest, answers, predictions.classes, most)
    return found


PICK = {
    "sources": same_classes,
    "views": in_views,
    "composites": same_classes,
    "models": same_classes,
    "typical": typical,
    "uncovered": uncovered,
    "nearest": nearest,
    "mistaken": mistaken,
    "taken": taken,
}

if __name__ == "__main__":
    run(options(), main)
