"""Write what an autoencoder makes of a shard's images, for denoisers to learn from."""

import argparse
import json
import time

import numpy as np
import torch

from synthgap.atomic import write_text
from synthgap.data.images import decode
from synthgap.data.shards import count_readable, read_shard
from synthgap.devices import take_device
from synthgap.diffusion.encoded import write_latents
from synthgap.diffusion.encoding import load_autoencoder, posterior
from synthgap.errors import UserError
from synthgap.hub import origin
from synthgap.job import command, count, facts, input_path, output_path, run
from synthgap.progress import Progress


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--images", type=input_path, required=True, help="a shard's tar")
    parser.add_argument("--autoencoder", type=input_path, required=True, help="its folder")
    parser.add_argument("--batch-size", type=count, default=64)
    parser.add_argument("--threads", type=count, required=True, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument(
        "--latents", type=output_path, required=True, help=".safetensors; facts come beside it"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    started = time.monotonic()
    device = take_device(args.gpus)
    torch.set_num_threads(args.threads)
    vae = load_autoencoder(args.autoencoder, device)
    keys, means, stds = [], [], []
    with Progress(count_readable([args.images]), "images") as progress:
        for samples, contents in read_shard(args.images, args.batch_size):
            images = [decode(content) for content in contents]
            if len({image.shape for image in images}) > 1:
                raise UserError(f"{args.images}: images of different sizes; prepare them at one")
            mean, std = posterior(vae, np.stack(images), device)
            keys += [sample.key for sample in samples]
            # Half precision keeps ten bits, finer than the noise that any timestep adds.
            means.append(mean.half())
            stds.append(std.half())
            progress.update(len(samples))
    if not keys:
        raise UserError(f"{args.images} holds no readable image")
    latents, deviations = torch.cat(means), torch.cat(stds)
    if not (latents.isfinite().all() and deviations.isfinite().all()):
        raise UserError(
            f"{args.autoencoder}: of the latents of {args.images} some are NaN, or beyond half "
            "precision; is it the right one?"
        )
    write_latents(args.latents, keys, latents, deviations)
    told = facts(
        args, time.monotonic() - started, len(keys), device, autoencoder=origin(args.autoencoder)
    )
    write_text(args.latents.with_suffix(".json"), json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    run(options(), main)
