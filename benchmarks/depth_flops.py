"""Count the operations of an image in each built-in depth model, without weights.

python benchmarks/depth_flops.py --output benchmarks/results/depth_flops.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from synthgap.config.views import depth_models

SIDE = 518
# Of the released models: width, layers, heads, the layers that are read, and the neck's channels.
SIZES: dict[str, dict[str, Any]] = {
    "depth-anything-v2-small": {
        "width": 384, "layers": 12, "heads": 6, "read": [3, 6, 9, 12],
        "neck": [48, 96, 192, 384], "fusion": 64,
    },
    "depth-anything-v2-base": {
        "width": 768, "layers": 12, "heads": 12, "read": [3, 6, 9, 12],
        "neck": [96, 192, 384, 768], "fusion": 128,
    },
    "depth-anything-v2-large": {
        "width": 1024, "layers": 24, "heads": 16, "read": [5, 12, 18, 24],
        "neck": [256, 512, 1024, 1024], "fusion": 256,
    },
}  # fmt: skip


def configuration(name: str) -> transformers.DepthAnythingConfig:
    """Return the architecture of a released model."""
    size = SIZES[name]
    backbone = transformers.Dinov2Config(
        hidden_size=size["width"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        image_size=SIDE,
        patch_size=14,
        out_indices=size["read"],
        reshape_hidden_states=False,
    )
    return transformers.DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=size["width"],
        neck_hidden_sizes=size["neck"],
        fusion_hidden_size=size["fusion"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, help="JSON to write")
    options = parser.parse_args()
    counts = {}
    for name, preset in depth_models().items():
        with torch.device("meta"):
            model = transformers.DepthAnythingForDepthEstimation(configuration(name)).eval()
        parameters = sum(parameter.numel() for parameter in model.parameters())
        if parameters != preset.parameters:
            raise SystemExit(f"{name}: {parameters} parameters, not {preset.parameters}")
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, SIDE, SIDE, device="meta"))
        counts[name] = {"parameters": parameters, "flops_per_image": counter.get_total_flops()}
        print(f"{name:26} {parameters:12,} {counter.get_total_flops() / 1e12:8.3f} TFLOP/image")
    if options.output:
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        facts = versions | {"image_size": SIDE, "models": counts}
        options.output.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
