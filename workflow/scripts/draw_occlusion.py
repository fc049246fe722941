"""Draw where a classifier looks: test images with their occlusion maps, and each class's mean."""

import argparse

import numpy as np
from numpy.typing import NDArray

from synthgap.atomic import atomic_path, write_text
from synthgap.data.decoded import centre, resize
from synthgap.data.occlusion_maps import OcclusionMaps, load_maps
from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.figures.occlusion import draw
from synthgap.figures.picture_style import context, svg
from synthgap.job import command, count, input_path, output_path, run


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--maps", type=input_path, required=True, help="of map_occlusion")
    parser.add_argument("--test", type=input_path, required=True, help="the manifest it was given")
    parser.add_argument("--columns", type=count, default=6, help="images of each class to show")
    parser.add_argument("--figure", type=output_path, required=True, help=".svg or .png to write")
    return parser


def main(args: argparse.Namespace) -> None:
    if args.figure.suffix not in (".svg", ".png"):
        raise UserError(f"--figure {args.figure}: choose a name that ends in .svg or .png")
    maps, manifest = load_maps(args.maps), Manifest(args.test)
    rows = {key: row for row, key in enumerate(manifest.table["key"].to_pylist())}
    if missing := [key for key in maps.keys if key not in rows]:
        raise UserError(
            f"{manifest.path} has no image {missing[0]}, which {args.maps} is of; give the "
            "manifest that map_occlusion was given"
        )
    images = manifest.images([rows[key] for key in maps.keys])
    images = np.stack([shown(image, maps) for image in images])
    figure = draw(maps, images, columns=args.columns)
    if args.figure.suffix == ".svg":
        write_text(args.figure, svg(figure))
        return
    with context(), atomic_path(args.figure) as part:
        figure.savefig(part, format="png", dpi=160, metadata={"Software": None})


def shown(image: NDArray[np.uint8], maps: OcclusionMaps) -> NDArray[np.uint8]:
    """Return what the classifier saw of an image."""
    middle = centre(image, maps.share)
    return middle if middle.shape[:2] == maps.size else resize(middle, maps.size[0])


if __name__ == "__main__":
    run(options(), main)
