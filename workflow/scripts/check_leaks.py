"""Look for what tells sources apart that is not in the pictures: codec, size, chroma, file length.

Reads the headers of all images of a comparison, measures whether the sources' files are of the same
kinds, and trains two classifiers that see no pixel, whose answers are written like any other's: one
of what headers say, which must be at chance, and one that knows the files' lengths as well, which
need not be, as pictures that are smoother or noisier take fewer or more bytes. Of some images it
measures the 8 x 8 grid that JPEG leaves.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer

from synthgap.classifiers.answers import answers, write_answers
from synthgap.data.classes import require_same_classes
from synthgap.data.shards import ImageReader, Manifest
from synthgap.errors import UserError
from synthgap.job import command, input_path, json_object, log, output_path, run, seed
from synthgap.metrics.intervals import bootstrap_mean
from synthgap.metrics.leaks import (
    HEADER_BYTES,
    LEVEL,
    FileFacts,
    block_edges,
    file_facts,
    metadata_table,
    mismatch,
    shares,
)
from synthgap.metrics.measures import Measure, write_measures

LEAST_SIDE = 16  # below, an image has no two blocks of 8 x 8


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--train", type=input_path, required=True, help="manifest")
    parser.add_argument("--test", type=input_path, required=True, help="manifest")
    parser.add_argument("--samples", type=int, default=500, help="images whose pixels are read")
    parser.add_argument("--name", required=True, help="of the test images in the predictions")
    parser.add_argument("--seed", type=seed, required=True, help="the study's")
    parser.add_argument("--about", type=json_object, default={}, help="for the metrics table")
    parser.add_argument("--measures", type=output_path, required=True, help=".json to write")
    parser.add_argument("--headers", type=output_path, required=True, help=".parquet to write")
    parser.add_argument("--metadata", type=output_path, required=True, help="with files' lengths")
    return parser


def main(args: argparse.Namespace) -> None:
    train, test = Manifest(args.train), Manifest(args.test)
    require_same_classes(args.test, test.classes, args.train, train.classes)
    found = {manifest.path: headers(manifest) for manifest in (train, test)}
    # All files, as what differs in training is what a classifier learns.
    everything = [*found[train.path], *found[test.path]]
    labels = np.concatenate([train.class_indices, test.class_indices])
    sides = [
        [fact for fact, label in zip(everything, labels, strict=True) if label == side]
        for side in range(len(train.classes))
    ]
    distance, chance = mismatch(sides)
    kinds = {name: dict(shares(side)) for name, side in zip(train.classes, sides, strict=True)}
    leaks = chance < LEVEL
    if leaks:
        log.warning(
            "a leak: %s differ in their files, whatever is in the pictures: %s",
            " and ".join(train.classes),
            "; ".join(f"{name}: {told}" for name, told in kinds.items()),
        )
    told = {"leak": leaks, "chance": chance, "files": kinds}
    measures = [Measure("file_mismatch", distance, len(everything), settings=told)]
    for side, name in enumerate(train.classes):
        measures += of_side(test, side, name, args.samples, args.seed)
    write_measures(args.measures, measures, args.about)

    samples = test.table.select(["key", "details"])
    for path, with_length in [(args.headers, False), (args.metadata, True)]:
        known, asked = (
            metadata_table(
                found[manifest.path], manifest.table["length"].to_pylist() if with_length else None
            )
            for manifest in (train, test)
        )
        logits = by_metadata(known, train.class_indices, asked, len(train.classes))
        table = answers(args.name, samples, test.class_indices, logits)
        write_answers(path, [table], train.classes, len(train))


def headers(manifest: Manifest) -> list[FileFacts]:
    """Return what the header of each image says."""
    table = manifest.table
    found = []
    columns = (table[name].to_pylist() for name in ("shard", "offset", "length", "key"))
    with ImageReader() as reader:
        for shard, offset, length, key in zip(*columns, strict=True):
            tar = manifest.path.parent / shard
            content = reader.read_bytes(tar, offset, min(length, HEADER_BYTES))
            try:
                found.append(file_facts(content))
            except OSError as error:
                raise UserError(f"{tar}: {key} is no image ({error})") from error
    return found


def of_side(manifest: Manifest, side: int, name: str, samples: int, seed: int) -> list[Measure]:
    """Return what is measured of the files and pixels of one source."""
    rows = np.flatnonzero(manifest.class_indices == side)
    lengths = manifest.table["length"].to_numpy()[rows].astype(np.float64)
    values: Mapping[str, NDArray[Any]] = {"file_bytes": lengths}
    images = manifest.images(rows[:samples].tolist())
    if min(images.shape[1:3]) >= LEAST_SIDE:
        values = {**values, "block_edge_ratio": block_edges(images)}
    found = []
    for metric, each in values.items():
        interval = bootstrap_mean(each, seed=seed)
        told = {"distribution": name}
        found.append(Measure(metric, interval.value, len(each), *interval[1:], settings=told))
    return found


def by_metadata(
    known: list[dict[str, Any]],
    labels: NDArray[np.int64],
    asked: list[dict[str, Any]],
    classes: int,
) -> NDArray[np.float64]:
    """Return log-probabilities (n, classes) of images by what is known without their pixels."""
    encoder = DictVectorizer(sparse=False)
    # Small and with few leaves: there is little to learn, and chance must stay chance.
    model = HistGradientBoostingClassifier(
        max_iter=50, max_leaf_nodes=8, early_stopping=False, random_state=0
    )
    model.fit(encoder.fit_transform(known), labels)
    probabilities = np.zeros((len(asked), classes))
    probabilities[:, model.classes_] = model.predict_proba(encoder.transform(asked))
    return np.log(np.maximum(probabilities, 1e-12))


if __name__ == "__main__":
    run(options(), main)
