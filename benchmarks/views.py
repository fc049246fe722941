"""Compare the speed of the views: filters, codecs and the whole job, each with its plain peer.

All on one thread, in CPU seconds, in turns within each repetition, on photographs.

    OMP_NUM_THREADS=1 python benchmarks/views.py --output benchmarks/results/views.json
"""

import argparse
import io
import json
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_sample_images

from synthgap.data.derive import derive_shard
from synthgap.data.images import decode, encode
from synthgap.data.shards import Sample, ShardWriter
from synthgap.progress import Progress
from synthgap.views import make_view
from synthgap.views.frequency import low_pass

SIDE = 256
HALF_WIDTHS = (3, 10, 30, 40, 41, 50, 64, 100, 127)
TARGETS = {
    "filter": 6.0,
    "filter, half-width up to 30": 9.0,
    "lossless colour": 4.5,
    "lossless depth": 4.5,
    "JPEG decode": 1.4,
    "JPEG encode": 1.2,
    "job": 0.85,
}
Images = np.ndarray[Any, np.dtype[np.uint8]]
Ways = dict[str, Callable[[], object]]


def photographs(count: int) -> Images:
    """Return windows of two photographs, uint8 (count, 256, 256, 3)."""
    rng = np.random.default_rng(0)
    windows = []
    for number in range(count):
        photograph = load_sample_images().images[number % 2]
        top, left = (int(rng.integers(side - SIDE + 1)) for side in photograph.shape[:2])
        windows.append(photograph[top : top + SIDE, left : left + SIDE])
    return np.stack(windows)


def depth_maps(count: int) -> Images:
    """Return smooth shapes before a sloping ground, uint8 (count, 256, 256)."""
    rng = np.random.default_rng(1)
    slope = np.linspace(0, 1, SIDE)[:, None] * np.ones(SIDE)
    maps = []
    for _ in range(count):
        shapes = ndimage.gaussian_filter(rng.random((SIDE, SIDE)), 16)
        nearer = ndimage.gaussian_filter((shapes > np.median(shapes)) * rng.random(), 1.5)
        bulges = ndimage.gaussian_filter(rng.random((SIDE, SIDE)), 8)
        depth = slope + nearer + 2 * bulges
        maps.append(np.rint((depth - depth.min()) / np.ptp(depth) * 255).astype(np.uint8))
    return np.stack(maps)


def measure(ways: Ways, images: int, repeats: int) -> dict[str, Any]:
    """Return images per CPU second of each way, and each way's ratio to the first one."""
    for way in ways.values():
        way()
    order, seconds = list(ways), {name: list[float]() for name in ways}
    for _ in range(repeats):
        random.shuffle(order)
        for name in order:
            start = time.process_time()
            ways[name]()
            seconds[name].append(time.process_time() - start)
    first = seconds[next(iter(ways))]
    return {
        name: {
            "images_per_second": round(images / median(times), 1),
            "ratio": round(median(a / b for a, b in zip(first, times, strict=True)), 2),
            "seconds": [round(t, 4) for t in times],
        }
        for name, times in seconds.items()
    }


def by_numpy(image: Images, half_width: int, channel_by_channel: bool) -> Images:
    """The plain way of the papers: uint8 to uint8, one image."""
    scaled, middle = image / 255.0, SIDE // 2
    mask = np.zeros((SIDE, SIDE))
    mask[middle - half_width : middle + half_width, middle - half_width : middle + half_width] = 1
    if channel_by_channel:
        parts = [
            np.fft.ifft2(np.fft.ifftshift(np.fft.fftshift(np.fft.fft2(part)) * mask)).real
            for part in np.moveaxis(scaled, 2, 0)
        ]
        filtered = np.stack(parts, axis=2)
    else:
        axes = (0, 1)
        spectrum = np.fft.fftshift(np.fft.fft2(scaled, axes=axes), axes=axes) * mask[:, :, None]
        filtered = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=axes), axes=axes).real
    return np.rint(np.clip(filtered, 0, 1) * 255).astype(np.uint8)


def time_filter(way: str, half_width: int, images: Images) -> float:
    """Return images a CPU second of one way, in a process of its own."""
    view = make_view({"kind": "low_pass", "half_width": half_width})
    few = images[:8]  # the plain way takes long
    floats = few.astype(np.float32) / 255
    call: Callable[[], object]
    call, count = {
        "numpy": (lambda: [by_numpy(i, half_width, False) for i in few], len(few)),
        "numpy, channel by channel": (
            lambda: [by_numpy(i, half_width, True) for i in few],
            len(few),
        ),
        "ours": (lambda: view(images, [0] * len(images)), len(images)),
        "ours, floats": (lambda: low_pass(floats, half_width), len(few)),
    }[way]
    call()
    start = time.process_time()
    call()
    return count / (time.process_time() - start)


FILTER_WAYS = ("numpy", "numpy, channel by channel", "ours", "ours, floats")


def filters(images: Images, repeats: int) -> dict[str, Any]:
    """Low-passes of uint8 images, and of floats, at several half-widths.

    Each in a fresh process, in turns: how fast numpy is depends on what the process did before,
    as the system takes back and clears the memory that a small process frees.
    """
    speeds: dict[tuple[str, int], list[float]] = {}
    for half_width in HALF_WIDTHS:
        view = make_view({"kind": "low_pass", "half_width": half_width})
        expected = by_numpy(images[0], half_width, False)
        assert np.abs(view(images[:1], [0]).images[0].astype(int) - expected).max() <= 1
    kinds = [(way, half_width) for half_width in HALF_WIDTHS for way in FILTER_WAYS]
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
        for _ in range(repeats):
            for way, half_width in random.sample(kinds, len(kinds)):
                speed = fresh.submit(time_filter, way, half_width, images).result()
                speeds.setdefault((way, half_width), []).append(round(speed, 1))
    found = {}
    for half_width in HALF_WIDTHS:
        rows = {way: median(speeds[way, half_width]) for way in FILTER_WAYS}
        ratios = {peer: round(rows["ours"] / rows[peer], 2) for peer in FILTER_WAYS[:2]}
        found[str(half_width)] = {
            "images_per_second": rows,
            "ratio": ratios,
            "each": {way: speeds[way, half_width] for way in FILTER_WAYS},
        }
        print(
            f"half-width {half_width:3}: "
            + ", ".join(f"{way} {speed:.0f}/s" for way, speed in rows.items())
            + "; ours "
            + ", ".join(f"{ratio:.1f} x {peer}" for peer, ratio in ratios.items())
        )
    return found


def by_pil(image: Images, kind: str, **options: Any) -> bytes:
    """An image as PIL encodes it."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def pil_decode(content: bytes) -> Images:
    """An image as PIL decodes it."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def codecs(images: Images, repeats: int) -> dict[str, Any]:
    """Encoding and decoding beside PIL, and the bytes of files."""
    high = make_view({"kind": "high_pass", "half_width": 30})(images, [0] * len(images)).images
    low = make_view({"kind": "low_pass", "half_width": 30})(images, [0] * len(images)).images
    maps = depth_maps(len(images))
    rgb_maps = np.repeat(maps[..., None], 3, axis=3)  # as paper A stores them
    deep = maps.astype(np.uint16) * 257
    jpegs = [by_pil(image, "JPEG", quality=95) for image in images]
    full = [by_pil(image, "JPEG", quality=95, subsampling=0) for image in images]
    for content in (*jpegs, *full):
        assert (decode(content) == pil_decode(content)).all()
    found: dict[str, Any] = {}

    def encoders(name: str, sets: dict[str, tuple[Sequence[Any], Callable[[Any], bytes]]]) -> None:
        ways: Ways = {way: lambda xs=xs, f=f: [f(x) for x in xs] for way, (xs, f) in sets.items()}
        rows = measure(ways, len(images), repeats)
        for way, (xs, f) in sets.items():
            rows[way]["bytes"] = round(sum(len(f(x)) for x in xs) / len(xs))
        found[name] = rows
        for way, row in rows.items():
            print(
                f"{name}, {way}: {row['images_per_second']:.0f}/s, {row['ratio']:.2f} x, "
                f"{row['bytes'] / 1000:.1f} kB"
            )

    def png(x: Any) -> bytes:
        return by_pil(x, "PNG")

    for name, chosen in (("photograph", images), ("high-pass", high), ("low-pass", low)):
        encoders(
            f"lossless {name}",
            {
                "PIL PNG": (chosen, png),
                "webp": (chosen, lambda x: encode(x, "webp")),
                "png": (chosen, lambda x: encode(x, "png")),
            },
        )
    encoders(
        "lossless depth",
        {
            "PIL PNG, three channels": (rgb_maps, png),
            "PIL PNG, grey": (maps, png),
            "png": (maps, lambda x: encode(x, "png")),
        },
    )
    encoders(
        "lossless depth, 16 bits",
        {"PIL PNG": (deep, png), "png": (deep, lambda x: encode(x, "png"))},
    )
    encoders(
        "JPEG encode",
        {
            "PIL": (images, lambda x: by_pil(x, "JPEG", quality=95, subsampling=0)),
            "ours": (images, lambda x: encode(x, "jpeg")),
        },
    )
    for name, contents in (("4:2:0", jpegs), ("4:4:4", full)):
        rows = measure(
            {
                "PIL": lambda c=contents: [pil_decode(x) for x in c],
                "ours": lambda c=contents: [decode(x) for x in c],
            },
            len(images),
            repeats,
        )
        found[f"JPEG decode {name}"] = rows
        print(f"JPEG decode {name}: {rows['ours']['ratio']:.2f} x PIL")
    return found


