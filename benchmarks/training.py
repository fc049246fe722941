"""Loader and training step, each beside what one would write without this project.

Loader: random resized crops (224 of 256 pixels; 64 of 64) with flips as uint8 batches, ready for
the device, from JPEG and from decoded images; beside webdataset with PIL, which hands over uint8
tensors, too, or the normalised floats of a tutorial. Step: an epoch of `synthgap`'s training beside
the same network fed from tensors in memory, and beside a plain loop in NCHW. In turns, in one
process and one thread; medians of ratios. On a GPU, `--device cuda`: loader with --threads, and
the step of a ResNet-50 beside the same network fed from the GPU's memory.

    OMP_NUM_THREADS=1 python benchmarks/training.py --output benchmarks/results/training.json
    python benchmarks/training.py --device cuda --threads 16 --output gpu.json
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src")]

from synthgap.checkpoint import Checkpoint  # noqa: E402
from synthgap.classifiers.architectures import build_seeded  # noqa: E402
from synthgap.classifiers.batches import Batches  # noqa: E402
from synthgap.classifiers.evaluation import DEVIATION, MEAN, normalise  # noqa: E402
from synthgap.classifiers.recipe import Recipe  # noqa: E402
from synthgap.classifiers.training import MixedLoss, _optimizer, _Run, train  # noqa: E402
from synthgap.data.decoded import EncodedImages, open_images  # noqa: E402
from synthgap.data.shards import Manifest, Sample, ShardWriter, gather  # noqa: E402

TARGETS = {
    "JPEG, ours / webdataset": 2.5,
    "map, ours / webdataset": 8.0,
    "step, ours / fed from memory": 0.95,
    "step, ours / plain loop": 1.2,
}
CPU = torch.device("cpu")
PLAIN = {"label_smoothing": 0.0, "weight_decay": 0.0, "warmup_epochs": 0, "shift": 0}
# ResNet-20's widths and depths, in timm's blocks.
SMALL = {
    "family": "timm",
    "name": "resnet18",
    "options": {"channels": [16, 16, 32, 64], "layers": [2, 2, 2, 2]},
}


def photographs(count: int, side: int) -> list[np.ndarray]:
    """Return squares of all sizes cut out of two photographs, brought to one side."""
    import cv2
    from sklearn.datasets import load_sample_images

    whole, rng = load_sample_images().images, np.random.default_rng(0)
    found = []
    for _ in range(count):
        photograph = whole[rng.integers(len(whole))]
        size = int(rng.integers(200, 400))
        top, left = (rng.integers(length - size + 1) for length in photograph.shape[:2])
        square = photograph[top : top + size, left : left + size]
        found.append(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA))
    return found


def shard(folder: Path, count: int, side: int) -> Manifest:
    with ShardWriter(folder / "00000.tar", "jpeg") as writer:
        for index, image in enumerate(photographs(count, side)):
            writer.add(Sample(f"{index:06d}", index % 10, str(index % 10)), image)
    gather([folder / "00000.tar"], folder / "manifest.parquet")
    return Manifest(folder / "manifest.parquet")


def webdataset_epoch(tar: Path, size: int, batch: int, floats: bool) -> Iterator[torch.Tensor]:
    """What a tutorial has: webdataset, PIL and torchvision's transforms."""
    import webdataset
    from torchvision import transforms

    last = [transforms.ToTensor(), transforms.Normalize(MEAN, DEVIATION)]
    change = transforms.Compose(
        [
            transforms.RandomResizedCrop(size),
            transforms.RandomHorizontalFlip(),
            *(last if floats else [transforms.PILToTensor()]),
        ]
    )
    pipeline = (
        webdataset.WebDataset(str(tar), shardshuffle=False)
        .shuffle(1000)
        .decode("pil")
        .to_tuple("jpg", "cls")
        .map_tuple(change, int)
        .batched(batch)
    )
    for images, _ in pipeline:
        yield images


