"""Options of `generate_images` as a config would give them, for tests and benchmarks."""

from typing import Any

from synthgap.config.calls import CALL_OPTIONS
from synthgap.config.generators import Generator


def generator_options(**keys: Any) -> dict[str, Any]:
    """Return the resolved options of a generator with these keys; images stay at their size."""
    if "preset" not in keys:
        keys = {"model": "lab/model", "steps": 2, "guidance_scale": 1.0} | keys
    resolved = Generator(**keys).resolved(64)
    options = resolved.model_dump(mode="json", include=CALL_OPTIONS)
    return options | {"stored_size": options["image_size"], "image_format": "png"}
