"""Dataset cards: the README.md that tells what the images of a source are and where they are from.

In a package of its own, since the template beside it is part of the code that shapes a file, and no
image is to be made again because of its wording.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pyarrow.parquet as pq
import yaml

from synthgap import checksums
from synthgap.cards.licences import HUB_LICENCES, known_licence
from synthgap.data.images import SUFFIXES

# As they are called on the hub, where a data set has a validation split.
SPLIT_NAMES = {"train": "train", "val": "validation", "test": "test"}
# Bounds of the hub's `size_categories`, below which each name holds.
SIZES = (
    (10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"), (10**8, "10M<n<100M"),
)  # fmt: skip
# Tables of more classes than that are no reading.
MOST_CLASSES = 40


@dataclass(frozen=True)
class Split:
    """The images of one split."""

    name: str
    images: int
    classes: dict[str, int]
    """images by class name, in the classes' order"""
    shards: int
    facts: Sequence[Mapping[str, Any]]
    """of the jobs that made them"""


def read_split(name: str, manifest: Path) -> Split:
    """Return what a manifest and the facts beside its shards tell."""
    table = pq.read_table(manifest, columns=["class_index", "shard"])
    names = json.loads(pq.read_schema(manifest).metadata[b"classes"])
    counts = Counter(table["class_index"].to_pylist())
    shards = table["shard"].unique().to_pylist()
    checksums.check(manifest.parent / shard for shard in shards)
    files = [(manifest.parent / shard).with_suffix(".json") for shard in shards]
    return Split(
        name=name,
        images=table.num_rows,
        classes={name: counts[index] for index, name in enumerate(names)},
        shards=len(shards),
        facts=[json.loads(file.read_text()) for file in files],
    )


def write_card(about: Mapping[str, Any], splits: Sequence[Split]) -> str:
    """Return a dataset card: YAML that the Hugging Face hub and `datasets` read, then Markdown.

    Args:
        about: of `synthgap.config.about.card`; `license` may be filled in from elsewhere.
        splits: in their order, one or more.
    """
    licence = known_licence(about.get("license"))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("synthgap.cards", ""),
        autoescape=False,  # Markdown
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    classes = list(splits[0].classes)
    return environment.get_template("card.md.j2").render(
        front=yaml.safe_dump(
            _front_matter(about, splits, classes), allow_unicode=True, sort_keys=False, width=99
        ),
        about=about,
        licence=licence,
        splits=splits,
        hub_split=SPLIT_NAMES,
        classes=classes,
        most_classes=MOST_CLASSES,
        image=SUFFIXES[about["image_format"]],
        failed=sum(len(facts.get("failed") or ()) for one in splits for facts in one.facts),
        versions=_versions(splits),
        devices=sorted({str(facts["device"]) for one in splits for facts in one.facts}),
    )


def _front_matter(
    about: Mapping[str, Any], splits: Sequence[Split], classes: list[str]
) -> dict[str, Any]:
    """Return what machines read of a card."""
    total = sum(one.images for one in splits)
    size = next((name for below, name in SIZES if total < below), "n>1T")
    told = about.get("license")
    named = known_licence(told).hub
    front: dict[str, Any] = {"pretty_name": f"{about['source']} ({about['results']})"}
    front["license"] = named
    if named == "other":
        front["license_name"] = _slug(str(told)) if told else "to-be-stated-by-the-author"
        if link := about.get("license_link"):
            front["license_link"] = link
    real = about["made_by"] == "real"
    return front | {
        "task_categories": ["image-classification", *([] if real else ["text-to-image"])],
        "size_categories": [size],
        "tags": [*([] if real else ["synthetic"]), "webdataset", "synthgap"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": SPLIT_NAMES[one.name], "path": f"{one.name}/rgb/*.tar"}
                    for one in splits
                ],
            }
        ],
        # Written out: what is guessed from the first samples lacks what only later ones have.
        "dataset_info": {
            "config_name": "default",
            "features": [
                {"name": SUFFIXES[about["image_format"]], "dtype": "image"},
                {
                    "name": "cls",
                    "dtype": {
                        "class_label": {"names": {str(i): name for i, name in enumerate(classes)}}
                    },
                },
                {"name": "txt", "dtype": "string"},
                {"name": "json", "dtype": "json"},
                {"name": "__key__", "dtype": "string"},
                {"name": "__url__", "dtype": "string"},
            ],
        },
    }


def _versions(splits: Sequence[Split]) -> dict[str, str]:
    """Return the versions of the software that made the images; several where shards differ."""
    found: dict[str, dict[str, None]] = {}
    for one in splits:
        for facts in one.facts:
            for library, version in facts["versions"].items():
                found.setdefault(library, {})[version] = None
    return {library: ", ".join(versions) for library, versions in sorted(found.items())}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


__all__ = ["HUB_LICENCES", "Split", "known_licence", "read_split", "write_card"]