def seconds(work: Callable[[], Any], device: torch.device = CPU) -> float:
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    started = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def in_turns(ways: dict[str, Callable[[], Any]], repeats: int, device: torch.device = CPU):
    """Return the seconds of each way, a list of repetitions; the first of each is left out."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, work in ways.items():
            taken = seconds(work, device)
            if turn:
                found[name].append(taken)
    return found


def exhaust(batches: Iterator[Any]) -> None:
    for _ in batches:
        pass


def read_all(batches: Batches) -> None:
    rng = torch.Generator().manual_seed(0)
    for chosen in torch.randperm(len(batches.images), generator=rng).split(128):
        batches.read(chosen, rng)


def loader(side: int, size: int, count: int, repeats: int, threads: int) -> dict[str, Any]:
    recipe = Recipe(batch_size=128, crop_min_area=0.08, flip=True, shift=0, input_size=size)
    labels = np.arange(count) % 10
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = shard(folder, count, side)
        ways: dict[str, Callable[[], Any]] = {
            name: lambda f=floats: exhaust(webdataset_epoch(folder / "00000.tar", size, 128, f))
            for name, floats in (("webdataset", False), ("webdataset, floats", True))
        }
        with ThreadPoolExecutor(threads) as executor:
            pool = executor if threads > 1 else None
            for kind, images in (
                ("JPEG", EncodedImages(manifest)),
                ("map", open_images(manifest, folder / "pixels")),
            ):
                batches = Batches(images, labels, recipe, pool)
                ways[kind] = lambda b=batches: read_all(b)
            found = in_turns(ways, repeats)
    rates = {name: round(count / median(taken)) for name, taken in found.items()}
    ratios = {
        f"{kind}, ours / {peer}": round(
            median(p / o for p, o in zip(found[peer], found[kind], strict=True)), 2
        )
        for kind in ("JPEG", "map")
        for peer in ("webdataset", "webdataset, floats")
    }
    return {"images": count, "images a CPU second": rates, **ratios, "seconds": found}


def step(side: int, count: int, spec: dict[str, Any], repeats: int) -> dict[str, Any]:
    """An epoch of ours beside loops over tensors in memory, on the CPU, without augmentation."""
    pixels = np.stack(photographs(count, side))
    labels = np.arange(count) % 10
    recipe = Recipe(batch_size=64, optimizer="adam", **PLAIN)
    model = build_seeded(spec, 10, 0).to(memory_format=torch.channels_last)
    ours = _Run(
        model, Batches(pixels, labels, recipe), MixedLoss(recipe.label_smoothing), recipe, 0, CPU
    )
    prepared = normalise(torch.from_numpy(pixels)).split(64)
    targets = torch.from_numpy(labels).split(64)
    fed = build_seeded(spec, 10, 0).to(memory_format=torch.channels_last)
    plain = build_seeded(spec, 10, 0)
    nchw = [part.contiguous() for part in prepared]

    def loop(network: nn.Module, parts: Any, optimizer: torch.optim.Optimizer) -> None:
        network.train()
        for images, shown in zip(parts, targets, strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), shown).backward()
            optimizer.step()

    fed_optimizer = _optimizer(fed, recipe)
    plain_optimizer = torch.optim.Adam(plain.parameters(), lr=recipe.learning_rate)
    found = in_turns(
        {
            "ours": lambda: ours.epoch(0),
            "fed from memory": lambda: loop(fed, prepared, fed_optimizer),
            "plain loop": lambda: loop(plain, nchw, plain_optimizer),
        },
        repeats,
    )
    return described(found, count)


def step_on_gpu(manifest: Manifest, folder: Path, threads: int, repeats: int) -> dict[str, Any]:
    """A ResNet-50 with paper A's recipe, beside the same on one batch that stays on the GPU."""
    device = torch.device("cuda")
    labels = manifest.class_indices
    recipe = Recipe(
        batch_size=512, optimizer="adam", precision="bfloat16", input_size=224, crop_min_area=0.08,
        three_augment=True, colour_jitter=0.3, flip=True, cutmix=True, gradient_clip=1.0, **PLAIN,
    )  # fmt: skip
    spec = {"family": "timm", "name": "resnet50"}
    with ThreadPoolExecutor(threads) as pool:
        model = build_seeded(spec, 200, 0).to(device, memory_format=torch.channels_last)
        images = open_images(manifest, folder / "pixels", None, pool)
        ours = _Run(
            model,
            Batches(images, labels, recipe, pool),
            MixedLoss(recipe.label_smoothing),
            recipe,
            0,
            device,
        )
        batch = next(iter(ours.batches.epoch(0, device)))

        def fed() -> None:
            for _ in range(len(ours.batches)):
                ours._step(batch)

        ways = {"ours": lambda: ours.epoch(0), "fed from memory": fed}
        return described(in_turns(ways, repeats, device), len(manifest))


def described(found: dict[str, list[float]], count: int) -> dict[str, Any]:
    rates = {name: round(count / median(taken), 1) for name, taken in found.items()}
    ratios = {
        f"step, ours / {name}": round(
            median(other / own for other, own in zip(taken, found["ours"], strict=True)), 3
        )
        for name, taken in found.items()
        if name != "ours"
    }
    return {"images": count, "images a second": rates, **ratios, "seconds": found}


def whole_training(count: int) -> dict[str, Any]:
    """Seconds of a training from decoded images, as a job has them, with its validation."""
    pixels, labels = np.stack(photographs(count, 32)), np.arange(count) % 10
    recipe = Recipe(epochs=2, batch_size=32)
    model = build_seeded(SMALL, 10, 0)
    with tempfile.TemporaryDirectory() as name:
        checkpoint = Checkpoint(Path(name), 1e9)
        started = time.process_time()
        train(model, pixels, labels, pixels[:200], labels[:200], recipe, 0, checkpoint, CPU)
    return {"images": 2 * count, "CPU seconds": round(time.process_time() - started, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found: dict[str, Any] = {
        "versions": {
            name: version(name) for name in ("torch", "torchvision", "webdataset", "timm", "pillow")
        },
        "device": args.device,
        "threads": args.threads,
        "targets": TARGETS,
        "loader, 224 of 256 px": loader(256, 224, args.images, args.repeats, args.threads),
        "loader, 64 of 64 px": loader(64, 64, args.images, args.repeats, args.threads),
    }
    if args.device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
        with tempfile.TemporaryDirectory() as name:
            manifest = shard(Path(name), 10 * args.images, 256)
            found["step, ResNet-50"] = step_on_gpu(manifest, Path(name), args.threads, args.repeats)
    else:
        found["step, small network at 32 px"] = step(32, 640, SMALL, args.repeats)
        found["step, small network at 64 px"] = step(64, 320, SMALL, args.repeats)
        found["a whole training"] = whole_training(640)
    for name, part in found.items():
        shown = (
            part
            if not isinstance(part, dict)
            else {k: v for k, v in part.items() if k != "seconds"}
        )
        print(name, json.dumps(shown))
    if args.output:
        args.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
