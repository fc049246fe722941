"""Draw a few test images of each source in each view, a column a view."""

import argparse

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthgap.atomic import atomic_path
from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.job import command, input_path, output_path, run
from synthgap.report.sheets import probe_sheet

SHOWN_PIXELS = 96  # about; larger images are shown as they are


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--sources", nargs="+", required=True)
    parser.add_argument("--views", nargs="+", required=True, help="the images as they are first")
    parser.add_argument(
        "--manifests", type=input_path, nargs="+", required=True,
        help="of the first source in each view, then of the next source",
    )  # fmt: skip
    parser.add_argument("--sheet", type=output_path, required=True, help="PNG to write")
    return parser


def main(args: argparse.Namespace) -> None:
    if len(args.manifests) != len(args.sources) * len(args.views):
        raise UserError("--manifests: one for each source and view is needed")
    manifests = [Manifest(path) for path in args.manifests]
    by_source = [
        manifests[start : start + len(args.views)]
        for start in range(0, len(manifests), len(args.views))
    ]
    classes = shown_classes([views[0].class_indices for views in by_source])
    groups = []
    for source, views in zip(args.sources, by_source, strict=True):
        firsts = [int(np.argmax(views[0].class_indices == index)) for index in classes]
        keys = [views[0].table["key"][first].as_py() for first in firsts]
        in_views = [images_of(manifest, keys) for manifest in views]
        groups.append((source, list(zip(*in_views, strict=True))))
    side = max(image.shape[0] for _, rows in groups for row in rows for image in row)
    sheet = probe_sheet(groups, args.views, scale=max(1, round(SHOWN_PIXELS / side)))
    with atomic_path(args.sheet) as part:
        sheet.save(part, "PNG")


def shown_classes(labels: list[NDArray[np.int64]]) -> list[int]:
    """Choose the first and the middle one of the classes that all sources have images of.

    Raises:
        UserError: the sources have no class in common.
    """
    common = sorted(set.intersection(*(set(np.unique(found).tolist()) for found in labels)))
    if not common:
        raise UserError("the sources have test images of no class in common")
    return sorted({common[0], common[len(common) // 2]})


def images_of(manifest: Manifest, keys: list[str]) -> NDArray[np.uint8]:
    """Return the images of these keys, uint8 (n, height, width, 3).

    A view that makes several of an image numbers them; then it is the first.

    Raises:
        UserError: the manifest has neither `KEY` nor `KEY-0`, or the images differ in size.
    """
    places = []
    for key in keys:
        found = [pc.index(manifest.table["key"], name).as_py() for name in (key, f"{key}-0")]
        if max(found) < 0:
            raise UserError(
                f"{manifest.path} has no image {key}: its shards are not of the images shown; "
                "delete the folder and run snakemake again to make them anew"
            )
        places.append(found[0] if found[0] >= 0 else found[1])
    return manifest.images(places)


if __name__ == "__main__":
    run(options(), main)
