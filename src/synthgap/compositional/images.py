"""A benchmark's images: the rows that ask for them, and where they are found again in shards."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgap.data.images import decode, encode
from synthgap.data.shards import ImageReader, read_rows
from synthgap.errors import UserError
from synthgap.prompts import sample_seed

IMAGES_PER_PROMPT = 4
"""of both benchmarks"""
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def prompt_rows(
    benchmark: str,
    prompts: Sequence[tuple[str, str]],
    *,
    images: int,
    source: str,
    seed: int,
    rewritten: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Return a row for each image to generate, as `generate_images` reads them.

    Args:
        prompts: (group, text): what a prompt is filed under, and what it says.
        images: of each prompt.
        source: enters the seeds, as does the study's `seed`.
        rewritten: what is asked for in a prompt's place, such as a longer version of it.

    Raises:
        UserError: not as many rewritten prompts as prompts, or an empty one.
    """
    texts = [text for _, text in prompts]
    if rewritten is not None:
        if len(rewritten) != len(prompts):
            raise UserError(f"{len(rewritten)} rewritten prompts for {len(prompts)} prompts")
        if "" in (stripped := [text.strip() for text in rewritten]):
            raise UserError(f"rewritten prompt {stripped.index('') + 1} is empty")
        texts = stripped
    details = {"benchmark": benchmark} | ({"rewritten": True} if rewritten is not None else {})
    return [
        {
            "key": f"{number:05d}-{image:04d}",
            "class_index": number,
            "class_name": group,
            "prompt": text,
            # The number goes into the name: prompts of one group must differ in their noise.
            "seed": sample_seed(seed, source, "test", f"{number:05d}", image),
            "details": details | {"prompt_number": number, "image": image},
        }
        for number, ((group, _), text) in enumerate(zip(prompts, texts, strict=True))
        for image in range(images)
    ]


@dataclass(frozen=True)
class Place:
    """Where an image lies."""

    tar: Path
    offset: int
    length: int
    sha256: str


def find_images(
    tars: Sequence[Path], benchmark: str, prompts: Sequence[str]
) -> list[dict[int, Place]]:
    """Return the images of each prompt, by their number, without those that failed.

    Raises:
        UserError: a shard is damaged, holds another benchmark's images, those of other prompts, or
            an image that another has too.
    """
    found: list[dict[int, Place]] = [{} for _ in prompts]
    for tar in tars:
        for row in read_rows(Path(tar)).to_pylist():
            if row["status"] != "ok":
                continue
            details = json.loads(row["details"])
            number, image = details.get("prompt_number"), details.get("image")
            if details.get("benchmark") != benchmark or number is None or image is None:
                raise UserError(f"{tar}: {row['key']} is no image for {benchmark}")
            same = number < len(prompts) and (
                details.get("rewritten") or row["prompt"] == prompts[number]
            )
            if not same:
                raise UserError(
                    f"{tar}: {row['key']} was made for another set of prompts: {row['prompt']!r}"
                )
            if image in found[number]:
                raise UserError(f"{tar}: {row['key']} is in another shard too")
            found[number][image] = Place(Path(tar), row["offset"], row["length"], row["sha256"])
    return [dict(sorted(images.items())) for images in found]


def require_whole(found: Sequence[dict[int, Place]], few: bool) -> None:
    """Check that there are images, and of each prompt as many as the benchmark wants.

    Raises:
        UserError: some are missing, unless `few`; or all are.
    """
    short = [number for number, images in enumerate(found) if len(images) != IMAGES_PER_PROMPT]
    if not any(found):
        raise UserError("no images of the benchmark's prompts")
    if short and not few:
        raise UserError(
            f"{len(short)} of {len(found)} prompts have not {IMAGES_PER_PROMPT} images (the first "
            f"is number {short[0]} with {len(found[short[0]])}); make them, or allow `few`"
        )


def read_png(reader: ImageReader, place: Place) -> bytes:
    """Return an image as PNG: its own bytes where it is one, else the same pixels."""
    content = reader.read_bytes(place.tar, place.offset, place.length, place.sha256)
    return content if content.startswith(_PNG) else encode(decode(content), "png")


@contextmanager
def folder_beside(folder: Path, stamp: str) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `folder` when the block ends without an error.

    What a killed attempt with the same `stamp` left there is still in it, see `has_png`.
    """
    folder = Path(folder)
    part = folder.with_name(f".{folder.name}.part")
    noted = folder.with_name(f".{folder.name}.stamp")
    if not noted.exists() or noted.read_text() != stamp:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        noted.write_text(stamp)
    part.mkdir(exist_ok=True)
    yield part
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)
    noted.unlink()


def has_png(path: Path) -> bool:
    """Whether there is a PNG that is whole."""
    if not path.exists() or path.stat().st_size < len(_PNG_END):
        return False
    with path.open("rb") as file:
        file.seek(-len(_PNG_END), os.SEEK_END)
        return file.read() == _PNG_END


def write_flushed(path: Path, content: bytes) -> None:
    """Write a file in a folder that is still to be renamed, down to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
