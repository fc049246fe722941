"""Captioners: images to sentences, behind one interface.

A kind of captioner is a module with a function `load(spec, *, model, device, cache) -> Captioner`,
imported when used.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from synthgap.errors import UserError, suggest

if TYPE_CHECKING:  # the Snakefile asks for the module of a kind
    import numpy as np
    from numpy.typing import NDArray

_MODULES = {
    "attributes": "synthgap.captioners.attributes",
    "colours": "synthgap.captioners.colours",
    "transformers": "synthgap.captioners.vision_language",
    "service": "synthgap.captioners.service",
}

CAPTIONER_KINDS = tuple(_MODULES)

Finish = Literal["stop", "length", "refused", "failed"]


@dataclass(frozen=True)
class Picture:
    """An image to caption.

    Attributes:
        key: of the sample.
        class_name: for captioners that tell their model what the image shows. Whether a prompt
            starts with the class name is decided where prompts are built, not here.
        sha256: of the encoded image, in hex digits.
        read: returns the encoded image; called once, when it is this picture's turn.
        class_index: the class's number.
        box: of a composite, the place of the pasted image: top, left, height and width as shares
            of the image's sides.
        partner_class_name: of a composite, the class of what is there.
    """

    key: str
    class_name: str
    sha256: str
    read: Callable[[], bytes]
    class_index: int = 0
    box: tuple[float, float, float, float] | None = None
    partner_class_name: str = ""

    def pixels(self) -> "NDArray[np.uint8]":
        """Return the image, uint8 RGB (height, width, 3); UserError where there is none."""
        from synthgap.data.images import decode

        try:
            return decode(self.read())
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{self.key} is damaged: {error}; make its shard anew") from error


@dataclass(frozen=True)
class Reply:
    """What a model said of a picture, as it said it.

    Attributes:
        text: unchanged; what becomes of it is decided in `synthgap.captioners.captioning`.
        finish: "stop" where the model came to its end, "length" where it was cut off, "refused"
            where the service says that it declined, "failed" where there is no answer.
        model: that answered, with its revision where it tells one.
        input_tokens, output_tokens: as the model counts them, image tokens included.
        cost_usd: US dollars, None where the price is not known or there is none.
        seconds: from the request to its answer; of a batch, its share.
        attempts: requests that it took.
        error: why it failed.
    """

    text: str
    finish: Finish = "stop"
    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    seconds: float | None = None
    attempts: int = 1
    error: str = ""


class Captioner(Protocol):
    """What a stage needs of a captioner.

    Attributes:
        name: what tables call it: the kind, or the model's id.
        at_once: pictures to hand over in one call. Calls are cut at the same places in every run,
            so a captioner may let the pictures of a call move each other's last digits.
    """

    name: str
    at_once: int

    def caption(self, pictures: Sequence[Picture]) -> list[Reply]:
        """Return a reply for each picture."""


def shaping_module(kind: str) -> str:
    """The dotted name of the module of a kind whose code shapes what it says of a picture."""
    # The rest of a service's code decides how replies are fetched.
    return "synthgap.captioners.requests" if kind == "service" else module_of(kind)


def module_of(kind: str) -> str:
    """The dotted name of the module of a kind of captioner. UserError on an unknown kind."""
    if kind not in _MODULES:
        raise UserError(f"unknown captioner kind `{kind}`{suggest(str(kind), CAPTIONER_KINDS)}")
    return _MODULES[kind]


def load_captioner(
    spec: dict[str, Any],
    *,
    model: Path | None = None,
    device: str = "cpu",
    cache: Path | None = None,
) -> Captioner:
    """Load the captioner that `spec` describes: `kind`, and the settings of that kind.

    Args:
        model: folder of the model, for kind `transformers`.
        device: torch's, for kind `transformers`.
        cache: folder of the replies that were paid for, for kind `service`.

    Raises:
        UserError: an unknown or missing kind, or settings that the kind does not have.

    Examples:
        >>> import numpy as np
        >>> from synthgap.data.images import encode
        >>> image = encode(np.full((16, 16, 3), (40, 90, 220), np.uint8), "png")
        >>> captioner = load_captioner({"kind": "colours"})
        >>> [reply] = captioner.caption([Picture("0", "sky", "", lambda: image)])
        >>> reply.text
        'mostly blue, neither dark nor bright, colourful, smooth'
    """
    module = importlib.import_module(module_of(spec.get("kind", "")))
    captioner: Captioner = module.load(spec, model=model, device=device, cache=cache)
    return captioner
