"""EDM models: training against a bare loop with the same network, sampling against bare calls.

The bare loop holds a few batches on the device and does nothing else than a step needs: noise,
forward, backward, Adam. Ours reads images by number from a file, draws all that is random from seed
and step, and keeps the moving average. Sampling is compared with as many calls of the network as
Heun's method takes, one after the other on one input. A round of each in turn, the best counts.

    OMP_NUM_THREADS=1 python benchmarks/edm.py --output benchmarks/results/edm.json
    python benchmarks/edm.py --size cifar10 --device cuda --batch 512 --output gpu.json
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from synthgap.checkpoint import Checkpoint
from synthgap.diffusion.edm.batches import Batch, Batches, Labelled
from synthgap.diffusion.edm.network import EDMUNet
from synthgap.diffusion.edm.pipeline import EDMPipeline
from synthgap.diffusion.edm.preconditioning import Preconditioning
from synthgap.diffusion.edm.sampler import evaluations
from synthgap.diffusion.edm.training import Recipe, train

SIZES = {
    "digits": {"sample_size": 16, "channels": 16, "multipliers": (1, 2), "blocks": 1,
               "attention": (8,), "dropout": 0.0},
    "cifar10": {},
    "ffhq": {"sample_size": 64, "multipliers": (1, 2, 2, 2), "dropout": 0.05},
}  # fmt: skip
IMAGES = 2048
STEPS = 18  # of sampling


def bare(model: EDMUNet, batches: list[Batch], steps: int, precision: str, device: str) -> None:
    """The loop of a tutorial."""
    preconditioning = Preconditioning()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    model.train()
    for step in range(steps):
        batch = batches[step % len(batches)]

        def network(noisy: torch.Tensor, noise: torch.Tensor, batch: Batch = batch) -> torch.Tensor:
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                found: torch.Tensor = model(noisy, noise, batch.source, None, batch.augmented)
            return found.float()

        loss = preconditioning.loss(network, batch.clean, batch.noise, batch.sigma)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def bare_sampling(model: EDMUNet, count: int, device: str) -> None:
    """As many evaluations of the network as sampling takes, and nothing else."""
    config = model.config
    image = torch.randn(count, 3, config.sample_size, config.sample_size, device=device)
    noise, sources = torch.zeros(count, device=device), torch.zeros(count, device=device).long()
    for _ in range(evaluations(STEPS)):
        model(image, noise, sources)


def seconds_of(work: Callable[[], object], device: str) -> float:
    """Return how long a piece of work takes: in CPU seconds, which other work does not change."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    started = clock()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="digits")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--augment", type=float, default=0.12)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    precision = "float32" if args.device == "cpu" else "bfloat16"
    model = EDMUNet(**SIZES[args.size], sources=2).to(args.device)
    side = model.config.sample_size
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        file, shape = Path(name) / "pixels", (IMAGES, side, side, 3)
        file.write_bytes(rng.integers(0, 256, shape, dtype=np.uint8).tobytes())
        images = np.memmap(file, np.uint8, "r", shape=shape)
        data = Labelled(images, rng.integers(0, 2, IMAGES), np.zeros(IMAGES, np.int64))
        batches = Batches(
            data, Preconditioning(), size=args.batch, augmentation=args.augment, seed=0
        )
        kept = [batches.batch(step).each(lambda t: t.to(args.device)) for step in range(8)]
        recipe = Recipe(kimg=args.steps * args.batch / 1000, precision=precision, log_every=20)
        pipeline = EDMPipeline(model)
        pipeline.set_progress_bar_config(disable=True)
        generators = [torch.Generator().manual_seed(i) for i in range(args.batch)]
        sampled: list[int] = []

        def ours() -> None:
            train(model, batches, recipe, Checkpoint(Path(name) / "none", 1e9), args.device)

        def sample() -> None:
            model.eval()
            made = pipeline([0] * args.batch, STEPS, generators, output_type="pt")
            sampled.append(made.evaluations)

        works: dict[str, Callable[[], object]] = {
            "bare": lambda: bare(model, kept, args.steps, precision, args.device),
            "ours": ours,
            "bare_sampling": lambda: bare_sampling(model.eval(), args.batch, args.device),
            "sampling": sample,
        }
        found: dict[str, list[float]] = {}
        for number in range(args.rounds + 1):  # the first warms up
            for kind, work in works.items():
                seconds = seconds_of(work, args.device)
                if number:
                    found.setdefault(kind, []).append(seconds)
    trained = args.steps * args.batch
    speed = {kind: (args.batch if "sampling" in kind else trained) / min(times)
             for kind, times in found.items()}  # fmt: skip
    told = {
        "size": args.size,
        "weights": sum(p.numel() for p in model.parameters()),
        "batch": args.batch,
        "precision": precision,
        "bare_images_a_second": round(speed["bare"], 2),
        "ours_images_a_second": round(speed["ours"], 2),
        "ratio": round(speed["ours"] / speed["bare"], 3),
        "evaluations_an_image": sampled[0],
        "bare_sampled_images_a_second": round(speed["bare_sampling"], 2),
        "sampled_images_a_second": round(speed["sampling"], 2),
        "sampling_ratio": round(speed["sampling"] / speed["bare_sampling"], 3),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if args.device != "cpu" else "cpu",
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
    }
    print(json.dumps(told, indent=1))
    if args.output:
        args.output.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
