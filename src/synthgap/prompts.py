"""Prompts: what each synthetic image is asked to show, and its seed."""

from collections.abc import Sequence
from typing import Any

from synthgap.errors import UserError
from synthgap.face_prompts import face_prompt
from synthgap.seeds import derive_seed

# The splits of one source must not share samples, so their indices follow one another.
SPLIT_OFFSET = {"train": 0, "val": 1_000_000, "test": 2_000_000}


def sample_seed(seed: int, source: str, split: str, class_name: str, index: int) -> int:
    """Return the seed of a source's sample: of what it is, and of nothing else."""
    return derive_seed(seed, source, class_name, index + SPLIT_OFFSET[split])


# How an image is described: by its class name alone; by "[class name], [caption]", the detailed
# prompt of paper A (section 4.1); by "An image of [class name]", AIO in paper B; or by its caption
# alone, TA in paper B.
KINDS = ("classname", "caption", "aio", "long")
NEEDS_CAPTION = ("caption", "long")
# What an image may be asked for by: its description, or a set of prompts that has no classes.
FACES = "faces"
ASKED = (*KINDS, FACES)


def describe(kind: str, class_name: str, caption: str | None) -> str | None:
    """Return what describes an image, one of `KINDS`; None where it lacks the caption for it.

    Examples:
        >>> describe("caption", "fox", "in the snow")
        'fox, in the snow'
        >>> describe("aio", "fox", None)
        'An image of fox'
    """
    if kind == "classname":
        return class_name
    if kind == "aio":
        return f"An image of {class_name}"
    if caption is None:
        return None
    return caption if kind == "long" else f"{class_name}, {caption}"


def make_prompts(
    kind: str,
    classes: Sequence[str],
    captions: dict[int, list[tuple[str, str]]],
    *,
    source: str,
    split: str,
    samples_per_class: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return one row for each image to generate, interleaved over the classes.

    Args:
        kind: one of `ASKED`.
        classes: class names by class index.
        captions: for kinds that need one, (key, caption) of the split's real images by class
            index; they are used in turn, and anew from the first when there are too few.

    Returns:
        Rows with key, class_index, class_name, prompt, seed and details.
    """
    rows = []
    for index in range(samples_per_class):
        for class_index, class_name in enumerate(classes):
            caption, details = None, {}
            if kind in NEEDS_CAPTION:
                known = captions.get(class_index)
                if not known:
                    raise UserError(
                        f"no real {split} image of class {class_name} has a caption; the caption "
                        "tables' column `status` tells why"
                    )
                key, caption = known[index % len(known)]
                details = {"captioned": key}
            own = sample_seed(seed, source, split, class_name, index)
            rows.append(
                {
                    "key": f"{class_index:04d}-{index:06d}",
                    "class_index": class_index,
                    "class_name": class_name,
                    "prompt": face_prompt(own)
                    if kind == FACES
                    else describe(kind, class_name, caption),
                    "seed": own,
                    "details": details,
                }
            )
    return rows
