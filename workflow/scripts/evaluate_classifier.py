"""Test a classifier on the images of one or more manifests.

Writes a row for each image: what it shows, what the classifier says, and the probability it
gives to what the image shows. Rows are in the order of the --test options and the manifests.
"""

import argparse
import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthgap.atomic import atomic_path
from synthgap.classifiers.evaluation import load, predict, set_up
from synthgap.data.shards import Manifest, image_of
from synthgap.errors import UserError
from synthgap.job import InputPath, command, input_path, output_path, run
from synthgap.progress import Progress

log = logging.getLogger("synthgap")

# Images are read and classified this many at a time, which bounds the memory.
BATCH = 256
SCHEMA = pa.schema(
    [
        ("test_source", pa.string()),
        ("key", pa.string()),
        ("image", pa.string()),  # the key, but for crops: that of the image they are of
        ("class_index", pa.int32()),
        ("predicted", pa.int32()),
        ("correct", pa.bool_()),
        ("probability_of_class", pa.float32()),
    ]
)


def test_option(text: str) -> tuple[str, InputPath]:
    """Option type: NAME=MANIFEST."""
    name, separator, path = text.partition("=")
    if not (name and separator):
        raise UserError(f"--test {text}: give NAME=MANIFEST, for example real=manifest.parquet")
    return name, input_path(path)


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--model", type=input_path, required=True, help="of train_classifier")
    parser.add_argument(
        "--test",
        type=test_option,
        required=True,
        action="append",
        metavar="NAME=MANIFEST",
        help="a source's name and its manifest; may be given more than once",
    )
    parser.add_argument("--threads", type=int, required=True, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument("--predictions", type=output_path, required=True, help=".parquet to write")
    return parser


def main(args: argparse.Namespace) -> None:
    names = [name for name, _ in args.test]
    if len(set(names)) < len(names):
        raise UserError(f"--test: a name is given twice: {', '.join(names)}")
    device = set_up(args.threads, args.gpus)
    model, _, classes = load(args.model)
    model.to(device)

    tests = {name: Manifest(path) for name, path in args.test}
    for manifest in tests.values():
        log.info("read %s", manifest.path)
        if manifest.classes != classes:
            raise UserError(
                f"{manifest.path} has other classes than {args.model}: {manifest.classes[:5]}... "
                f"and {classes[:5]}...; names and order must be the same"
            )

    tables = []
    with Progress(sum(map(len, tests.values())), "images") as progress:
        for name, manifest in tests.items():
            for start in range(0, len(manifest), BATCH):
                rows = range(start, min(start + BATCH, len(manifest)))
                shown = manifest.class_indices[start : start + BATCH]
                probabilities = predict(model, manifest.images(rows), BATCH)
                predicted = probabilities.argmax(1)
                part = manifest.table.select(["key", "details"]).slice(start, len(rows))
                columns = [
                    [name] * len(rows),
                    part["key"].to_pylist(),
                    [image_of(row["key"], row["details"]) for row in part.to_pylist()],
                    shown,
                    predicted,
                    predicted == shown,
                    probabilities[np.arange(len(rows)), shown],
                ]
                tables.append(
                    pa.table(
                        [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], SCHEMA
                    )
                )
                progress.update(len(rows))

    with atomic_path(args.predictions) as part:
        pq.write_table(pa.concat_tables(tables), part)


if __name__ == "__main__":
    run(options(), main)
