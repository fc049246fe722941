"""Caption the images of one shard."""

import argparse

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthgap.atomic import atomic_path
from synthgap.captioners import load_captioner
from synthgap.data.images import decode
from synthgap.data.shards import read_rows, read_shard
from synthgap.job import command, input_path, json_object, output_path, run
from synthgap.progress import Progress


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--tar", type=input_path, required=True, help="shard of images")
    parser.add_argument("--captioner", type=json_object, required=True, help="config's `captioner`")
    parser.add_argument(
        "--captions", type=output_path, required=True, help="a row an image (parquet)"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    captioner = load_captioner(args.captioner)
    rows = []
    with Progress(read_rows(args.tar).num_rows, "images") as bar:
        for samples, contents in read_shard(args.tar):
            images = np.stack([decode(content) for content in contents])
            captions = captioner.caption(images, [sample.class_name for sample in samples])
            for sample, caption in zip(samples, captions, strict=True):
                rows.append(
                    {
                        "key": sample.key,
                        "class_index": sample.class_index,
                        "class_name": sample.class_name,
                        "caption": caption,
                        "captioner": captioner.name,
                    }
                )
            bar.update(len(samples))
    with atomic_path(args.captions) as part:
        pq.write_table(pa.Table.from_pylist(rows), part)


if __name__ == "__main__":
    run(options(), main)
