"""What a plan is made of: its rows, what was measured, and the table of known speeds."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

# Bytes a pixel of natural images at 256 to 512 pixels, by codec: rules of thumb for the storage
# of images that do not exist yet.
BYTES_A_PIXEL = {"png": 2.0, "webp": 1.4, "jpeg": 0.6, "depth": 0.4}


@dataclass(frozen=True)
class Measured:
    """What finished jobs of a stage came to.

    Attributes:
        done: finished jobs; of images, by split.
        hours_a_job: mean of the finished ones.
        images_per_second: of the device, without start-up; None if not known.
        device: where that was.
        bytes_an_image: in the tar.
        tokens: in and out, of a caption.
        seconds_a_reply: of a captioner, from request to reply.
    """

    done: Mapping[str, int] = field(default_factory=dict)
    hours_a_job: float | None = None
    images_per_second: float | None = None
    device: str = ""
    bytes_an_image: float | None = None
    tokens: tuple[float, float] | None = None
    seconds_a_reply: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of the plan; None is what cannot be known yet.

    Attributes:
        stage: the rule.
        what: source, view, classifier, model.
        jobs: all, of which `done` are finished.
        images: of all jobs; of a training, those that pass through in all epochs.
        images_per_second: on `device`, with its `basis`: measured, published or estimated.
        hours: of the device, for the jobs that are left.
        longest: hours of the longest job.
        gb: storage of all jobs, in 10^9 bytes.
        input_tokens, output_tokens: of the captions that are left.
        usd: US dollars for them.
        note: what to know of it.
    """

    stage: str
    what: str
    jobs: int
    done: int = 0
    images: int | None = None
    images_per_second: float | None = None
    device: str = ""
    basis: str = ""
    source: str = ""
    hours: float | None = None
    longest: float | None = None
    gb: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    usd: float | None = None
    note: str = ""

    @property
    def on_gpu(self) -> bool:
        """Whether the hours are those of a GPU."""
        return self.device not in ("", "cpu", "service")

    def changed(self, **fields: Any) -> "Row":
        """Return the row with other values in some fields."""
        return replace(self, **fields)


@cache
def speeds() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the table of known speeds: stage, then what, then the figure and its source."""
    import yaml

    table: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(
        Path(__file__).with_name("speeds.yaml").read_bytes()
    )
    return table
