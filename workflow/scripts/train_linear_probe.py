"""Train a linear classifier of features to tell sources apart, and test it.

The images of a comparison are looked up by key in the features of its sources. Writes predictions
like evaluate_classifier. Features lie in files in the scratch folder, so that memory stays bounded;
a fit that is killed goes on after the last penalty that it finished, to the same answers.
"""

import argparse
from pathlib import Path

import numpy as np

from synthgap.classifiers.answers import answers, calibrate, write_answers
from synthgap.classifiers.linear import ROWS, fit_probe
from synthgap.data.classes import require_images, require_same_classes
from synthgap.data.features import Features, Values, require_same_encoder
from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.job import command, input_path, log, output_path, run, scratch_folder

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
    parser.add_argument("--scratch", type=Path, required=True, help="folder for features")
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
    scratch = scratch_folder(args)
    found = {
        split: features_of(manifest, getattr(args, f"{split}_features"), scratch / f"{split}.raw")
        for split, manifest in manifests.items()
    }
    log.info("features of %d numbers, %d images to train on", found["train"].shape[1], len(train))
    probe = fit_probe(
        found["train"],
        train.class_indices,
        found["val"],
        val.class_indices,
        len(train.classes),
        scratch / "probe",
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


def features_of(manifest: Manifest, files: list[list[Path]], path: Path) -> Values:
    """Return the features (n, d) of a comparison's images, mapped from a file that is written.

    They come in the order of the manifest, which has its sources one after the other.
    """
    if len(files) != len(manifest.classes):
        raise UserError(
            f"{manifest.path} has {len(manifest.classes)} sources, and features of {len(files)} "
            "are given"
        )
    keys, labels = manifest.table["key"], manifest.class_indices
    if (np.diff(labels) < 0).any():
        raise UserError(f"{manifest.path} mixes its sources; make it with compare_sources")
    first: Features | None = None
    with path.open("wb") as out:
        for label, paths in enumerate(files):
            start, end = np.searchsorted(labels, [label, label + 1]).tolist()
            with Features(paths, folder=path.parent) as features:
                first = first or features
                require_same_encoder(first, features)
                kinds = [(one.width, one.values.dtype) for one in (first, features)]
                if kinds[0] != kinds[1]:
                    (width, dtype), (other, others) = kinds
                    raise UserError(
                        f"{paths[0]}: features of {other} numbers in {others}, and of "
                        f"{manifest.classes[0]} of {width} in {dtype}; encode both with one encoder"
                    )
                places = {key: place for place, key in enumerate(features.keys)}
                for begin in range(start, end, ROWS):
                    some = keys.slice(begin, min(ROWS, end - begin)).to_pylist()
                    try:
                        wanted = [places[key.partition("-")[2]] for key in some]
                    except KeyError as error:
                        raise UserError(
                            f"{paths[0].parent}: no features of image {error.args[0]}, which "
                            f"{manifest.path} has; extract them from the same images"
                        ) from None
                    out.write(features.values[wanted].tobytes())
    assert first is not None
    return np.memmap(path, first.values.dtype, "r", shape=(len(keys), first.width))


if __name__ == "__main__":
    run(options(), main)
