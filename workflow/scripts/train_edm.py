"""Train a diffusion model on images, real and synthetic, saved as a folder of `EDMPipeline`.

Killed and started again it goes on from its last checkpoint and ends in the same bytes.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from synthgap.atomic import atomic_path
from synthgap.checkpoint import Checkpoint
from synthgap.data.choice import labels
from synthgap.data.decoded import open_images
from synthgap.data.shards import Manifest
from synthgap.devices import take_device
from synthgap.diffusion.edm.batches import Batches, Labelled
from synthgap.diffusion.edm.building import build
from synthgap.diffusion.edm.pipeline import EDMPipeline
from synthgap.diffusion.edm.preconditioning import Preconditioning
from synthgap.diffusion.edm.training import Recipe, train
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

# Settings of a model that are its recipe's, or its noise's, under the same names.
RECIPE = {field.name for field in fields(Recipe)}
NOISE = {field.name for field in fields(Preconditioning)}


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--images", type=input_path, required=True, help="of choose_images")
    parser.add_argument("--model", type=json_object, required=True, help="of `edm_models`")
    parser.add_argument("--threads", type=count, required=True, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument("--checkpoint-seconds", type=float, required=True)
    parser.add_argument("--scratch", type=Path, required=True, help="folder of unfinished work")
    parser.add_argument("--pipeline", type=output_path, required=True, help="folder to write")
    parser.add_argument("--history", type=output_path, required=True, help=".parquet to write")
    return parser


def main(args: argparse.Namespace) -> None:
    device = take_device(args.gpus)
    torch.set_num_threads(args.threads)
    scratch, model = scratch_folder(args), args.model
    chosen = Manifest(args.images)
    with ThreadPoolExecutor(args.threads) as pool:
        images = open_images(chosen, scratch / "images.pixels", pool=pool)
    data = Labelled(images, labels(chosen), chosen.class_indices)
    preconditioning = Preconditioning(**{name: model[name] for name in NOISE})
    batches = Batches(
        data,
        preconditioning,
        size=model["batch_size"],
        augmentation=model["augment"],
        seed=model["seed"],
    )
    network = build(
        model["network"],
        side=images.shape[1],
        sources=model["sources"],
        classes=len(chosen.classes) if model["class_label"] else 0,
        augmented=model["augment"] > 0,
        seed=model["seed"],
    )
    weights = sum(parameter.numel() for parameter in network.parameters())
    log.info("%.1f million weights, %d images", weights / 1e6, len(images))
    recipe = Recipe(**{name: value for name, value in model.items() if name in RECIPE})
    checkpoint = Checkpoint(scratch, args.checkpoint_seconds)
    history = train(network, batches, recipe, checkpoint, device)
    with atomic_path(args.history) as part:
        pq.write_table(pa.Table.from_pylist([vars(entry) for entry in history]), part)
    pipeline = EDMPipeline(network.cpu().eval(), preconditioning.sigma_data)
    save_whole(
        args.pipeline, lambda folder: pipeline.save_pretrained(folder, safe_serialization=True)
    )


if __name__ == "__main__":
    run(options(), main)
