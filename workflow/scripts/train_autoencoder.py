"""Train a small autoencoder on real images, saved as a diffusers folder.

Killed and started again it goes on from its last checkpoint and ends in the same bytes.
"""

import argparse
from pathlib import Path

import torch

from synthgap.checkpoint import Checkpoint
from synthgap.data.shards import Manifest
from synthgap.diffusion.autoencoder import build_autoencoder, train_autoencoder
from synthgap.errors import UserError
from synthgap.job import command, input_path, json_object, output_path, run, scratch_folder
from synthgap.model_folder import save_whole
from synthgap.seeds import derive_seed


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--manifest", type=input_path, required=True, help="real training images")
    parser.add_argument("--autoencoder", type=json_object, required=True, help="of `autoencoders`")
    parser.add_argument("--checkpoint-seconds", type=float, required=True)
    parser.add_argument("--scratch", type=Path, required=True, help="folder of unfinished work")
    parser.add_argument("--folder", type=output_path, required=True, help="to write")
    return parser


def main(args: argparse.Namespace) -> None:
    settings = args.autoencoder
    torch.set_num_threads(settings["threads"])
    images = Manifest(args.manifest).images()
    side, shrinks = images.shape[1], 2 ** (len(settings["channels"]) - 1)
    if side % shrinks:
        raise UserError(
            f"autoencoders: {len(settings['channels'])} levels of channels need an image size "
            f"that is a multiple of {shrinks}, not {side}"
        )
    torch.manual_seed(derive_seed(settings["seed"], "initial weights"))
    vae = build_autoencoder(side, settings["channels"], settings["latent_channels"])
    train_autoencoder(
        vae,
        images,
        steps=settings["steps"],
        batch_size=settings["batch_size"],
        learning_rate=settings["learning_rate"],
        seed=settings["seed"],
        checkpoint=Checkpoint(scratch_folder(args), args.checkpoint_seconds),
    )
    save_whole(args.folder, lambda folder: vae.save_pretrained(folder, safe_serialization=True))


if __name__ == "__main__":
    run(options(), main)
