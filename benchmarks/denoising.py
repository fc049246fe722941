"""Training of a denoiser: ours, from files, against a plain loop with the same model in memory.

The plain loop holds a few batches on the device and does nothing else than a step needs: mixing in
noise, forward, backward, clipping, AdamW. Ours reads each image's latents and text by offset, draws
as Algorithm 1 says, and keeps the moving average. A round of each in turn, the best round counts.

    python benchmarks/denoising.py --output benchmarks/results/denoising.json
    python benchmarks/denoising.py --size paper --device cuda --batch 128   # DiT-I at 256 pixels

On a GPU the share of the peak in bfloat16 is told, too: six floating-point operations a weight and
token, those of attention between image tokens besides.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from synthgap.checkpoint import Checkpoint
from synthgap.diffusion.denoising import Recipe, train
from synthgap.diffusion.dit import DiTI
from synthgap.diffusion.encoded import Latents, Texts, write_latents, write_texts
from synthgap.diffusion.mixture import Batch, Mixture, Source
from synthgap.diffusion.objectives import Epsilon

SMALL = {"sample_size": 4, "in_channels": 8, "out_channels": 8, "patch_size": 1, "width": 128}
SMALL |= {"layers": 4, "heads": 4, "text_width": 64, "text_heads": 4, "text_registers": 4}
SIZES = {"demo": (SMALL, 12), "paper": ({}, 150)}  # options of DiT-I, words to a text
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # dense bfloat16, NVIDIA's data sheets
IMAGES = 2048


def made_up(folder: Path, model: DiTI, words: int) -> Source:
    """Latents and texts of the model's sizes, on the disk."""
    config, rng = model.config, torch.Generator().manual_seed(0)
    shape = (IMAGES, config.in_channels, config.sample_size, config.sample_size)
    keys = [str(i) for i in range(IMAGES)]
    mean = torch.randn(shape, generator=rng).half()
    write_latents(folder / "latents.safetensors", keys, mean, torch.full(shape, 0.1).half())
    lengths = torch.randint(words // 2, words + 1, (IMAGES,), generator=rng).tolist()
    texts = (torch.randn(n, config.text_width, generator=rng).bfloat16() for n in lengths)
    empty = torch.zeros(1, config.text_width).bfloat16()
    write_texts(folder / "texts.safetensors", keys, np.arange(IMAGES), texts, lengths, empty)
    files = Latents([folder / "latents.safetensors"]), [Texts([folder / "texts.safetensors"])]
    return Source(*files)


def plain(model: nn.Module, batches: list[Batch], steps: int, precision: str, device: str) -> None:
    """The loop of a tutorial."""
    objective = Epsilon()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    model.train()
    for step in range(steps):
        batch = batches[step % len(batches)]
        noisy = objective.noisy(batch.clean, batch.noise, batch.timesteps)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            found = model(noisy, batch.text, batch.timesteps, batch.mask, return_dict=False)[0]
        loss = (found.float() - batch.noise).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()


def flops(model: DiTI, batch: Batch) -> float:
    """Return the floating-point operations of a step, forward and backward."""
    config = model.config
    patches = (config.sample_size // config.patch_size) ** 2
    tokens = {"text": batch.text.shape[1] + config.text_registers, "image": patches}
    text = sum(p.numel() for p in model.text.parameters())
    cross = sum(b.text_attention.key_value.weight.numel() for b in model.blocks)
    image = sum(p.numel() for p in model.blocks.parameters()) - cross
    products = image * tokens["image"] + (text + cross) * tokens["text"]
    attention = 2 * config.layers * config.width * patches * (patches + tokens["text"])
    return 6.0 * len(batch.clean) * (products + attention)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="demo")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    precision = "float32" if args.device == "cpu" else "bfloat16"
    options, words = SIZES[args.size]
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    with tempfile.TemporaryDirectory() as name:
        folder, objective = Path(name), Epsilon()
        model = DiTI(**options).to(args.device)
        source = made_up(folder, model, words)
        side = model.config.sample_size // model.config.patch_size
        mixture = Mixture(
            source, objective, size=args.batch, drop_text=0.1, seed=0, grid=(side, side)
        )
        drawn = [mixture.batch(mixture.places(step)) for step in range(8)]
        batches = [batch.each(lambda part: part.to(args.device)) for batch in drawn]
        batches = [batch._replace(text=batch.text.float()) for batch in batches]
        recipe = Recipe(steps=args.steps, precision=precision, compile=args.compile, log_every=20)

        def ours(round_: int) -> None:
            train(
                model, mixture, objective, recipe, Checkpoint(folder / str(round_), 1e9),
                device=args.device,
            )  # fmt: skip

        network = torch.compile(model) if args.compile else model
        for round_ in range(args.rounds + 1):  # the first warms up
            for kind in seconds:
                started = time.perf_counter()
                if kind == "ours":
                    ours(round_)
                else:
                    plain(network, batches, args.steps, precision, args.device)
                if args.device != "cpu":
                    torch.cuda.synchronize()
                if round_:
                    seconds[kind].append(time.perf_counter() - started)
        speed = {kind: args.steps / min(found) for kind, found in seconds.items()}
        per_step = flops(model, batches[0])
    told = {
        "size": args.size,
        "batch": args.batch,
        "precision": precision,
        "compiled": args.compile,
        "plain_steps_a_second": round(speed["plain"], 3),
        "ours_steps_a_second": round(speed["ours"], 3),
        "ratio": round(speed["ours"] / speed["plain"], 3),
        "teraflops_a_second": round(speed["ours"] * per_step / 1e12, 3),
        "torch": torch.__version__,
        "device": args.device,
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
    }
    if args.device != "cpu":
        told["device"] = torch.cuda.get_device_name()
        peak = next((flop for name, flop in PEAK.items() if name in told["device"]), None)
        told["share_of_peak"] = peak and round(told["teraflops_a_second"] * 1e12 / peak, 3)
    print(json.dumps(told, indent=1))
    if args.output:
        args.output.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
