"""Draw a few images of each of several manifests, a row each."""

import argparse

from synthgap.atomic import atomic_path
from synthgap.data.shards import Manifest
from synthgap.job import command, input_path, output_path, run
from synthgap.report.sheets import contact_sheet

COLUMNS = 20


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--manifests", type=input_path, nargs="+", required=True)
    parser.add_argument("--labels", nargs="+", required=True, help="one a manifest")
    parser.add_argument("--sheet", type=output_path, required=True, help="PNG to write")
    return parser


def main(args: argparse.Namespace) -> None:
    rows = []
    for label, path in zip(args.labels, args.manifests, strict=True):
        manifest = Manifest(path)
        rows.append((label, manifest.images(range(min(COLUMNS, len(manifest))))))
    side = max(images.shape[1] for _, images in rows)
    sheet = contact_sheet(rows, scale=max(1, 48 // side), columns=COLUMNS)
    with atomic_path(args.sheet) as part:
        sheet.save(part, "PNG")


if __name__ == "__main__":
    run(options(), main)
