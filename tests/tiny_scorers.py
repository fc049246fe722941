"""Small models of every kind of scorer with random weights, saved as they are published."""

import json
from functools import partial
from itertools import pairwise
from pathlib import Path

import open_clip
import timm
import torch
import transformers
from safetensors.torch import save_file
from torch import nn
from transformers.models.blip.modeling_blip_text import BlipTextModel

from tiny_pipelines.tokenizers import clip_tokenizer

SIDE = 32
BERT_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat", "photo", "of", "dog"]
HPS_ARCHITECTURE = "tiny-vit"


def build_clip(folder: Path, width: int = 32) -> Path:
    """CLIP with a real tokenizer and image processor, as PickScore has them, too."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    config = transformers.CLIPConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 77,
            "bos_token_id": 0,
            "eos_token_id": 2,  # as OpenAI's: features are read off at the largest id
        },
        vision_config={
            "hidden_size": width,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 8,
        },
        projection_dim=16,
        initializer_factor=4.0,  # of 1, all cosines are nearly the same
    )
    transformers.CLIPModel(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ).save_pretrained(folder)
    return folder


def build_head(file: Path, width: int = 16) -> Path:
    """LAION's five linear layers."""
    torch.manual_seed(1)
    torch.save(_Head(width).state_dict(), file)
    return file


class _Head(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [width, 12, 8, 6, 4, 1]
        linear = [nn.Linear(*pair) for pair in pairwise(sizes)]
        drop = [nn.Dropout(0.2) for _ in range(3)]
        self.layers = nn.Sequential(
            linear[0], drop[0], linear[1], drop[1], linear[2], drop[2], linear[3], linear[4]
        )


def register_hps(folder: Path) -> None:
    """Make the small architecture known to open_clip."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 32, "head_width": 16,
                       "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2,
                     "layers": 2},
    }  # fmt: skip
    (folder / f"{HPS_ARCHITECTURE}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


def build_hps(folder: Path) -> Path:
    """HPSv2's checkpoint: the state of a CLIP model of open_clip."""
    register_hps(folder)
    torch.manual_seed(2)
    model = open_clip.create_model(HPS_ARCHITECTURE, load_weights=False)
    with torch.no_grad():
        model.token_embedding.weight.mul_(20)  # else prompts hardly matter
    file = folder / "hps.pt"
    torch.save({"epoch": 1, "state_dict": model.state_dict()}, file)
    return file


def build_vocabulary(file: Path) -> Path:
    """The vocab.txt of BERT."""
    file.write_text("\n".join([*BERT_WORDS, *map(chr, range(98, 123))]) + "\n")
    return file


def image_reward_networks(words: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """ImageReward's vision tower as timm has it, its text network and its head, of one seed."""
    torch.manual_seed(3)
    vision = timm.models.VisionTransformer(
        img_size=SIDE, patch_size=8, embed_dim=128, depth=2, num_heads=2, num_classes=0,
        global_pool="", norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )  # fmt: skip
    text = BlipTextModel(
        transformers.BlipTextConfig(
            vocab_size=words, hidden_size=64, encoder_hidden_size=128, intermediate_size=96,
            num_hidden_layers=2, num_attention_heads=1, max_position_embeddings=40,
            initializer_range=0.3,
        ),
        add_pooling_layer=False,
    )  # fmt: skip
    return vision.eval(), text.eval(), _Head(64).eval()


def build_image_reward(file: Path, words: int) -> Path:
    """ImageReward.pt under the original's names."""
    vision, text, head = image_reward_networks(words)
    state = {f"blip.visual_encoder.{name}": t for name, t in vision.state_dict().items()}
    state |= {f"blip.text_encoder.{name}": t for name, t in text.state_dict().items()}
    state["blip.text_encoder.embeddings.position_ids"] = torch.arange(40)[None]
    state |= {f"blip.vision_proj.{n}": t for n, t in nn.Linear(128, 8).state_dict().items()}
    state |= {f"blip.text_proj.{n}": t for n, t in nn.Linear(64, 8).state_dict().items()}
    state |= {f"mlp.{name}": tensor for name, tensor in head.state_dict().items()}
    torch.save(state, file)
    return file


JINA_CODE = """
import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel


class TinyConfig(PretrainedConfig):
    model_type = "tiny_jina"


class TinyModel(PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.see = torch.nn.Linear(3, 4)
        self.read = torch.nn.Embedding(256, 4)
        self.post_init()

    def encode_image(self, images, batch_size=32, show_progress_bar=None):
        means = torch.tensor(np.stack([np.asarray(i).mean((0, 1)) for i in images]) / 255)
        return self.see(means.to(self.see.weight.dtype)).float().numpy()

    def encode_text(self, sentences, batch_size=32, show_progress_bar=None, **tokenizer_kwargs):
        ends = tokenizer_kwargs["max_length"]
        said = [torch.tensor([ord(c) % 256 for c in s[:ends]]) for s in sentences]
        return np.stack([self.read(ids).mean(0).float().numpy() for ids in said])
"""


def build_jina(folder: Path) -> Path:
    """A model that brings its own code, with the methods of Jina CLIP."""
    folder.mkdir(parents=True)
    (folder / "tiny_model.py").write_text(JINA_CODE)
    config = {
        "model_type": "tiny_jina",
        "auto_map": {"AutoConfig": "tiny_model.TinyConfig", "AutoModel": "tiny_model.TinyModel"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(4)
    tensors = {"see.weight": torch.randn(4, 3), "see.bias": torch.randn(4)}
    save_file(
        tensors | {"read.weight": torch.randn(256, 4)},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    clip_tokenizer().save_pretrained(folder)
    return folder
