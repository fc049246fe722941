"""Images with their prompts: from the shards of this project, or from anybody's folder."""

import csv
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthgap.data.images import decode
from synthgap.data.shards import count_readable, read_shard
from synthgap.errors import UserError
from synthgap.listing import files_below

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
READ_AT_ONCE = 16


@dataclass(frozen=True)
class Pair:
    """An image, encoded or still on disk, and its prompt.

    Attributes:
        key: of the sample, or the image's path within its folder.
        where: the shard or folder, for messages.
    """

    key: str
    prompt: str
    where: Path
    content: bytes | Path

    def pixels(self) -> NDArray[np.uint8]:
        """Return the image, uint8 RGB (H, W, 3); UserError where it is damaged."""
        try:
            content = self.content
            return decode(content.read_bytes() if isinstance(content, Path) else content)
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{self.where}: {self.key} is no image ({error})") from error


def shard_pairs(tars: Sequence[Path], prompts: Mapping[str, str] | None = None) -> Iterator[Pair]:
    """Yield the readable samples of shards in order, with their own prompts or those by key.

    Raises:
        UserError: a damaged shard, or a sample whose key has no prompt.
    """
    for tar in tars:
        for samples, contents in read_shard(tar, READ_AT_ONCE):
            for sample, content in zip(samples, contents, strict=True):
                prompt = sample.prompt
                if prompts is not None:
                    if sample.key not in prompts:
                        raise UserError(f"{tar}: the image {sample.key} has no prompt")
                    prompt = prompts[sample.key]
                yield Pair(sample.key, prompt, Path(tar), content)


def folder_pairs(folder: Path, prompts: Mapping[str, str] | None) -> Iterator[Pair]:
    """Yield the images of a folder: in the order of the prompts, or without any by name.

    Args:
        prompts: by path within the folder, by file name or by name without its ending.

    Raises:
        UserError: no images, an image without a prompt or a prompt without an image.
    """
    files = [p for p in files_below(folder) if p.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise UserError(f"{folder}: no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    named = {file.relative_to(folder).as_posix(): file for file in files}
    if prompts is None:
        for key, file in named.items():
            yield Pair(key, "", folder, file)
        return
    images: dict[str, str] = {}
    for key in named:
        name = _named(prompts, key, folder)
        if name in images:
            raise UserError(
                f"{folder}: {images[name]} and {key} both go by `{name}` in the prompts; write "
                "their paths there"
            )
        images[name] = key
    if unused := prompts.keys() - images.keys():
        raise UserError(f"{folder}: no image {min(unused)}, which has a prompt")
    for name, prompt in prompts.items():
        yield Pair(images[name], prompt, folder, named[images[name]])


def _named(prompts: Mapping[str, str], key: str, where: Path) -> str:
    """Return the name under which an image has its prompt."""
    path = Path(key)
    for name in (key, path.with_suffix("").as_posix(), path.name, path.stem):
        if name in prompts:
            return name
    raise UserError(f"{where}: the image {key} has no prompt")


def read_prompts(path: Path) -> dict[str, str]:
    """Return prompts by the image's file name or key, in the file's order.

    Args:
        path: .parquet, .csv or .jsonl with columns `prompt`, and `file` or `key`.

    Raises:
        UserError: another kind of file, without these columns, or two prompts of one image.
    """
    try:
        if path.suffix == ".parquet":
            rows = pq.read_table(path).to_pylist()
        elif path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        elif path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").split("\n")
            rows = [json.loads(line) for line in lines if line.strip()]
        else:
            raise UserError(f"{path}: prompts come as .parquet, .csv or .jsonl")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no table of prompts ({error})") from error
    found: dict[str, str] = {}
    for row in rows:
        name = (row.get("file") or row.get("key")) if isinstance(row, dict) else None
        if not name or "prompt" not in row:
            raise UserError(f"{path}: each row needs `prompt`, and `file` or `key`")
        if name in found:
            raise UserError(f"{path}: two prompts for {name}")
        found[name] = row["prompt"] or ""
    if not found:
        raise UserError(f"{path}: no prompts")
    return found


def read_pairs(
    images: Sequence[Path], prompts: Path | None, samples: int | None, needs_prompt: bool
) -> tuple[int, Iterator[Pair]]:
    """Return the number of images to score, and these with their prompts.

    Args:
        images: shards, or one folder of images.
        prompts: a table of prompts; needed with a folder, if prompts are.
        samples: only so many, the first; None for all.

    Raises:
        UserError: fewer images than `samples`, none, or a folder without prompts.
    """
    table = read_prompts(prompts) if prompts is not None and needs_prompt else None
    if any(path.is_dir() for path in images):
        [folder, *others] = images
        if others:
            raise UserError("give one folder of images, or any number of shards")
        if needs_prompt and table is None:
            raise UserError(
                f"{folder}: images of a folder need --prompts, a table of their prompts"
            )
        listed = list(folder_pairs(folder, table))
        total, pairs = len(listed), iter(listed)
    else:
        total, pairs = count_readable(images), shard_pairs(images, table)
    if total < (samples or 1):
        raise UserError(f"{images[0]}: {total} images, and {samples or 1} are needed")
    total = samples or total
    return total, _checked(itertools.islice(pairs, total), needs_prompt)


def _checked(pairs: Iterator[Pair], needs_prompt: bool) -> Iterator[Pair]:
    for pair in pairs:
        if needs_prompt and not pair.prompt.strip():
            raise UserError(f"{pair.where}: {pair.key} has an empty prompt; this scorer needs one")
        yield pair
