"""Measure how much generated images repeat training images: each one's nearest by LPIPS and SSIM.

Works on anybody's images: tars (shards of this workflow, or any with PNG, JPEG or WebP members) and
folders. The output's plain names are `lpips_nearest` (the smaller, the more replication) and
`ssim_nearest` (the larger, the more), means over generated images; `measures` holds the same with
variant, interval and number of images. Killed and started again with `--scratch`, it goes on after
its last finished block and ends in the same file.

  python workflow/scripts/measure_replication.py --real photographs/ --generated 00000.tar \\
      --weights alexnet-owt-7be5be79.pth --output metrics.json
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthgap import checksums
from synthgap.atomic import atomic_path
from synthgap.data.blocks import Blocks
from synthgap.data.choice import real_keys
from synthgap.data.pixels import Pixels, gather_pixels
from synthgap.devices import limit_threads, take_device
from synthgap.errors import UserError
from synthgap.job import (
    command,
    count,
    facts,
    input_path,
    json_object,
    log,
    output_path,
    run,
    scratch_folder,
    seed,
)
from synthgap.metrics.measures import write_measures
from synthgap.metrics.perceptual import Perceptual
from synthgap.metrics.replication import (
    BATCH_SIZE,
    METRICS,
    SSIM_VARIANT,
    Metric,
    Nearest,
    embed_all,
    measure_replication,
    nearest_by_lpips,
)
from synthgap.metrics.similarity import nearest_by_ssim
from synthgap.progress import Progress

# Generated images of a block that is kept, once finished. Their vectors take at most so many bytes.
BLOCK = 1024
VECTOR_BYTES = 2**29


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument(
        "--real", type=input_path, nargs="+", required=True, help="training images: tars or folders"
    )
    parser.add_argument(
        "--generated", type=input_path, nargs="+", required=True, help="tars or folders"
    )
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--weights", type=input_path, help="of LPIPS' backbone, by torchvision")
    parser.add_argument("--network", choices=["alex", "vgg"], default="alex", help="of LPIPS")
    parser.add_argument("--samples", type=int, help="the first generated ones; all if left out")
    parser.add_argument("--training-samples", type=int, help="the first training images; likewise")
    parser.add_argument(
        "--trained-on", type=input_path, help="of choose_images: only its real ones, all of them"
    )
    parser.add_argument("--resize", type=int, help="side in pixels that LPIPS sees images at")
    parser.add_argument(
        "--batch-size", type=count, default=BATCH_SIZE, help="images a forward pass"
    )
    parser.add_argument("--threads", type=count, default=2, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument("--seed", type=seed, default=0, help="of the intervals")
    parser.add_argument("--about", type=json_object, default={}, help="to be said of all numbers")
    parser.add_argument(
        "--scratch", type=Path, help="folder of unfinished work; removed at the end"
    )
    parser.add_argument("--nearest", type=output_path, help=".parquet: each image's nearest ones")
    parser.add_argument("--output", type=output_path, required=True, help=".json")
    return parser


def main(args: argparse.Namespace) -> None:
    if "lpips" in args.metrics and args.weights is None:
        raise UserError(
            "lpips needs --weights, the file of its backbone: alexnet-owt-7be5be79.pth or "
            "vgg16-397923af.pth of https://download.pytorch.org/models; or ask for "
            "`--metrics ssim` alone"
        )
    if args.scratch is None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            measure(args, Path(folder))
    else:
        measure(args, scratch_folder(args))


def measure(args: argparse.Namespace, folder: Path) -> None:
    started = time.monotonic()
    device = take_device(args.gpus)
    limit_threads(args.threads)
    keys = real_keys(args.trained_on) if args.trained_on else None
    limit = None if keys else args.training_samples
    training = gather_pixels(args.real, folder / "training.pixels", limit, keys)
    generated = gather_pixels(args.generated, folder / "generated.pixels", args.samples)
    if training.size != generated.size:
        raise UserError(
            f"training images have {training.size} pixels and generated ones {generated.size}; "
            "prepare them at one size first"
        )
    copies = generated.copies_of(training)
    if copies:
        log.warning(
            "warning: %d of %d generated images are training images, pixel by pixel. Where the "
            "generator did not copy them, the two sets overlap, and the numbers mean nothing",
            copies,
            len(generated.keys),
        )
    ways = {
        metric: (by_lpips if metric == "lpips" else by_ssim)(
            args, generated, training, folder, device
        )
        for metric in METRICS
        if metric in args.metrics
    }
    found = measure_replication(
        ways,
        len(training.keys),
        {"image_size": list(training.size)},
        seed=args.seed,
    )
    for one in found:
        log.info("%s %.4f [%.4f, %.4f]", one.metric, one.value, one.low, one.high)
    if args.nearest:
        write_nearest(args.nearest, ways, generated.keys, training.keys)
    told = facts(args, time.monotonic() - started, len(generated.keys), device)
    told |= {"training_images": len(training.keys), "copied_images": copies}
    write_measures(args.output, found, args.about, told)


def by_ssim(
    args: argparse.Namespace, generated: Pixels, training: Pixels, folder: Path, device: str
) -> Nearest:
    blocks = Blocks(folder, "ssim", len(generated.keys), BLOCK)
    for part in blocks:
        blocks.keep(part, *nearest_by_ssim(generated.images[part], training.images, device=device))
    return Nearest(SSIM_VARIANT, *blocks.whole())


def by_lpips(
    args: argparse.Namespace, generated: Pixels, training: Pixels, folder: Path, device: str
) -> Nearest:
    perceptual = Perceptual(args.network, args.weights, device, args.resize)
    width = perceptual.width(*training.images.shape[1:3])
    # A whole number of batches, so that batches are the same wherever a job goes on.
    rows = max(1, min(BLOCK, VECTOR_BYTES // (4 * width)) // args.batch_size) * args.batch_size
    blocks = Blocks(folder, "lpips", len(generated.keys), rows)
    if blocks.missing:
        vectors = training_vectors(args, perceptual, training, folder, width)
        for part in blocks:
            nearest = nearest_by_lpips(
                generated.images[part], vectors, perceptual, batch_size=args.batch_size
            )
            blocks.keep(part, nearest.index, nearest.value)
    return Nearest(perceptual.variant, *blocks.whole(), perceptual.settings)


def training_vectors(
    args: argparse.Namespace, perceptual: Perceptual, training: Pixels, folder: Path, width: int
) -> NDArray[np.float32]:
    """Return the vectors of all training images, mapped from a file."""
    path = folder / "training.vectors.npy"
    if not checksums.intact(path):
        size = (len(training.keys), width)
        log.info("embedding %d training images, %.1f GB", size[0], 4e-9 * size[0] * size[1])
        with atomic_path(path) as part:
            out = np.lib.format.open_memmap(part, "w+", np.float32, size)
            with part.open("rb+") as file:  # or a full disk is a crash and no error
                os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
            with Progress(len(out), "training images") as progress:
                for start in range(0, len(out), args.batch_size):
                    images = training.images[start : start + args.batch_size]
                    embed_all(perceptual, images, args.batch_size, out[start:])
                    progress.update(len(images))
            out.flush()
        checksums.note([path])
    found: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return found


def write_nearest(
    path: Path, ways: dict[Metric, Nearest], generated: list[str], training: list[str]
) -> None:
    """Write a row for each generated image: its key, and key and value of its nearest ones."""
    columns = {"key": pa.array(generated)}
    for metric, nearest in ways.items():
        columns[f"nearest_{metric}_key"] = pa.array([training[index] for index in nearest.index])
        columns[metric] = pa.array(nearest.value)
    with atomic_path(path) as part:
        pq.write_table(pa.table(columns), part)


if __name__ == "__main__":
    run(options(), main)
