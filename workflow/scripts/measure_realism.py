"""Measure how often the classifier that steers a sampler takes images for generated.

Of images with guidance it is no judge: it sees what it was made to please. It is measured as the
paper has it; how classifiers judge that had no part in it is measured by study `distinguish`.
"""

import argparse

import numpy as np
import torch

from synthgap.classifiers.evaluation import set_up
from synthgap.data.decoded import EncodedImages
from synthgap.data.shards import Manifest
from synthgap.diffusion.realism import CLASSES, load, with_level
from synthgap.diffusion.realism_training import AT_ONCE, encoded, load_parts
from synthgap.job import command, input_path, json_object, output_path, run, seed
from synthgap.metrics.intervals import bootstrap_mean
from synthgap.metrics.measures import Measure, write_measures
from synthgap.progress import Progress


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--model", type=input_path, required=True, help="of train_realism")
    parser.add_argument("--pipeline", type=input_path, required=True, help="its folder")
    parser.add_argument("--generator", type=json_object, required=True, help="options")
    parser.add_argument("--images", type=input_path, required=True, help="manifest")
    parser.add_argument("--about", type=json_object, default={}, help="for the metrics table")
    parser.add_argument("--seed", type=seed, required=True, help="of the interval")
    parser.add_argument("--threads", type=int, required=True, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument("--output", type=output_path, required=True, help=".json to write")
    return parser


def main(args: argparse.Namespace) -> None:
    device = set_up(args.threads, args.gpus)
    model, _ = load(args.model)
    model.to(device)
    vae, _ = load_parts(args.pipeline, args.generator["scheduler"])
    if vae is not None:
        vae.to(device).eval()
    images = EncodedImages(Manifest(args.images), args.generator["image_size"])
    fake = []
    with Progress(len(images), "images") as progress, torch.inference_mode():
        for start in range(0, len(images), AT_ONCE):
            clean = encoded(images[start : start + AT_ONCE], vae, device).float().to(device)
            # As good as no noise: what the sampler ends with.
            logits = model(with_level(clean, torch.zeros(len(clean), device=device)))
            fake.append((logits.argmax(1) != CLASSES.index("real")).cpu().numpy())
            progress.update(len(clean))
    found = bootstrap_mean(np.concatenate(fake), seed=args.seed)
    measure = Measure("share_called_fake", found.value, len(images), *found[1:])
    write_measures(args.output, [measure], args.about)


if __name__ == "__main__":
    run(options(), main)
