"""Test a classifier on the images of one or more manifests.

Writes a row for each image: what it shows, what the classifier says, its five highest logits, and
the probability it gives to what the image shows. Rows are in the order of the --test options and
the manifests. The file's metadata name the classes, the number of training images, and how
probabilities are calibrated.
"""

import argparse
import logging
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import nn

from synthgap.classifiers.answers import Calibration, answers, calibrate, write_answers
from synthgap.classifiers.evaluation import About, load, predict, set_up
from synthgap.data.classes import require_same_classes
from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.job import InputPath, command, input_path, output_path, run
from synthgap.progress import Progress

log = logging.getLogger("synthgap")

# Images are read and classified this many at a time, which bounds the memory.
BATCH = 256


def test_option(text: str) -> tuple[str, InputPath]:
    """Option type: NAME=MANIFEST."""
    name, separator, path = text.partition("=")
    if not (name and separator):
        raise UserError(f"--test {text}: give NAME=MANIFEST, for example real=manifest.parquet")
    return name, input_path(path)


def shown_option(text: str) -> tuple[str, str]:
    """Option type: NAME=CLASS."""
    name, separator, class_name = text.partition("=")
    if not (name and separator):
        raise UserError(f"--shown {text}: give NAME=CLASS")
    return name, class_name


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
    parser.add_argument(
        "--shown",
        type=shown_option,
        default=[],
        action="append",
        metavar="NAME=CLASS",
        help="take all images of that test for ones of this class, whatever theirs is",
    )
    parser.add_argument(
        "--calibration", type=input_path, help="manifest of validation images, to calibrate by"
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
    model, about = load(args.model)
    model.to(device)

    tests = {name: Manifest(path) for name, path in args.test}
    shown = {name: class_of(about, class_name) for name, class_name in args.shown}
    for name, manifest in tests.items():
        log.info("read %s", manifest.path)
        if name not in shown:
            require_same_classes(manifest.path, manifest.classes, args.model, about.classes)
        if not len(manifest):
            raise UserError(f"{manifest.path} has no images to test on")

    calibration = Calibration()
    if args.calibration:
        manifest = Manifest(args.calibration)
        require_same_classes(manifest.path, manifest.classes, args.model, about.classes)
        parts = [logits for _, logits in outputs(model, about, manifest)]
        calibration = calibrate(np.concatenate(parts), manifest.class_indices)
    tables = []
    with Progress(sum(map(len, tests.values())), "images") as progress:
        for name, manifest in tests.items():
            samples = manifest.table.select(["key", "details"])
            for start, logits in outputs(model, about, manifest):
                classes = manifest.class_indices[start : start + len(logits)]
                if name in shown:
                    classes = np.full(len(logits), shown[name])
                rows = samples.slice(start, len(logits))
                tables.append(answers(name, rows, classes, logits, calibration))
                progress.update(len(logits))
    write_answers(args.predictions, tables, about.classes, about.train_images, calibration)


def class_of(about: About, name: str) -> int:
    """Return the index of a class of the model."""
    if name not in about.classes:
        raise UserError(f"--shown: the model has no class {name}, only {', '.join(about.classes)}")
    return about.classes.index(name)


def outputs(
    model: nn.Module, about: About, manifest: Manifest
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the first row of each batch of images, and their logits."""
    for start in range(0, len(manifest), BATCH):
        rows = range(start, min(start + BATCH, len(manifest)))
        yield start, predict(model, about.fit(manifest.images(rows)), BATCH)


if __name__ == "__main__":
    run(options(), main)
