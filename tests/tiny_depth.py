"""A small Depth Anything with random weights, saved as on the hub.

PYTHONPATH=tests python -m tiny_depth FOLDER
"""

import sys
from pathlib import Path

import torch
import transformers


def build(folder: Path, width: int = 16, layers: int = 4) -> Path:
    """Save the model and its image processor; the same bytes each time."""
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        out_features=[f"stage{1 + layers * part // 4}" for part in range(4)],
        reshape_hidden_states=False,
        initializer_range=0.2,  # the default gives flat maps
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=width,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8,
        head_hidden_size=8,
        initializer_range=0.2,
    )
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    transformers.DPTImageProcessor(
        size={"height": 518, "width": 518},
        keep_aspect_ratio=True,
        ensure_multiple_of=14,
        resample=3,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
