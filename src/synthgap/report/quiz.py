"""A quiz for people as one HTML page that needs nothing else: no server, no network.

The page is for people of good will. Nothing that it shows or names tells which image is of which
source: all images have one size in pixels, go through one lossless codec with the same settings,
are padded to one length in the file, and lie in the order left, right. Their keys and the answers,
which the page needs for the score and the CSV at the end, are base64 and no secret to who decodes
them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from synthgap.data.images import encode
from synthgap.data.quiz import Quiz
from synthgap.errors import UserError

# Smaller images are shown with their pixels as squares; larger ones are smoothed.
TINY = 128


@dataclass(frozen=True)
class Shown:
    """The images that a quiz shows of one source, uint8 (n, height, width, 3)."""

    pairs: NDArray[np.uint8]
    """in the order of the quiz's pairs"""
    references: NDArray[np.uint8]
    """examples; may be none"""


def render_quiz(quiz: Quiz, first: Shown, second: Shown, *, title: str) -> str:
    """Return the page.

    Raises:
        UserError: the images differ in size, which would tell the sources apart.
    """
    shown = (first.pairs, second.pairs, first.references, second.references)
    sizes = sorted({images.shape[1:3] for images in shown if len(images)})
    if len(sizes) > 1:
        raise UserError(
            f"quiz: the images of {quiz.first} and {quiz.second} differ in size "
            f"({', '.join(f'{w} x {h}' for h, w in sizes)} pixels), which gives them away; prepare "
            "both at one size first"
        )
    height, width = sizes[0]
    ours, theirs, *examples = _encoded(shown)
    pairs = [
        (one, other) if pair.correct == "left" else (other, one)
        for pair, one, other in zip(quiz.pairs, ours, theirs, strict=True)
    ]
    names = (quiz.first, quiz.second)
    data: dict[str, Any] = {
        "id": quiz.id,
        "type": "image/webp",
        "pairs": pairs,
        "references": [
            {"name": name, "images": found}
            for name, found in zip(names, examples, strict=True)
            if found
        ],
        "key": _hidden(quiz),
    }
    return (
        _environment()
        .get_template("quiz.html.j2")
        .render(
            title=title,
            question=quiz.question,
            id=quiz.id,
            pairs=len(quiz.pairs),
            references=data["references"],
            width=width,
            height=height,
            tiny=max(height, width) < TINY,
            data=Markup(json.dumps(data).replace("<", "\\u003c")),
            script=Markup(
                resources.files("synthgap.report").joinpath("quiz.js").read_text("utf-8")
            ),
        )
    )


def _encoded(shown: Sequence[NDArray[np.uint8]]) -> list[list[str]]:
    """Return images as base64, all padded by spaces to one length."""
    found = [[base64.b64encode(encode(i, "webp")).decode() for i in images] for images in shown]
    longest = max(len(one) for images in found for one in images)
    return [[one.ljust(longest) for one in images] for images in found]


def _hidden(quiz: Quiz) -> str:
    key = [{name: getattr(p, name) for name in ("left", "right", "correct")} for p in quiz.pairs]
    return base64.b64encode(json.dumps(key).encode()).decode()


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("synthgap.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
