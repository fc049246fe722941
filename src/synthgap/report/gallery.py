"""The page's images: sheets of thumbnails, and behind each what leads back to what made it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from synthgap.report.examples import Examples, lines
from synthgap.report.figures import data_uri

# Kind of sheet -> title, caption. The order is that of the page.
SHEETS = {
    "sources": (
        "What the sources look like",
        "The same classes in the same order: real images first, then those of each source.",
    ),
    "models": (
        "What models of real and synthetic images make",
        "Real training images, the synthetic ones, and samples of each model: of real images alone "
        "(dm), of both (sda), of both with their source told (casd). n is the number of real "
        "images, m that of synthetic ones.",
    ),
    "views": (
        "What each view keeps",
        "An image as it is, and what is left of it in each view. A classifier is trained and "
        "tested in one view.",
    ),
    "composites": (
        "CutMix composites",
        "Real training images, each with a part from an image of another class.",
    ),
    "typical": (
        "Most and least typical",
        "Around each real image lies a ball that reaches to its k-th nearest real neighbour in the "
        "encoder's features. The most typical images of a source lie in the most of these balls, "
        "the least typical in the fewest: in none, they look like no real image to the encoder.",
    ),
    "uncovered": (
        "Real images without a generated neighbour",
        "Real images whose own ball holds no image of the source: what it does not make. How many "
        "of them there are stands with its name.",
    ),
    "nearest": (
        "Nearest training images",
        "Generated images that come nearest to a real training image, each followed by that image: "
        "what is the same in both is a copy.",
    ),
    "mistaken": (
        "What classifiers get wrong",
        "Real test images that a classifier which learnt from a source's images takes for another "
        "class, those it is the surest of first. The first line learnt from real images.",
    ),
    "taken": (
        "What passes for another source",
        "Test images that the classifier which tells these sources apart takes for one of another "
        "source, those it is the surest of first.",
    ),
}
_PAIRS = {"nearest"}
# Images that are shown in a line, at most, where lines stand beside each other.
_SHORT = 8
# So small that their pixels are shown as squares where one is looked at.
_TINY = 64
_SHOWN, _LARGE = 48, 96
"""Width in pixels that tiny images and others are shown at."""
_WHERE = "In the project's folder, after `. .venv/bin/activate`"
_AGAIN = "python workflow/scripts/regenerate_image.py --tar {tar} --key {key} --image again.png"


@dataclass(frozen=True)
class Thumbnail:
    """An image of a sheet; `number` is its place in what is told of images."""

    number: int
    uri: str
    alt: str
    note: str
    width: int
    height: int
    tiny: bool


@dataclass(frozen=True)
class Line:
    """A line of a sheet."""

    title: str
    images: list[Thumbnail]


@dataclass(frozen=True)
class Sheet:
    """Images of one kind."""

    kind: str
    title: str
    caption: str
    lines: list[Line]
    pairs: bool

    @property
    def short(self) -> bool:
        """Whether lines may stand beside each other."""
        return max(len(line.images) for line in self.lines) <= _SHORT


@dataclass(frozen=True)
class Gallery:
    """All sheets, and as JSON what is told of their images."""

    sheets: list[Sheet]
    told: Markup


def gallery(examples: Examples, given: str = "") -> Gallery | None:
    """The sheets in the page's order, or None where there are no images.

    Args:
        given: the options that name the config files, as they are typed behind a target.
    """
    sheets: list[Sheet] = []
    told: list[dict[str, Any]] = []
    for kind, (title, caption) in SHEETS.items():
        shown = []
        for line, rows in lines(row for row in examples.rows if row["sheet"] == kind):
            images = []
            for row in rows:
                images.append(_thumbnail(len(told), row))
                told.append(_lineage(row, examples.made[row["tar"]], given))
            shown.append(Line(line, images))
        if shown:
            sheets.append(Sheet(kind, title, caption, shown, kind in _PAIRS))
    made = {tar: _settings(one) for tar, one in examples.made.items()}
    return Gallery(sheets, embedded({"images": told, "made": made})) if sheets else None


def embedded(value: Any) -> Markup:
    """JSON that may stand within a page's `script` element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c"))


def _thumbnail(number: int, row: Mapping[str, Any]) -> Thumbnail:
    content = row["thumbnail"]
    kind = "image/png" if content.startswith(b"\x89PNG") else "image/webp"
    source, split, _ = place(row["tar"])
    alt = f"{row['class_name']}, {source}, {split}"
    tiny = max(row["width"], row["height"]) <= _TINY
    scale = (_SHOWN if tiny else min(_LARGE, row["width"])) / row["width"]
    width, height = (round(row[side] * scale) for side in ("width", "height"))
    return Thumbnail(number, data_uri(kind, content), alt, row["note"], width, height, tiny)


def _lineage(row: Mapping[str, Any], made: Mapping[str, Any], given: str) -> dict[str, Any]:
    """What is told of an image: a title, facts, and the command that makes it again."""
    source, split, view = place(row["tar"])
    details = json.loads(row["details"])
    facts = [
        ("Source", f"{source}, {split}" + ("" if view == "rgb" else f", view {view}")),
        ("Class", row["class_name"]),
        ("Prompt", row["prompt"]),
        ("Caption", row["caption"]),
        ("Seed", str(row["seed"])),
        ("Size", f"{row['width']} × {row['height']} pixels"),
        ("Shard", row["tar"]),
        ("In it", f"{row['key']}, {row['length']:,} bytes at {row['offset']:,}"),
        ("SHA-256", row["sha256"]),
        *((_words(name), _text(value)) for name, value in details.items()),
    ]
    if made["command"] == "generate_images":
        again = _AGAIN.format(tar=row["tar"], key=row["key"])
        why = f"{_WHERE}, this makes the image again and tells whether it is the same."
    else:
        again = f"snakemake --force {row['tar']}{given}"
        why = f"{_WHERE}, this makes the shard of the image again."
    return {
        "title": f"{row['key']}: {row['class_name']}",
        "facts": [[name, text] for name, text in facts if text],
        "tar": row["tar"],
        "again": again,
        "why": why,
    }


def _settings(made: Mapping[str, Any]) -> list[list[str]]:
    """How a shard was made: command, options and versions."""
    found = [["Made by", f"{made['command']} on {made['device']}"]]
    for name, value in made["options"].items():
        inner = value.items() if isinstance(value, dict) else [(None, value)]
        for part, one in inner:
            if one is not None and name not in ("scratch", "tar", "log"):
                found.append([_words(name if part is None else f"{name}: {part}"), _text(one)])
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    return [*found, ["Versions", versions]]


def place(tar: str) -> tuple[str, str, str]:
    """Source, split and view of a shard, which its path names."""
    source, split, view = Path(tar).parts[-4:-1]
    return source, split, view


def _words(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
