"""Which images the page shows, and what of each leads back to what made it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from synthgap.data.shards import ImageReader, Manifest, read_rows
from synthgap.errors import UserError
from synthgap.figures.data import REAL
from synthgap.metrics.memorised import IS_SIMILARITY

SCHEMA = pa.schema(
    [
        ("sheet", pa.string()),  # a kind of sheet, see `synthgap.report.gallery`
        ("line", pa.string()),  # of the sheet: its label
        ("note", pa.string()),  # what to say of this image alone
        ("key", pa.string()),  # as in the shard
        ("class_name", pa.string()),
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("details", pa.string()),  # JSON
        ("sha256", pa.string()),
        ("tar", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("caption", pa.string()),
        ("width", pa.int32()),  # of the image itself
        ("height", pa.int32()),
        ("thumbnail", pa.binary()),  # PNG, or WebP of images that had to be made smaller
    ]
)
MADE = b"made"
"""Of the file's metadata: JSON, how each shard was made."""

CLASSES = 10
SIDE = 144
"""The longer side of a thumbnail in pixels, at most."""
IMAGES = 240
"""So many in a sheet, if that leaves each line `FEWEST`."""
FEWEST, MOST = 6, 20


class Picked(NamedTuple):
    """An image of a sheet."""

    line: str
    manifest: Manifest
    row: int
    note: str = ""


