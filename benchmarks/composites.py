"""Compare the job that composes CutMix images with the codec and the composing alone.

Both turn the same pairs of photographs into the same encoded images, in turns, in one process and
one thread. The whole job is `workflow/scripts/composite_images.py`, with the options that the rule
gives it: it reads the manifest, draws partners, reads, decodes, composes, encodes, hashes and
writes the shard. Alone are its decoding, composing and encoding, with all bytes at hand.

    OMP_NUM_THREADS=1 python benchmarks/composites.py --output benchmarks/results/composites.json
"""

import argparse
import importlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "workflow" / "scripts")]

from synthgap.composites import cutmix  # noqa: E402
from synthgap.data.images import decode, encode  # noqa: E402
from synthgap.data.shards import (  # noqa: E402
    ImageReader,
    Sample,
    ShardWriter,
    gather,
    read_rows,
    read_shard,
)

WAYS = ("job", "alone")
TARGETS = {"ratio": 0.85}


class Pair(NamedTuple):
    """What a composite is made of."""

    base: bytes
    partner: bytes
    pattern: str
    seed: int


def write_photographs(folder: Path, args: argparse.Namespace) -> Path:
    """Write shards of crops of scikit-learn's two photographs, a class each, and a manifest."""
    from sklearn.datasets import load_sample_images

    photographs, rng = load_sample_images().images, np.random.default_rng(0)
    tars = [folder / f"{shard:05d}.tar" for shard in range(args.shards)]
    for shard, tar in enumerate(tars):
        with ShardWriter(tar, args.image_format) as writer:
            for index in range(shard, args.images, args.shards):
                label = index % len(photographs)
                rows, columns = (side - args.side for side in photographs[label].shape[:2])
                top, left = rng.integers(rows + 1), rng.integers(columns + 1)
                crop = photographs[label][top : top + args.side, left : left + args.side]
                sample = Sample(f"{label:04d}-{index:06d}", label, f"class {label}")
                writer.add(sample, np.ascontiguousarray(crop))
    gather(tars, folder / "manifest.parquet")
    return folder / "manifest.parquet"


def whole_job(manifest: Path, tar: Path, image_format: str) -> Callable[[], None]:
    """Return the job, ready to run in this process."""
    command = importlib.import_module("composite_images")
    words = ["--pattern", "all", "--seed", "0", "--shard", "0", "--shards", "1"]
    words += ["--manifest", str(manifest), "--tar", str(tar), "--image-format", image_format]
    options = command.options().parse_args(words)
    return lambda: command.main(options)


def pairs_of(manifest: Path, tar: Path) -> list[Pair]:
    """Return what the composites of a shard are made of."""
    originals = {}
    for source in sorted(manifest.parent.glob("0*.tar")):
        for samples, contents in read_shard(source):
            originals |= {s.key: content for s, content in zip(samples, contents, strict=True)}
    found = []
    for samples, _ in read_shard(tar):
        for sample in samples:
            how = sample.details
            base, partner = originals[how["base_key"]], originals[how["partner_key"]]
            found.append(Pair(base, partner, how["pattern"], sample.seed))
    return found


def alone(pairs: list[Pair], image_format: Any) -> list[bytes]:
    """Decode, compose and encode, and nothing else."""
    made = []
    for base, partner, pattern, seed in pairs:
        rng = np.random.default_rng(seed)
        image, _ = cutmix(decode(base), decode(partner), pattern, rng)
        made.append(encode(image, image_format))
    return made


def measured(work: Callable[[], Any]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def benchmark(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return settings, medians, ratios and raw figures."""
    source, tar = folder / "real", folder / "composites" / "00000.tar"
    source.mkdir()
    tar.parent.mkdir()
    job = whole_job(write_photographs(source, args), tar, args.image_format)
    job()  # which warms up, and tells the pairs
    pairs = pairs_of(source / "manifest.parquet", tar)
    made = alone(pairs, args.image_format)
    with ImageReader() as reader:  # the same images, or the comparison is void
        places = read_rows(tar).select(["offset", "length"]).to_pylist()
        if made != [reader.read_bytes(tar, place["offset"], place["length"]) for place in places]:
            sys.exit("the job and its parts make different images")
    ways = {"job": job, "alone": lambda: alone(pairs, args.image_format)}
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for i in range(args.repeats):
        for way in WAYS[:: -1 if i % 2 else 1]:  # none always follows the other
            runs[way].append(measured(ways[way]))
    images = {"images": len(made), "kib_an_image": sum(map(len, made)) / len(made) / 2**10}
    return images | summary(runs, len(made)) | {"raw": runs}


def summary(runs: dict[str, list[dict[str, float]]], images: int) -> dict[str, Any]:
    """Return medians, and the ratios of speeds within each repetition."""
    medians = {
        way: {
            "cpu_ms_an_image": 1000 * median(run["cpu_s"] for run in found) / images,
            "images_per_cpu_s": images / median(run["cpu_s"] for run in found),
            "wall_s": median(run["wall_s"] for run in found),
        }
        for way, found in runs.items()
    }
    each = [a["cpu_s"] / j["cpu_s"] for j, a in zip(runs["job"], runs["alone"], strict=True)]
    return {"medians": medians, "ratios": {"job / alone": median(each), "each": each}}


def table(result: dict[str, Any]) -> str:
    """Return the medians for people."""
    lines = [f"{result['images']} images of {result['kib_an_image']:.0f} KiB; medians"]
    lines.append(f"{'':8} {'CPU ms an image':>16} {'images a CPU s':>16}")
    for way, found in result["medians"].items():
        lines.append(f"{way:8} {found['cpu_ms_an_image']:16.2f} {found['images_per_cpu_s']:16.1f}")
    ratio = result["ratios"]["job / alone"]
    lines.append(f"speed of the job / alone: {ratio:.3f}; target: at least {TARGETS['ratio']}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--side", type=int, default=256, help="of an image, in pixels")
    parser.add_argument("--shards", type=int, default=4, help="of the photographs")
    parser.add_argument("--image-format", choices=["png", "webp", "jpeg"], default="webp")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=Path, help="where to write the results as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = benchmark(args, Path(folder))
    print(table(result))
    if args.output:
        cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        machine = {"cpu": cpu and cpu[1], "cores": os.cpu_count()}
        versions = {name: version(name) for name in ("numpy", "pillow", "pyarrow")}
        versions["python"] = sys.version.split()[0]
        asked = {k: v for k, v in vars(args).items() if k != "output"} | {"threads": 1}
        facts = {"machine": machine, "versions": versions, "settings": asked, "targets": TARGETS}
        args.output.write_text(json.dumps(facts | result, indent=1) + "\n")


if __name__ == "__main__":
    main()
