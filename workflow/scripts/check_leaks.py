"""Look for what tells sources apart that is not in the pictures: codec, size, chroma, file length.

Reads the headers of all images of a comparison, measures whether the sources' files are of the same
kinds and whether images come again, and trains two classifiers that see no pixel, whose answers are
written like any other's: one of what headers say, which must be at chance, and one that knows the
files' lengths as well, which need not be, as pictures that are smoother or noisier take fewer or
more bytes. Of some images it measures the 8 x 8 grid that JPEG leaves.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer

from synthgap.classifiers.answers import answers, calibrate, write_answers
from synthgap.data.classes import require_same_classes
from synthgap.data.shards import ImageReader, Manifest
from synthgap.errors import UserError
from synthgap.job import command, count, input_path, json_object, log, output_path, run, seed
from synthgap.metrics.intervals import bootstrap_mean
from synthgap.metrics.leaks import (
    HEADER_BYTES,
    LEVEL,
    FileFacts,
    block_edges,
    file_facts,
    mismatch,
    shares,
)
from synthgap.metrics.measures import Measure, write_measures

SPLITS = ("train", "val", "test")
LEAST_SIDE = 16  # below, an image has no two blocks of 8 x 8


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    for split in SPLITS:
        parser.add_argument(f"--{split}", type=input_path, required=True, help="manifest")
    parser.add_argument("--samples", type=count, default=500, help="images whose pixels are read")
    parser.add_argument("--name", required=True, help="of the test images in the predictions")
    parser.add_argument("--seed", type=seed, required=True, help="the study's")
    parser.add_argument("--about", type=json_object, default={}, help="for the metrics table")
    parser.add_argument("--measures", type=output_path, required=True, help=".json to write")
    parser.add_argument("--headers", type=output_path, required=True, help=".parquet to write")
    parser.add_argument("--metadata", type=output_path, required=True, help="with files' lengths")
    return parser


def main(args: argparse.Namespace) -> None:
    manifests = [Manifest(getattr(args, split)) for split in SPLITS]
    train, val, test = manifests
    for manifest in (val, test):
        require_same_classes(manifest.path, manifest.classes, args.train, train.classes)
    # Of a million files there are few kinds.
    numbers: dict[FileFacts, int] = {}
    found = [headers(manifest, numbers) for manifest in manifests]
    kinds = list(numbers)
    # All files, as what differs in training is what a classifier learns.
    of_file, labels = np.concatenate(found), np.concatenate([m.class_indices for m in manifests])
    sides = [
        [kinds[kind] for kind in of_file[labels == side]] for side in range(len(train.classes))
    ]
    distance, chance = mismatch(sides)
    files = {name: dict(shares(side)) for name, side in zip(train.classes, sides, strict=True)}
    leaks = chance < LEVEL
    if leaks:
        log.warning(
            "a leak: %s differ in their files, whatever is in the pictures: %s",
            " and ".join(train.classes),
            "; ".join(f"{name}: {told}" for name, told in files.items()),
        )
    told = {"leak": leaks, "chance": chance, "files": files}
    measures = [Measure("file_mismatch", distance, len(of_file), settings=told)]
    measures += repeated(manifests)
    for side, name in enumerate(train.classes):
        measures += of_side(test, side, name, args.samples, args.seed)
    write_measures(args.measures, measures, args.about)

    samples = test.table.select(["key", "details"])
    described = DictVectorizer(sparse=False).fit_transform([asdict(kind) for kind in kinds])
    for path, with_length in [(args.headers, False), (args.metadata, True)]:
        known, chosen, asked = (
            np.column_stack([described[of], *([lengths(manifest)] if with_length else [])])
            for manifest, of in zip(manifests, found, strict=True)
        )
        learnt = by_metadata(known, train.class_indices, len(train.classes))
        calibration = calibrate(learnt(chosen), val.class_indices)
        table = answers(args.name, samples, test.class_indices, learnt(asked), calibration)
        write_answers(path, [table], train.classes, len(train), calibration)


def headers(manifest: Manifest, numbers: dict[FileFacts, int]) -> NDArray[np.int32]:
    """Return the number of what each image's header says, (n,); new kinds are added."""
    found = np.empty(len(manifest), np.int32)
    row = 0
    with ImageReader() as reader:
        names = ["shard", "offset", "length", "sha256", "key"]
        for batch in manifest.table.select(names).to_batches(10000):
            columns = (column.to_pylist() for column in batch.columns)
            for shard, offset, length, sha256, key in zip(*columns, strict=True):
                tar = manifest.path.parent / shard
                content = reader.read_bytes(tar, offset, length, sha256)
                try:
                    fact = file_facts(content[:HEADER_BYTES])
                except OSError as error:
                    raise UserError(f"{tar}: {key} is no image ({error})") from error
                found[row] = numbers.setdefault(fact, len(numbers))
                row += 1
    return found


def lengths(manifest: Manifest) -> NDArray[np.float64]:
    """Return the logarithms of the files' lengths in bytes, (n,)."""
    found: NDArray[np.float64] = np.log(manifest.table["length"].to_numpy().astype(np.float64))
    return found


def repeated(manifests: Sequence[Manifest]) -> list[Measure]:
    """Return which images come again: test images in training, and images of several sources."""
    train, _, test = manifests
    known = pc.is_in(test.table["sha256"], value_set=pc.unique(train.table["sha256"]))
    tables = [manifest.table.select(["sha256", "class_index"]) for manifest in manifests]
    everything = pa.concat_tables(tables)
    sources = everything.group_by("sha256").aggregate(
        [("class_index", "count_distinct"), ("class_index", "count")]
    )
    several = pc.greater(sources["class_index_count_distinct"], 1)
    shared = pc.sum(sources.filter(several)["class_index_count"]).as_py() or 0
    found = [
        Measure("share_seen_in_training", pc.sum(known).as_py() / len(test), len(test)),
        Measure("share_of_several_sources", shared / len(everything), len(everything)),
    ]
    for measure in found:
        if measure.value:
            log.warning("%s: %.2f %% of images", measure.metric, 100 * measure.value)
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
    known: NDArray[np.float64], labels: NDArray[np.int64], classes: int
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Learn from what is known without the pixels, (n, d); return what gives log-probabilities."""
    # Small and with few leaves: there is little to learn, and chance must stay chance.
    model = HistGradientBoostingClassifier(
        max_iter=50, max_leaf_nodes=8, early_stopping=False, random_state=0
    )
    model.fit(known, labels)

    def asked(values: NDArray[np.float64]) -> NDArray[np.float64]:
        probabilities = np.zeros((len(values), classes))
        probabilities[:, model.classes_] = model.predict_proba(values)
        return np.log(np.maximum(probabilities, 1e-12))

    return asked


if __name__ == "__main__":
    run(options(), main)
