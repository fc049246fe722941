"""Train a text-to-image model on latents and texts, saved as a diffusers pipeline folder.

Killed and started again it goes on from its last checkpoint and ends in the same bytes. Started by
torch's launcher (`torchrun --nproc-per-node N`), N processes share each batch.
"""

import argparse
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from synthgap import processes
from synthgap.atomic import atomic_path
from synthgap.checkpoint import Checkpoint
from synthgap.diffusion.denoising import Logged, Recipe, train
from synthgap.diffusion.encoded import Latents, Texts
from synthgap.diffusion.encoding import load_autoencoder, load_text_encoder
from synthgap.diffusion.mixture import Composites, Crops, Mixture, Source
from synthgap.diffusion.objectives import OBJECTIVES
from synthgap.diffusion.samples import Samples
from synthgap.diffusion.text_to_image import (
    assemble,
    build_denoiser,
    continue_from,
    lay_out_snapshots,
)
from synthgap.job import (
    command,
    count,
    input_path,
    json_object,
    log,
    output_path,
    run,
    scratch_folder,
)
from synthgap.model_folder import save_whole

# Settings of a model that are its recipe's, under the same names.
RECIPE = {field.name for field in fields(Recipe)}


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    for side, required in (("", True), ("composite-", False)):
        parser.add_argument(
            f"--{side}latents", type=input_path, nargs="+", required=required, help="of all shards"
        )
        parser.add_argument(
            f"--{side}texts",
            type=input_path,
            nargs="+",
            action="append",
            required=required,
            help="of all shards; once for each kind of text",
        )
    parser.add_argument("--autoencoder", type=input_path, required=True, help="its folder")
    parser.add_argument("--text-encoder", type=input_path, required=True, help="its folder")
    parser.add_argument("--model", type=json_object, required=True, help="of `trained_models`")
    parser.add_argument("--start", type=input_path, help="pipeline folder whose denoiser goes on")
    parser.add_argument("--snapshot-steps", type=count, nargs="*", default=[], help="to keep, too")
    parser.add_argument("--threads", type=count, required=True, help="CPU threads")
    parser.add_argument("--gpus", type=int, help="default: one a process where there are any")
    parser.add_argument("--checkpoint-seconds", type=float, required=True)
    parser.add_argument("--scratch", type=Path, required=True, help="folder of unfinished work")
    parser.add_argument("--pipeline", type=output_path, required=True, help="folder to write")
    parser.add_argument(
        "--snapshots", type=output_path, help="folder to write: a pipeline each of these steps"
    )
    parser.add_argument("--history", type=output_path, required=True, help=".parquet to write")
    parser.add_argument("--sheets", type=output_path, required=True, help="folder to write")
    return parser


def main(args: argparse.Namespace) -> None:
    device = processes.take_device(args.gpus)
    torch.set_num_threads(args.threads)
    scratch = scratch_folder(args)
    with processes.group(device) as (rank, _):
        history, samples, denoiser, objective = learn(args, device, scratch)
        if rank == 0:
            with atomic_path(args.history) as part:
                pq.write_table(pa.Table.from_pylist([vars(entry) for entry in history]), part)
            save_whole(args.sheets, samples.save)
            dtype = torch.float32 if device == "cpu" else torch.bfloat16
            parts = load_text_encoder(args.text_encoder, "cpu", dtype)
            vae = load_autoencoder(args.autoencoder, "cpu")
            pipeline = assemble(denoiser.cpu(), objective, vae, *parts)
            save_whole(
                args.pipeline,
                lambda folder: pipeline.save_pretrained(folder, safe_serialization=True),
            )
            if args.snapshots:
                save_whole(
                    args.snapshots,
                    lambda folder: lay_out_snapshots(args.pipeline, scratch / "snapshots", folder),
                )
        processes.wait()


def learn(
    args: argparse.Namespace, device: str, scratch: Path
) -> tuple[list[Logged], Samples, nn.Module, Any]:
    """Train the denoiser; return history, samples, the denoiser and what it predicts."""
    model = args.model
    vae = load_autoencoder(args.autoencoder, device)
    scale = vae.config.scaling_factor
    images = Source(Latents(args.latents, scale), [Texts(paths) for paths in args.texts])
    composites = None
    if model["composites"]:
        chosen = model["composites"]
        source = Source(
            Latents(args.composite_latents, scale),
            [Texts(paths) for paths in args.composite_texts],
        )
        composites = Composites(source, chosen["probability"], chosen["above"])
    shape = images.latents.shape
    size = model["denoiser"]["patch_size"]
    objective = OBJECTIVES[model["objective"]]()
    mixture = Mixture(
        images,
        objective,
        size=model["batch_size"],
        drop_text=model["drop_text"],
        seed=model["seed"],
        grid=(shape[1] // size, shape[2] // size),
        composites=composites,
        crops=Crops(**model["crops"]) if model["crops"] else None,
    )
    build = partial(continue_from, args.start) if args.start else build_denoiser
    denoiser = build(
        model["denoiser"],
        latents=shape,
        text_width=images.texts[0].empty.shape[1],
        crop_tokens=bool(model["crops"]),
        seed=model["seed"],
    )
    weights = sum(parameter.numel() for parameter in denoiser.parameters())
    log.info("%s of %.1f million weights", model["denoiser"]["kind"], weights / 1e6)
    samples = Samples(images, vae, objective, device, scratch / "sheets")
    every, last = model["sheet_every"], model["steps"]
    sheets = {last, *range(every, last, every)} if every else {last}

    def watch(step: int, denoiser: Any) -> None:
        if step in sheets:
            samples.draw(step, denoiser)
        if step in args.snapshot_steps:
            save_whole(scratch / "snapshots" / str(step), denoiser.save_pretrained)

    history = train(
        denoiser,
        mixture,
        objective,
        Recipe(**{name: value for name, value in model.items() if name in RECIPE}),
        Checkpoint(scratch, args.checkpoint_seconds),
        device=device,
        watch=watch,
        watch_at=sheets | set(args.snapshot_steps),
    )
    return history, samples, denoiser, objective


if __name__ == "__main__":
    run(options(), main)
