"""Small encoders of each family with random weights, saved as on the hub."""

import json
from pathlib import Path

import timm
import torch
import transformers
from safetensors.torch import save_file

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}


def clip(folder: Path) -> Path:
    """A whole CLIP, text tower included, for 28 px."""
    torch.manual_seed(0)
    vision = SHAPE | {"image_size": 28, "patch_size": 14, "intermediate_size": 32}
    text = SHAPE | {"vocab_size": 64, "intermediate_size": 32, "projection_dim": 12}
    text |= {"bos_token_id": 1, "eos_token_id": 2}
    config = transformers.CLIPConfig(
        vision_config=vision,
        text_config=text,
        projection_dim=12,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


def dinov2(folder: Path, registers: int = 0) -> Path:
    """A DINOv2 with positions for 56 px in patches of 14."""
    torch.manual_seed(0)
    shape = SHAPE | {"image_size": 56, "patch_size": 14, "initializer_range": 0.2}
    if registers:
        config = transformers.Dinov2WithRegistersConfig(num_register_tokens=registers, **shape)
        transformers.Dinov2WithRegistersModel(config).save_pretrained(folder)
    else:
        transformers.Dinov2Model(transformers.Dinov2Config(**shape)).save_pretrained(folder)
    return folder


def timm_vit(folder: Path) -> Path:
    """A vision transformer for 32 px in the layout of timm's repositories."""
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0, **VIT)
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 0, "model_args": VIT}
    return _saved(folder, network, config)


def timm_classifier(folder: Path, name: str, options: dict[str, object]) -> torch.nn.Module:
    """Any network of timm with seven classes, saved by timm itself; returns it."""
    torch.manual_seed(7)
    network = timm.create_model(name, num_classes=7, **options)
    timm.models.save_for_hf(network, str(folder), safe_serialization=True)
    return network


def mocov3(folder: Path) -> Path:
    """The same with a head, and a config.json of constructor arguments."""
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=5, **VIT)
    return _saved(folder, network, VIT)


def inception(path: Path) -> Path:
    """FID's Inception, whose size is fixed."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    torch.manual_seed(0)
    # The class takes its weights from a file or the network; here they stay as they were drawn.
    fetch, load = module.load_state_dict_from_url, torch.nn.Module.load_state_dict
    module.load_state_dict_from_url = lambda *args, **more: {}
    module.FeatureExtractorInceptionV3.load_state_dict = lambda *args, **more: None
    try:
        network = module.FeatureExtractorInceptionV3("inception", ["2048"])
    finally:
        module.load_state_dict_from_url = fetch
        module.FeatureExtractorInceptionV3.load_state_dict = load
    torch.save(network.state_dict(), path)
    return path


def _saved(folder: Path, network: torch.nn.Module, config: dict[str, object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder
