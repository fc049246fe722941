"""Compare the depth job with the depth pipeline of transformers, called one image at a time.

Networks of the released sizes with random weights, whose speed is the same as with trained ones;
on a CPU a small one.

    python benchmarks/depth.py --output benchmarks/results/depth.json
"""

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import transformers
from depth_flops import SIZES, configuration
from PIL import Image
from views import photographs

from synthgap.data.derive import derive_shard
from synthgap.data.images import encode
from synthgap.data.shards import Sample, ShardWriter
from synthgap.progress import Progress
from synthgap.views import make_view

TARGET = 3.0


def save_model(name: str, folder: Path) -> None:
    """Save a network with random weights and its image processor."""
    torch.manual_seed(0)
    transformers.DepthAnythingForDepthEstimation(configuration(name)).save_pretrained(folder)
    transformers.DPTImageProcessor(
        size={"height": 518, "width": 518},
        keep_aspect_ratio=True,
        ensure_multiple_of=14,
        resample=3,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(folder)


def measure(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the images per second of both ways."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    save_model(name, folder / name)
    images = np.tile(photographs(16), (-(-options.images // 16), 1, 1, 1))[: options.images]
    with ShardWriter(folder / "rgb.tar", "webp") as writer:
        contents = [encode(image, "webp") for image in images]
        for number, content in enumerate(contents):
            writer.add_encoded(Sample(f"{number:06d}", 0, "photograph"), content)
    spec = {
        "kind": "depth", "estimator": "depth-anything", "input_size": options.input_size,
        "batch_size": options.batch_size, "codec": "png",
    }  # fmt: skip
    view = make_view(spec, model=folder / name, device=device)
    pipeline = transformers.pipeline(
        "depth-estimation",
        model=str(folder / name),
        device=device,
        dtype=torch.float32 if device == "cpu" else torch.bfloat16,
    )
    square = {"height": options.input_size, "width": options.input_size}
    pipeline.image_processor.size = square
    few = contents[: options.peer_images]

    def ours() -> None:
        with ShardWriter(folder / "depth.tar", "png") as writer, Progress(0, "images") as bar:
            derive_shard(
                [folder / "rgb.tar"], writer, spec, view, bar,
                batch_size=options.batch_size, threads=options.threads,
            )  # fmt: skip

    def peer() -> None:
        for content in few:
            found = pipeline(Image.open(io.BytesIO(content)).convert("RGB"))
            found["depth"].save(io.BytesIO(), "PNG")

    speeds: dict[str, list[float]] = {"ours": [], "pipeline": []}
    ways: list[tuple[str, Callable[[], None], int]] = [
        ("ours", ours, len(contents)),
        ("pipeline", peer, len(few)),
    ]
    for repetition in range(options.repeats + 1):
        for way, call, count in ways:
            start = time.perf_counter()
            call()
            if repetition:  # the first is to warm up
                speeds[way].append(count / (time.perf_counter() - start))
    pairs = zip(speeds["ours"], speeds["pipeline"], strict=True)
    ratio = round(median(a / b for a, b in pairs), 2)
    print(
        f"{name}: ours {median(speeds['ours']):.1f}/s, pipeline "
        f"{median(speeds['pipeline']):.1f}/s, {ratio} x (target on a GPU {TARGET})"
    )
    return {"images_per_second": speeds, "ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    gpu = torch.cuda.is_available()
    models = list(SIZES) if gpu else ["depth-anything-v2-small"]
    parser.add_argument("--models", nargs="+", choices=SIZES, default=models)
    parser.add_argument("--images", type=int, default=2048 if gpu else 16)
    parser.add_argument("--peer-images", type=int, default=256 if gpu else 16)
    parser.add_argument("--input-size", type=int, default=518 if gpu else 154)
    parser.add_argument("--batch-size", type=int, default=32 if gpu else 8)
    parser.add_argument("--threads", type=int, default=8 if gpu else 1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="JSON to write")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: measure(name, options, Path(folder)) for name in options.models}
    if options.output:
        facts = {
            "device": torch.cuda.get_device_name() if gpu else "cpu",
            "versions": {name: version(name) for name in ("torch", "transformers")},
            "options": {k: v for k, v in vars(options).items() if k not in ("output", "models")},
            "models": found,
        }
        options.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
