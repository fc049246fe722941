"""Train a linear classifier of features to tell sources apart, and test it.

The images of a comparison are looked up by key in the features of its sources. Writes predictions
like evaluate_classifier.
"""

import argparse
from pathlib import Path

import numpy as np

from synthgap.classifiers.answers import answers, calibrate, write_answers
from synthgap.classifiers.linear import fit_probe
from synthgap.data.classes import require_images, require_same_classes
from synthgap.data.features import Features, Values, require_same_encoder
from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.job import command, input_path, log, output_path, run

SPLITS = ("train", "val", "test")


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    for split in SPLITS:
        parser.add_argument(f"--{split}", type=input_path, required=True, help="manifest")
        parser.add_argument(
            f"--{split}-features",
            type=input_path,
            required=True,
            nargs="+",
            action="append",
            help="files of a source; once for each source, in the classes' order",
        )
    parser.add_argument("--name", required=True, help="of the test images in the predictions")
    parser.add_argument("--predictions", type=output_path, required=True, help=".parquet to write")
    return parser


def main(args: argparse.Namespace) -> None:
    manifests = {split: Manifest(getattr(args, split)) for split in SPLITS}
    train, val, test = (manifests[split] for split in SPLITS)
    for manifest in (val, test):
        require_same_classes(manifest.path, manifest.classes, train.path, train.classes)
        require_images(manifest, 1)
    require_images(train, 2)
    found = {
        split: features_of(manifest, getattr(args, f"{split}_features"))
        for split, manifest in manifests.items()
    }
    log.info("features of %d numbers, %d images to train on", found["train"].shape[1], len(train))
    probe = fit_probe(
        found["train"], train.class_indices, found["val"], val.class_indices, len(train.classes)
    )
    calibration = calibrate(probe.logits(found["val"]), val.class_indices)
    table = answers(
        args.name,
        test.table.select(["key", "details"]),
        test.class_indices,
        probe.logits(found["test"]),
        calibration,
    )
    write_answers(args.predictions, [table], train.classes, len(train), calibration)


def features_of(manifest: Manifest, files: list[list[Path]]) -> Values:
    """Return the features (n, d) of a comparison's images, in the order of its manifest."""
    if len(files) != len(manifest.classes):
        raise UserError(
            f"{manifest.path} has {len(manifest.classes)} sources, and features of {len(files)} "
            "are given"
        )
    keys = manifest.table["key"].to_pylist()
    labels = manifest.class_indices
    values: Values | None = None
    first: Features | None = None
    for label, paths in enumerate(files):
        rows = np.flatnonzero(labels == label)
        with Features(paths) as features:
            if first is not None:
                require_same_encoder(first, features)
            first = first or features
            places = {key: place for place, key in enumerate(features.keys)}
            try:
                wanted = [places[keys[row].partition("-")[2]] for row in rows]
            except KeyError as error:
                raise UserError(
                    f"{paths[0].parent}: no features of image {error.args[0]}, which "
                    f"{manifest.path} has; extract them from the same images"
                ) from None
            if values is None:
                values = np.empty((len(keys), features.width), features.values.dtype)
            values[rows] = features.values[wanted]
    assert values is not None
    return values


if __name__ == "__main__":
    run(options(), main)
