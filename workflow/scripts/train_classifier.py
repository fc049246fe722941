"""Train a classifier on the images of one manifest.

Keeps the weights with the lowest loss on the validation manifest, which belongs to the same
source, and those of the last epoch. A training that is killed goes on from its last checkpoint in
the scratch folder; models and history are the same, byte for byte, as without the kill.
"""

import argparse
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pyarrow.parquet as pq

from synthgap.atomic import atomic_path
from synthgap.checkpoint import Checkpoint
from synthgap.classifiers.architectures import build_seeded, require_size
from synthgap.classifiers.evaluation import About, save, set_up
from synthgap.classifiers.pretrained import start_from
from synthgap.classifiers.recipe import Recipe
from synthgap.classifiers.training import train
from synthgap.data.classes import require_images, require_same_classes
from synthgap.data.decoded import open_images
from synthgap.data.labels import few_labels
from synthgap.data.shards import Manifest
from synthgap.job import command, facts, input_path, json_object, output_path, run, scratch_folder

log = logging.getLogger("synthgap")


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--train", type=input_path, required=True, help="manifest to train on")
    parser.add_argument("--val", type=input_path, required=True, help="manifest to choose weights")
    parser.add_argument("--architecture", type=json_object, required=True, metavar="JSON")
    parser.add_argument(
        "--weights",
        type=input_path,
        metavar="FOLDER",
        help="of a published network of timm, to start from; random weights if left out",
    )
    parser.add_argument("--recipe", type=json_object, required=True, metavar="JSON")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument(
        "--checkpoint-seconds",
        type=float,
        required=True,
        help="least time between checkpoints; 0 saves after each epoch",
    )
    parser.add_argument(
        "--scratch", type=Path, required=True, help="folder for checkpoint and decoded images"
    )
    parser.add_argument("--model", type=output_path, required=True, help=".safetensors to write")
    parser.add_argument("--last", type=output_path, required=True, help="weights of the last epoch")
    parser.add_argument("--history", type=output_path, required=True, help=".parquet to write")
    return parser


def main(args: argparse.Namespace) -> None:
    started = time.monotonic()
    device = set_up(args.threads, args.gpus)
    recipe = Recipe.from_mapping(args.recipe)
    training, validation = Manifest(args.train), Manifest(args.val)
    require_same_classes(args.train, training.classes, args.val, validation.classes)
    require_images(training, 2)
    require_images(validation, 1)
    few = None
    if recipe.labels_per_class:
        few = few_labels(training, recipe.labels_per_class, args.seed)
        if not recipe.semi_supervised:
            training = training.only(few.labelled)
    about = About(
        args.architecture, training.classes, recipe.input_size, len(training), recipe.test_share
    )
    model = build_seeded(args.architecture, len(about.classes), args.seed)
    if args.weights:
        start_from(args.weights, model, args.architecture)

    scratch = scratch_folder(args)
    serial = device.type == "cpu" and args.threads == 1
    with nullcontext() if serial else ThreadPoolExecutor(args.threads) as pool:
        # What is not cropped can be resized once and for all.
        size = recipe.input_size if recipe.crop_min_area == 1 else None
        train_images = open_images(training, scratch / "train", size, pool)
        val_images = open_images(
            validation, scratch / "val", recipe.input_size, pool, recipe.test_share
        )
        require_size(model, args.architecture, *val_images.shape[1:3])
        history, last = train(
            model,
            train_images,
            training.class_indices,
            val_images,
            validation.class_indices,
            recipe,
            args.seed,
            Checkpoint(scratch, args.checkpoint_seconds),
            device,
            pool,
            few,
        )
    best = history.best_epoch
    log.info("kept epoch %d: validation top-1 %.2f %%", best, 100 * history.val_top1[best])

    with atomic_path(args.history) as part:
        pq.write_table(history.as_table(), part)
    save(model, about, args.model)
    model.load_state_dict(last)
    save(model, about, args.last)
    seconds, images = time.monotonic() - started, recipe.epochs * len(training)
    log.info("facts %s", json.dumps(facts(args, seconds, images, device.type)))


if __name__ == "__main__":
    run(options(), main)
