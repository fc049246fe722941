"""Count of which classes generated images are, by a classifier that was trained on real ones."""

import argparse

import numpy as np

from synthgap.classifiers.evaluation import load, predict, set_up
from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.job import command, count, input_path, json_object, log, output_path, run, seed
from synthgap.metrics.measures import write_measures
from synthgap.metrics.memorised import class_shares
from synthgap.progress import Progress

# Images are read and classified this many at a time, which bounds the memory.
BATCH = 256


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--model", type=input_path, required=True, help="of train_classifier")
    parser.add_argument("--images", type=input_path, required=True, help="manifest")
    parser.add_argument(
        "--wanted", type=seed, nargs="*", help="class indices that were to be generated; all"
    )
    parser.add_argument("--threads", type=count, required=True, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument("--about", type=json_object, default={}, help="to be said of all numbers")
    parser.add_argument("--output", type=output_path, required=True, help=".json")
    return parser


def main(args: argparse.Namespace) -> None:
    device = set_up(args.threads, args.gpus)
    model, about = load(args.model)
    model.to(device)
    manifest = Manifest(args.images)
    if not len(manifest):
        raise UserError(f"{manifest.path} has no images")
    parts = []
    with Progress(len(manifest), "images") as progress:
        for start in range(0, len(manifest), BATCH):
            rows = range(start, min(start + BATCH, len(manifest)))
            logits = predict(model, about.fit(manifest.images(rows)), BATCH)
            parts.append(logits.argmax(1))
            progress.update(len(rows))
    found = class_shares(np.concatenate(parts), about.classes, args.wanted or None)
    for one in found:
        log.info("%s %s %.4f", one.metric, one.settings.get("class", ""), one.value)
    write_measures(args.output, found, args.about)


if __name__ == "__main__":
    run(options(), main)
