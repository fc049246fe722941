"""Write one shard of real images: cropped to the central square, resized, encoded."""

import argparse
import errno
import time

import numpy as np

from synthgap.data.images import centre_square
from synthgap.data.real import open_dataset
from synthgap.data.real.splits import INDEX_SCHEMA, read_index
from synthgap.data.shards import Sample, ShardWriter
from synthgap.data.slices import shard_slice
from synthgap.errors import UserError, shown
from synthgap.job import command, facts, input_path, json_object, output_path, run
from synthgap.progress import Progress

# What is wrong with one file, or with its content (None). Any other error is of the disk and may be
# gone the next time: it must not leave an image out.
OF_THE_FILE = (None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP)


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--index", type=input_path, required=True, help="from index_real")
    parser.add_argument("--dataset", type=json_object, required=True, help="config's `real`")
    parser.add_argument("--section", default="real", help="of the config, for messages")
    parser.add_argument("--split", choices=["train", "val", "test"], required=True)
    parser.add_argument("--shard", type=int, required=True)
    parser.add_argument("--shards", type=int, required=True, help="shards in this split")
    parser.add_argument("--tar", type=output_path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    started = time.monotonic()
    real = args.dataset
    dataset = open_dataset(real, args.section)
    index = read_index(args.index, INDEX_SCHEMA.names, args.split)
    rows = index.to_pylist()[shard_slice(index.num_rows, args.shard, args.shards)]
    if not rows:
        raise UserError(
            f"{args.section}.shards.{args.split}: {args.shards} shards for {index.num_rows} images "
            f"leave shard {args.shard} empty; use fewer"
        )
    with ShardWriter(args.tar, real["image_format"]) as shard, Progress(len(rows), "images") as bar:
        for row in rows:
            sample = Sample(
                key=row["key"],
                class_index=row["class_index"],
                class_name=row["class_name"],
                seed=row["seed"],
                details={"name": row["name"]},
            )
            try:
                image = centre_square(dataset.load(row["name"]), real["image_size"])
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno not in OF_THE_FILE:
                    raise UserError(
                        f"{shown(row['name'])} cannot be read: {error.strerror}"
                    ) from error
                shard.add_failed(sample, f"unreadable {shown(row['name'])}: {error}")
            else:
                shard.add(sample, np.asarray(image))
            bar.update()
        failed = shard.failed()
        if len(failed) > real["max_unreadable"]:
            listed = "\n  ".join(row["status"] for row in failed[:10])
            raise UserError(
                f"{len(failed)} of {len(rows)} images cannot be read; repair or remove them, "
                f"or raise {args.section}.max_unreadable ({real['max_unreadable']} now):\n"
                f"  {listed}"
            )
        shard.facts = facts(
            args,
            time.monotonic() - started,
            len(rows),
            unreadable=[row["status"] for row in failed],
        )


if __name__ == "__main__":
    run(options(), main)