def columns(lines: int) -> int:
    """How many images each of so many lines may have."""
    return max(FEWEST, min(MOST, IMAGES // max(1, lines)))


def same_classes(manifests: Mapping[str, Manifest]) -> list[Picked]:
    """The first images of some classes, a line a manifest; the classes are spread over all.

    Raises:
        UserError: the manifests have no class in common.
    """
    labels = {line: manifest.class_indices for line, manifest in manifests.items()}
    shown = spread(in_common(labels.values()), min(CLASSES, columns(len(manifests))))
    each = columns(len(manifests)) // len(shown)
    return [
        Picked(line, manifest, int(row), manifest.classes[index])
        for line, manifest in manifests.items()
        for index in shown
        for row in np.flatnonzero(labels[line] == index)[:each]
    ]


def in_views(views: Mapping[str, Mapping[str, Manifest]]) -> list[Picked]:
    """An image of two classes in each view, a line an image; of several crops the first.

    Args:
        views: by source, manifests by view, the images as they are first.

    Raises:
        UserError: the sources have no class in common, or a view lacks an image.
    """
    whole = {source: next(iter(manifests.values())) for source, manifests in views.items()}
    labels = {source: manifest.class_indices for source, manifest in whole.items()}
    found = []
    for source, manifests in views.items():
        for index in spread(in_common(labels.values()), 2):
            key = whole[source].table["key"][int(np.argmax(labels[source] == index))].as_py()
            line = f"{source}, {whole[source].classes[index]}"
            found += [
                Picked(line, manifest, row_of(manifest, key), view)
                for view, manifest in manifests.items()
            ]
    return found


def typical(source: str, manifest: Manifest, items: pa.Table, most: int) -> list[Picked]:
    """The images of a source that lie in the most balls of real images, and in the fewest.

    Args:
        items: of `measure_distribution`; nothing is shown where it has no rows.
        most: images a line.
    """
    items = items.filter(pc.invert(items["real"]))
    balls = items["balls"].to_numpy(zero_copy_only=False)
    order = np.argsort(-balls, kind="stable")
    keys = items["key"].to_pylist()
    return [
        Picked(line, manifest, row_of(manifest, keys[at]), f"in {balls[at]:,} balls")
        for line, chosen in (
            (f"{source}, most typical", order[:most]),
            (f"{source}, least typical", order[::-1][:most]),
        )
        for at in chosen
    ]


def uncovered(source: str, real: Manifest, items: pa.Table, most: int) -> list[Picked]:
    """Real images whose own ball holds no image of a source, spread over all of these."""
    of_real = items.filter(items["real"])
    keys = of_real.filter(pc.invert(of_real["covered"]))["key"].to_pylist()
    line = f"not covered by {source} ({len(keys):,} of {len(of_real):,})"
    return [Picked(line, real, row_of(real, keys[at])) for at in spread(range(len(keys)), most)]


def nearest(
    source: str, real: Manifest, generated: Manifest, table: pa.Table, metric: str, most: int
) -> list[Picked]:
    """The images of a source that come nearest to a training image, each followed by that image.

    Args:
        table: of `measure_replication`.
        metric: "lpips" or "ssim".
    """
    values = table[metric].to_numpy()
    order = np.argsort(-values if IS_SIMILARITY[metric] else values, kind="stable")[:most]
    found = []
    for at in order.tolist():
        key, other = (table[name][at].as_py() for name in ("key", f"nearest_{metric}_key"))
        value = f"{metric.upper()} {values[at]:.2f}"
        found.append(Picked(source, generated, row_of(generated, key), value))
        found.append(Picked(source, real, row_of(real, other), "nearest"))
    return found


def mistaken(
    line: str, manifest: Manifest, answers: pa.Table, classes: list[str], most: int
) -> list[Picked]:
    """Images that a classifier gets wrong, and is the surest to; spread over their classes.

    Args:
        answers: rows of `synthgap.metrics.predictions` for the manifest's images.
        classes: that the classifier knows.
    """
    wrong = answers.filter(pc.invert(answers["correct"])).sort_by("probability_of_class")
    # The surest of each class first, then the second of each...
    _, of = np.unique(wrong["class_index"].to_numpy(), return_inverse=True)
    place = np.zeros(len(of), np.int64)
    for index in np.unique(of):
        place[of == index] = np.arange((of == index).sum())
    chosen = np.argsort(place, kind="stable")[:most]
    return [
        Picked(
            line,
            manifest,
            row_of(manifest, wrong["key"][int(at)].as_py()),
            f"taken for {classes[wrong['predicted'][int(at)].as_py()]}",
        )
        for at in chosen
    ]


def spread(items: Iterable[Any], most: int) -> list[Any]:
    """At most so many of them, evenly spread, the first among them."""
    listed = list(items)
    if len(listed) <= most:
        return listed
    return [listed[round(at)] for at in np.linspace(0, len(listed) - 1, most)]


def in_common(labels: Iterable[NDArray[np.int64]]) -> list[int]:
    """The classes that all have images of. UserError where there is none."""
    common = sorted(set.intersection(*(set(np.unique(one).tolist()) for one in labels)))
    if not common:
        raise UserError("the sources that are to be shown have images of no class in common")
    return common


def row_of(manifest: Manifest, key: str) -> int:
    """Where an image is in a manifest; of a view that makes several of it, the first.

    Raises:
        UserError: it is not there.
    """
    for name in (key, f"{key}-0"):
        if (row := pc.index(manifest.table["key"], name).as_py()) >= 0:
            return int(row)
    raise UserError(
        f"{manifest.path} has no image {key}: its shards are not those that were measured; delete "
        "the folder and run snakemake again to make them anew"
    )


@dataclass(frozen=True)
class Examples:
    """Rows of `SCHEMA`, and how each of their shards was made."""

    rows: list[dict[str, Any]]
    made: dict[str, dict[str, Any]]

    def table(self) -> pa.Table:
        """Return what is written to a file."""
        told = {MADE: json.dumps(self.made, sort_keys=True)}
        return pa.Table.from_pylist(self.rows, SCHEMA).replace_schema_metadata(told)

    @classmethod
    def of(cls, table: pa.Table) -> Examples:
        """Return what a file has."""
        return cls(table.to_pylist(), json.loads(table.schema.metadata[MADE]))


def describe(sheets: Mapping[str, list[Picked]], captions: Mapping[str, str]) -> Examples:
    """Read the images of some sheets, and what their shards tell of them.

    Args:
        captions: of real images, by key; those of others are in their prompts.

    Raises:
        UserError: a shard is damaged.
    """
    found = Examples([], {})
    with ImageReader() as reader:
        for sheet, picked in sheets.items():
            for one in picked:
                tar, row = _shard_row(one)
                image = reader.read_image(tar, row["offset"], row["length"], row["sha256"])
                found.made.setdefault(str(tar), _made(tar))
                height, width = image.shape[:2]
                known: dict[str, Any] = {name: row[name] for name in SCHEMA.names if name in row}
                known |= {"sheet": sheet, "line": one.line, "note": one.note, "tar": str(tar)}
                known |= {"width": width, "height": height, "thumbnail": thumbnail(image)}
                known["caption"] = captions.get(row["key"], "") if tar.parts[-4] == REAL else ""
                found.rows.append(known)
    return found


def thumbnail(image: NDArray[np.uint8], side: int = SIDE) -> bytes:
    """An image (height, width, 3) as PNG, or as a smaller WebP where it is larger than `side`."""
    picture, buffer = Image.fromarray(image), io.BytesIO()
    if max(picture.size) <= side:
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        picture.save(buffer, "WEBP", quality=80, method=4)
    return buffer.getvalue()


def _shard_row(one: Picked) -> tuple[Path, dict[str, Any]]:
    """The shard of an image and its row there: manifests of comparisons name images anew."""
    place = one.manifest.table.slice(one.row, 1).to_pylist()[0]
    tar = Path(os.path.normpath(one.manifest.path.parent / place["shard"]))
    rows = _rows(tar)
    found = pc.index(rows["offset"], pa.scalar(place["offset"], pa.int64())).as_py()
    if found < 0:
        raise UserError(
            f"{one.manifest.path} names an image at byte {place['offset']} of {tar}, where there "
            "is none: one of them was made anew; delete the manifest and run snakemake again"
        )
    return tar, rows.slice(found, 1).to_pylist()[0]


@cache
def _rows(tar: Path) -> pa.Table:
    return read_rows(tar)


def _made(tar: Path) -> dict[str, Any]:
    """What of a shard's facts tells how it was made."""
    facts = json.loads(tar.with_suffix(".json").read_text())
    return {name: facts[name] for name in ("command", "options", "versions", "device")}


def lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Rows of a sheet by their line, in the order in which lines begin."""
    by_line: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_line.setdefault(row["line"], []).append(row)
    yield from by_line.items()
