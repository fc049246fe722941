"""Write the features that a trained classifier sees in each image of a manifest.

Features are what enters the last layer, as they are: not normalised, not centred.
"""

import argparse

import pyarrow as pa
import pyarrow.parquet as pq

from synthgap.atomic import atomic_path
from synthgap.classifiers.evaluation import extract, load, set_up
from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.job import command, input_path, output_path, run
from synthgap.progress import Progress

# Images are read and encoded this many at a time, which bounds the memory.
BATCH = 256


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--model", type=input_path, required=True, help="of train_classifier")
    parser.add_argument("--manifest", type=input_path, required=True, help="images to encode")
    parser.add_argument("--threads", type=int, required=True, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument("--features", type=output_path, required=True, help=".parquet to write")
    return parser


def main(args: argparse.Namespace) -> None:
    device = set_up(args.threads, args.gpus)
    model, _, _ = load(args.model)
    model.to(device)
    manifest = Manifest(args.manifest)
    if not len(manifest):
        raise UserError(f"{args.manifest} has no images; features need one or more")

    tables = []
    with Progress(len(manifest), "images") as progress:
        for start in range(0, len(manifest), BATCH):
            rows = range(start, min(start + BATCH, len(manifest)))
            vectors = extract(model, manifest.images(rows), BATCH)
            table = manifest.table.select(["key", "class_index"]).slice(start, len(rows))
            feature = pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1])
            tables.append(table.append_column("feature", feature))
            progress.update(len(rows))

    with atomic_path(args.features) as part:
        pq.write_table(pa.concat_tables(tables).replace_schema_metadata(None), part)


if __name__ == "__main__":
    run(options(), main)
