"""Parts of sources as one data set: fewer images of one, or real and synthetic ones together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthgap.data.classes import require_same_classes
from synthgap.data.selection import Images, relocated
from synthgap.data.shards import GIVEN_LABEL, Manifest
from synthgap.errors import UserError
from synthgap.seeds import derive_seed


@dataclass(frozen=True)
class Part:
    """How many of each class's images are taken of a source."""

    source: str
    manifest: Manifest
    share: float
    like: Manifest | None = None
    """the share is of this manifest's images, and not of the source's own"""
    given: bool = False
    """whether its labels came with it: of images that were made from them"""


def blend(
    parts: Sequence[Part], seed: int, folder: Path, fill: bool = False
) -> tuple[pa.Table, list[str]]:
    """Return manifest rows of a share of each class of each source, and the classes' names.

    Of a class round(share * n) images are drawn, one at least. A smaller share's images are among
    those of a larger one. Crops of an image are taken together or not at all.

    Args:
        folder: where the manifest will lie; paths of shards become relative to it.
        fill: keep the proportions, but take as many images as there are. For validation: fewer
            images would choose the weights to keep more by chance.

    Raises:
        UserError: the sources' classes differ, or a class has fewer images than wanted.
    """
    images = {id(m): Images(m) for part in parts for m in (part.manifest, part.like) if m}
    wanted = [_wanted(part, images, parts[0].manifest) for part in parts]
    factor = 1.0
    if fill:
        factor = min(
            (there / want[want > 0]).min()
            for part, want in zip(parts, wanted, strict=True)
            for there in [images[id(part.manifest)].counts(len(want))[want > 0]]
        )
    tables = []
    for number, (part, want) in enumerate(zip(parts, wanted, strict=True)):
        rows = _drawn(part, images[id(part.manifest)], want * factor, seed)
        table = relocated(part.manifest, rows, folder)
        if len(parts) > 1:  # sources may have keys in common
            keys = pa.array([f"{number}-{key}" for key in table["key"].to_pylist()])
            table = table.set_column(table.schema.get_field_index("key"), "key", keys)
        if any(part.given for part in parts):
            table = table.append_column(GIVEN_LABEL, pa.array([part.given] * len(table)))
        tables.append(table)
    return pa.concat_tables(tables), parts[0].manifest.classes


def _wanted(part: Part, images: Mapping[int, Images], first: Manifest) -> NDArray[np.float64]:
    """Return how many images of each class a part is to have."""
    like = part.like or part.manifest
    for manifest in (part.manifest, like):
        require_same_classes(manifest.path, manifest.classes, first.path, first.classes)
    return part.share * images[id(like)].counts(len(first.classes)).astype(np.float64)


def _drawn(part: Part, images: Images, wanted: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Return the rows of each class's images, in their order."""
    chosen: list[int] = []
    for class_index in np.unique(images.class_indices):
        members = images.of_class(class_index)
        # A little less than half a unit, so that what rounding leaves over is no whole image.
        number = max(1, round(wanted[class_index] - 1e-9))
        if number > len(members):
            raise UserError(
                f"{part.manifest.path}: class {part.manifest.classes[class_index]} has "
                f"{len(members)} images, and {number} are to be mixed in; lower the ratios of "
                "the study or raise synthetic.samples_per_class"
            )
        rng = np.random.default_rng(derive_seed(seed, "blend", part.source, int(class_index)))
        chosen += rng.permutation(members)[:number].tolist()
    return images.rows(chosen)
