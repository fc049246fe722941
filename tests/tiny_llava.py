"""Small vision-language models with random weights, saved as on the hub.

PYTHONPATH=tests python -m tiny_llava FOLDER
"""

import sys
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

TEXTS = [
    "USER: ASSISTANT: Describe this image. It is a goldfish, a tench, a great white shark.",
    "Consider all the objects in the picture. Describe them, describe their position and their "
    "relation. The image is a single scene image.",
    "A small red bird stands on the left of a table, and the sky behind it is dark.",
]
CHAT = (
    "{{ bos_token }}{% for message in messages %}{{ message.role | upper }}: "
    "{% for part in message.content %}{{ '<image>\n' if part.type == 'image' else part.text }}"
    "{% endfor %} {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
PATCH = 14  # pixels
TOWERS = {"clip": transformers.CLIPVisionConfig, "siglip": transformers.SiglipVisionConfig}
SPEAKERS = {"llama": transformers.LlamaConfig, "mistral": transformers.MistralConfig}


def make_tokenizer() -> transformers.PreTrainedTokenizerBase:
    """Byte pairs, learnt from the texts above; no text is unknown to it."""
    learnt = tokenizers.ByteLevelBPETokenizer()
    marks = ["<s>", "</s>", "<pad>", "<image>"]
    learnt.train_from_iterator(TEXTS, vocab_size=400, special_tokens=marks, show_progress=False)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=learnt._tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def pinpoints(side: int) -> list[list[int]]:
    """The resolutions of LLaVA-NeXT, of tiles of `side` pixels."""
    shapes = [(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)]
    return [[rows * side, columns * side] for rows, columns in shapes]


def build(
    folder: Path,
    family: str = "llava_next",
    *,
    side: int = 56,
    tower: str = "clip",
    speaker: str = "llama",
    layer: int | list[int] = -2,
    tower_size: dict[str, Any] | None = None,
    speaker_size: dict[str, Any] | None = None,
) -> Path:
    """Save a model and its processor; the same bytes each time.

    Args:
        family: `llava_next`, or `llava`, which has no tiles.
        side: pixels of a tile, a multiple of 14.
        tower: `clip`, or `siglip`, which has no class token.
        speaker: the language model, `llama` or `mistral`.
        layer: of the tower, whose output is read.
        tower_size, speaker_size: of their configs, where they are to differ.
    """
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    marks = ("bos_token_id", "eos_token_id", "pad_token_id")
    # With the default spreads of weights all captions would be the same.
    vision = {
        "image_size": side,
        "patch_size": PATCH,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "initializer_factor": 4.0,
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": 0.3,
        **{mark: getattr(tokenizer, mark) for mark in marks},
    }
    strategy = "default" if tower == "clip" else "full"
    config: dict[str, Any] = {
        "vision_config": TOWERS[tower](**vision | (tower_size or {})),
        "text_config": SPEAKERS[speaker](**text | (speaker_size or {})),
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "image_seq_length": (side // PATCH) ** 2,
        "vision_feature_layer": layer,
        "vision_feature_select_strategy": strategy,
    }
    images = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    texts: dict[str, Any] = {
        "patch_size": PATCH,
        "vision_feature_select_strategy": strategy,
        "num_additional_image_tokens": int(tower == "clip"),
        "chat_template": CHAT,
    }
    if family == "llava_next":
        tiles: dict[str, Any] = {"image_grid_pinpoints": pinpoints(side)}
        model = transformers.LlavaNextForConditionalGeneration(
            transformers.LlavaNextConfig(**config, **tiles)
        )
        image_processor = transformers.LlavaNextImageProcessor(**images, **tiles)
        processor = transformers.LlavaNextProcessor(image_processor, tokenizer, **texts)
    else:
        model = transformers.LlavaForConditionalGeneration(transformers.LlavaConfig(**config))
        image_processor = transformers.CLIPImageProcessor(**images)
        processor = transformers.LlavaProcessor(image_processor, tokenizer, **texts)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