def job(images: Images, repeats: int, folder: Path) -> dict[str, Any]:
    """The whole job on a shard, against decoding, filtering and encoding alone."""
    with ShardWriter(folder / "rgb.tar", "webp") as writer:
        for number, image in enumerate(images):
            writer.add(Sample(f"{number:06d}", 0, "photograph", "", number), image)
    contents = [encode(image, "webp") for image in images]
    found = {}
    for kind in ("low_pass", "high_pass"):
        spec = {"kind": kind, "half_width": 30}
        view = make_view(spec)

        def bare(view: Any = view) -> None:
            for start in range(0, len(contents), 32):
                part = np.stack([decode(c) for c in contents[start : start + 32]])
                for image in view(part, [0] * len(part)).images:
                    encode(image, "webp")

        def whole(spec: Any = spec, view: Any = view) -> None:
            with ShardWriter(folder / "view.tar", "webp") as writer, Progress(0, "images") as bar:
                derive_shard([folder / "rgb.tar"], writer, spec, view, bar)

        found[kind] = measure({"bare": bare, "job": whole}, len(images), repeats)
        row = found[kind]["job"]
        print(f"job, {kind}: {row['images_per_second']:.0f}/s, {row['ratio']:.2f} of bare")
    return found


def memory(images: Images, folder: Path) -> dict[str, int]:
    """Resident MiB at the end of a job of n and of 4n images, which must not grow with n."""
    process, found = psutil.Process(), {}
    for count in (2 * len(images), 8 * len(images)):
        with ShardWriter(folder / f"{count}.tar", "webp") as writer:
            encoded = [encode(image, "webp") for image in images]
            for number in range(count):
                writer.add_encoded(
                    Sample(f"{number:06d}", 0, "photograph"), encoded[number % len(images)]
                )
        spec = {"kind": "low_pass", "half_width": 30}
        with ShardWriter(folder / "view.tar", "webp") as writer, Progress(0, "images") as bar:
            derive_shard([folder / f"{count}.tar"], writer, spec, make_view(spec), bar)
            found[str(count)] = process.memory_info().rss >> 20
    print("resident MiB by images:", found)
    return found


def verdicts(filtered: Any, coded: Any, jobs: Any) -> dict[str, tuple[float, float]]:
    """Return what was reached and the target, by name."""
    ratios = {int(r): rows["ratio"]["numpy"] for r, rows in filtered.items()}
    reached = {
        "filter": min(ratios.values()),
        "filter, half-width up to 30": min(v for r, v in ratios.items() if r <= 30),
        "lossless colour": min(
            rows["webp"]["ratio"] for name, rows in coded.items() if "webp" in rows
        ),
        "lossless depth": coded["lossless depth"]["png"]["ratio"],
        "JPEG decode": min(coded[f"JPEG decode {s}"]["ours"]["ratio"] for s in ("4:2:0", "4:4:4")),
        "JPEG encode": coded["JPEG encode"]["ours"]["ratio"],
        "job": min(rows["job"]["ratio"] for rows in jobs.values()),
    }
    return {name: (reached[name], target) for name, target in TARGETS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=Path, help="JSON to write")
    options = parser.parse_args()
    random.seed(0)
    images = photographs(options.images)
    with tempfile.TemporaryDirectory() as folder:
        filtered = filters(images, -(-options.repeats // 3))
        coded = codecs(images, options.repeats)
        jobs = job(images, options.repeats, Path(folder))
        resident = memory(images, Path(folder))
    found = verdicts(filtered, coded, jobs)
    for name, (reached, target) in found.items():
        print(f"{name:28} {reached:6.2f}   target {target:.2f}")
    if options.output:
        libraries = ("numpy", "scipy", "opencv-python-headless", "simplejpeg", "pillow")
        facts = {
            "machine": {"processor": platform.processor() or platform.machine()},
            "versions": {name: version(name) for name in libraries} | {"python": sys.version[:6]},
            "options": {"images": options.images, "repeats": options.repeats, "side": SIDE},
            "verdicts": {name: {"reached": a, "target": b} for name, (a, b) in found.items()},
            "filters": filtered,
            "codecs": coded,
            "job": jobs,
            "resident_mib": resident,
        }
        options.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
