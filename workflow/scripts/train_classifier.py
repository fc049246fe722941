"""Train a classifier on the images of one manifest.

Keeps the weights with the lowest loss on the validation manifest, which belongs to the same
source. A training that is killed goes on from its last checkpoint in the scratch folder; the
model and its history are the same, byte for byte, as without the kill.
"""

import argparse
import json
import logging
import shutil
import time
from pathlib import Path

from synthgap.atomic import write_text
from synthgap.checkpoint import Checkpoint
from synthgap.classifiers.architectures import build_seeded
from synthgap.classifiers.evaluation import save, set_up
from synthgap.classifiers.training import Recipe, train
from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.job import command, facts, input_path, json_object, output_path, run, scratch_folder

log = logging.getLogger("synthgap")


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--train", type=input_path, required=True, help="manifest to train on")
    parser.add_argument("--val", type=input_path, required=True, help="manifest to choose weights")
    parser.add_argument("--architecture", type=json_object, required=True, metavar="JSON")
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
    parser.add_argument("--scratch", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--model", type=output_path, required=True, help=".safetensors to write")
    parser.add_argument("--history", type=output_path, required=True, help=".json to write")
    return parser


def main(args: argparse.Namespace) -> None:
    started = time.monotonic()
    device = set_up(args.threads, args.gpus)
    recipe = Recipe.from_mapping(args.recipe)
    training, validation = Manifest(args.train), Manifest(args.val)
    if training.classes != validation.classes:
        raise UserError(
            f"{args.train} and {args.val} have different classes: {training.classes[:5]}... and "
            f"{validation.classes[:5]}...; both must come from one source"
        )

    model = build_seeded(args.architecture, len(training.classes), args.seed)
    checkpoint = Checkpoint(scratch_folder(args), args.checkpoint_seconds)
    history = train(
        model,
        training.images(),
        training.class_indices,
        validation.images(),
        validation.class_indices,
        recipe,
        args.seed,
        checkpoint,
        device,
    )
    best = history.best_epoch
    log.info("kept epoch %d: validation top-1 %.2f %%", best, 100 * history.val_top1[best])

    save(model, args.architecture, training.classes, args.model)
    write_text(args.history, json.dumps(history.as_json(), indent=1) + "\n")
    shutil.rmtree(args.scratch)
    seconds, images = time.monotonic() - started, recipe.epochs * len(training)
    log.info("facts %s", json.dumps(facts(args, seconds, images, device.type)))


if __name__ == "__main__":
    run(options(), main)
