"""Map where a classifier looks: how much it loses when a square of an image is hidden.

Draws as many test images of each class by the seed. A square in the images' mean colour is moved
over each, and the drop of the right class's log-odds is written for each position.
"""

import argparse

from synthgap.classifiers.evaluation import load, set_up
from synthgap.classifiers.occlusion import choose_rows, mean_colour, occlude, positions
from synthgap.data.classes import require_same_classes
from synthgap.data.occlusion_maps import OcclusionMaps
from synthgap.data.shards import Manifest
from synthgap.job import command, count, input_path, log, output_path, run, seed
from synthgap.progress import Progress


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--model", type=input_path, required=True, help="of train_classifier")
    parser.add_argument("--test", type=input_path, required=True, help="manifest of its classes")
    parser.add_argument("--images", type=count, required=True, help="of each class")
    parser.add_argument("--patch", type=count, required=True, help="the square's side in pixels")
    parser.add_argument("--stride", type=count, required=True, help="between squares, in pixels")
    parser.add_argument("--seed", type=seed, required=True, help="of the images")
    parser.add_argument("--threads", type=count, required=True, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument("--maps", type=output_path, required=True, help=".safetensors to write")
    return parser


def main(args: argparse.Namespace) -> None:
    device = set_up(args.threads, args.gpus)
    model, about = load(args.model)
    model.to(device)
    manifest = Manifest(args.test)
    require_same_classes(manifest.path, manifest.classes, args.model, about.classes)
    rows = choose_rows(manifest, args.images, args.seed)
    images = about.fit(manifest.images(rows))
    classes = manifest.class_indices[rows]
    height, width = images.shape[1:3]
    tops, lefts = (positions(side, args.patch, args.stride) for side in (height, width))
    colour = mean_colour(images)
    log.info("%d images of %d x %d pixels, squares of colour %s", len(rows), width, height, colour)
    with Progress(len(rows) * len(tops) * len(lefts), "images with a square") as progress:
        maps, whole = occlude(
            model,
            images,
            classes,
            patch=args.patch,
            stride=args.stride,
            colour=colour,
            progress=progress.update,
        )
    keys = manifest.table["key"].take(rows).to_pylist()
    found = OcclusionMaps(
        maps=maps,
        log_odds=whole,
        class_indices=classes,
        tops=tops,
        lefts=lefts,
        keys=keys,
        classes=about.classes,
        patch=args.patch,
        size=(height, width),
        colour=colour,
        seed=args.seed,
        share=about.test_share,
    )
    found.save(args.maps)


if __name__ == "__main__":
    run(options(), main)
