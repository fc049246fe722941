"""Train the classifier of noised images that steers a sampler towards real ones (paper C).

It tells real images from those that the same pipeline made without it, at every level of noise that
the pipeline's model was trained on, in the space that it denoises.
"""

import argparse
import json
import logging
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from synthgap.atomic import atomic_path
from synthgap.checkpoint import Checkpoint
from synthgap.classifiers.evaluation import set_up
from synthgap.classifiers.recipe import Recipe
from synthgap.classifiers.training import fit
from synthgap.data.shards import Manifest
from synthgap.diffusion.realism import about_of, build_noised, require_fits, save
from synthgap.diffusion.realism_training import NoisedBatches, Validation, encode, load_parts
from synthgap.job import command, facts, input_path, json_object, output_path, run, scratch_folder
from synthgap.seeds import derive_seed

log = logging.getLogger("synthgap")
SPLITS = ("train", "val")


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    for side in ("real", "generated"):
        parser.add_argument(
            f"--{side}",
            type=input_path,
            nargs=2,
            required=True,
            metavar=("TRAIN", "VAL"),
            help="manifests",
        )
    parser.add_argument("--pipeline", type=input_path, required=True, help="its folder")
    parser.add_argument("--generator", type=json_object, required=True, help="without guidance")
    parser.add_argument("--architecture", type=json_object, required=True, metavar="JSON")
    parser.add_argument("--recipe", type=json_object, required=True, metavar="JSON")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument("--checkpoint-seconds", type=float, required=True)
    parser.add_argument("--scratch", type=Path, required=True, help="for checkpoint and latents")
    parser.add_argument("--model", type=output_path, required=True, help=".safetensors to write")
    parser.add_argument("--history", type=output_path, required=True, help=".parquet to write")
    return parser


def main(args: argparse.Namespace) -> None:
    started = time.monotonic()
    device = set_up(args.threads, args.gpus)
    recipe = Recipe.from_mapping(args.recipe)
    vae, scheduler = load_parts(args.pipeline, args.generator["scheduler"])
    if vae is not None:
        vae.to(device).eval()
    scratch, side = scratch_folder(args), args.generator["image_size"]
    latents, labels = {}, {}
    for number, split in enumerate(SPLITS):
        sides = [Manifest(args.real[number]), Manifest(args.generated[number])]
        # As many of each: the first ones of a manifest hold the classes evenly.
        count = min(map(len, sides))
        latents[split] = encode(sides, count, side, vae, device, scratch / split)
        labels[split] = np.repeat([0, 1], count)
    about = about_of(args.architecture, latents["train"], scheduler)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(args.seed, "realism"))
        model = build_noised(about)
    require_fits(model, about)
    validation = Validation(latents["val"], labels["val"], scheduler, args.seed)
    history, _ = fit(
        model,
        NoisedBatches(latents["train"], labels["train"], recipe, scheduler),
        validation.logits,
        validation.labels,
        recipe,
        args.seed,
        Checkpoint(scratch, args.checkpoint_seconds),
        device,
    )
    best = history.best_epoch
    log.info(
        "kept epoch %d: %.2f %% of noised validation images told right",
        best,
        100 * history.val_top1[best],
    )
    with atomic_path(args.history) as part:
        pq.write_table(history.as_table(), part)
    save(model, about, args.model)
    images = recipe.epochs * len(labels["train"])
    log.info("facts %s", json.dumps(facts(args, time.monotonic() - started, images, device.type)))


if __name__ == "__main__":
    run(options(), main)
