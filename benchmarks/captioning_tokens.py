"""Count and measure what pruning image tokens saves LLaVA-NeXT (paper B, appendix D).

OMP_NUM_THREADS=1 python benchmarks/captioning_tokens.py --output FILE
python benchmarks/captioning_tokens.py --model FOLDER --device cuda --images 256 --batch-size 32
"""

import argparse
import io
import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from views import photographs

from synthgap.captioners import Picture
from synthgap.captioners.vision_language import VisionLanguageCaptioner, image_tokens

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from tiny_llava import build, pinpoints

CLAIM = 2.7  # paper B: how much faster captioning becomes
PROMPT = "Describe this image"
TILE = 336  # pixels
# Tokens of the prompt in its chat template, about.
TEXT = 32
# Of a pasted image of the smallest kind, such as of the pattern `sixteenth`.
BOX = (0.1, 0.1, 0.25, 0.25)
TOWER = {
    "image_size": TILE, "patch_size": 14, "hidden_size": 1024, "intermediate_size": 4096,
    "num_hidden_layers": 24, "num_attention_heads": 16, "projection_dim": 768,
}  # fmt: skip
LLAMA = {
    "vocab_size": 128320, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
}  # fmt: skip
# What is measured on a CPU: the tiles of the released model, and few, narrow layers.
SMALL_TOWER = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4}
SMALL_LLAMA = {
    "hidden_size": 768, "intermediate_size": 2688, "num_hidden_layers": 2,
    "num_attention_heads": 12, "num_key_value_heads": 3,
}  # fmt: skip


def released() -> transformers.LlavaNextConfig:
    """Return the configuration of llama3-llava-next-8b."""
    return transformers.LlavaNextConfig(
        vision_config=transformers.CLIPVisionConfig(**TOWER),
        text_config=transformers.LlamaConfig(**LLAMA),
        image_token_index=128256,
        image_grid_pinpoints=pinpoints(TILE),
    )


@torch.no_grad()
def count(model: Any, side: int, way: str, new_tokens: int) -> dict[str, int]:
    """Return image tokens and operations of a square image of `side` pixels, without a batch."""
    meta: dict[str, Any] = {"device": "meta", "dtype": model.dtype}
    size, tile = [side, side], model.config.vision_config.image_size
    best = transformers.image_processing_utils.select_best_resolution(
        size, model.config.image_grid_pinpoints
    )
    tiles = torch.empty(1, 1 + best[0] * best[1] // tile**2, 3, tile, tile, **meta)
    with FlopCounterMode(display=False) as seeing:
        if way == "unpruned":
            tokens = model.get_image_features(tiles, torch.tensor([size])).pooler_output[0]
        else:
            box = BOX if way == "pruned, with a tile" else None
            [tokens] = image_tokens(model, tiles, [size], [box])
    steps = []
    # What a step costs grows evenly with the tokens before it.
    for length in (TEXT + len(tokens), TEXT + len(tokens) + new_tokens - 2):
        past = transformers.DynamicCache(config=model.config.text_config)
        for given in (length, 1):
            embedded = torch.empty(1, given, tokens.shape[1], **meta)
            with FlopCounterMode(display=False) as counter:
                model(inputs_embeds=embedded, past_key_values=past, logits_to_keep=1)
            steps.append(counter.get_total_flops())
    tower = seeing.get_flop_counts()[type(model.model.vision_tower).__name__]
    found = {
        "vision_tower": sum(tower.values()),
        "projector": seeing.get_total_flops() - sum(tower.values()),
        "prefill": steps[0],  # which gives the first token
        "decoding": (steps[1] + steps[3]) * (new_tokens - 1) // 2,
    }
    total = {"flops": sum(found.values())}
    return {"image_tokens": len(tokens)} | found | total


def count_all(config: transformers.LlavaNextConfig, sides: list[int], new_tokens: int) -> Any:
    """Return counts and ratios by side of the image and way, on the meta device."""
    with torch.device("meta"):
        model = transformers.LlavaNextForConditionalGeneration(config).eval()
    counts: dict[str, Any] = {}
    for side in sides:
        ways = ["pruned", "pruned, with a tile", "unpruned"]
        found: dict[str, Any] = {way: count(model, side, way, new_tokens) for way in ways}
        for way in ways:
            ratio = found["unpruned"]["flops"] / found[way]["flops"]
            found[way]["unpruned_by_this"] = round(ratio, 3)
        counts[str(side)] = found
    return {"parameters": sum(each.numel() for each in model.parameters()), "images": counts}


def pictures(number: int, side: int) -> list[Picture]:
    """Return windows of photographs, enlarged to `side` pixels."""
    made = []
    for key, window in enumerate(photographs(number)):
        held = io.BytesIO()
        Image.fromarray(window).resize((side, side)).save(held, "PNG")
        made.append(Picture(str(key), "photograph", "", held.getvalue, box=BOX))
    return made


def measure(folder: Path, side: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds an image of each way, in turns, with the same number of new tokens.

    On a CPU they are seconds of its time.
    """
    captioner = VisionLanguageCaptioner(
        folder,
        prompt=PROMPT,
        max_new_tokens=options.new_tokens,
        batch_size=options.batch_size,
        device=options.device,
    )
    captioner.model.generation_config.min_new_tokens = options.new_tokens
    some = pictures(options.images, side)
    plain = [Picture(each.key, each.class_name, "", each.read) for each in some]
    ways: list[tuple[str, bool, list[Picture]]] = [
        ("pruned", True, plain), ("pruned, with a tile", True, some), ("unpruned", False, plain),
    ]  # fmt: skip
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {way: [] for way, _, _ in ways}
    tokens = {}
    for repetition in range(options.repeats + 1):
        for way, captioner.prune, given in ways:
            start = clock()
            replies = captioner.caption(given if repetition else given[: options.batch_size])
            if repetition:  # the first is to warm up
                seconds[way].append(round((clock() - start) / len(given), 4))
            if any(reply.output_tokens != options.new_tokens for reply in replies):
                raise SystemExit(f"{way}: not all captions have {options.new_tokens} tokens")
            tokens[way] = replies[0].input_tokens
    ratios = {
        way: [a / b for a, b in zip(seconds["unpruned"], times, strict=True)]
        for way, times in seconds.items()
    }
    return {
        "input_tokens": tokens,
        "batch_size": min(captioner.fits, options.images),
        "seconds_per_image": seconds,
        "images_per_second": {way: round(1 / median(each), 4) for way, each in seconds.items()},
        "unpruned_by_this": {way: round(median(each), 3) for way, each in ratios.items()},
        "range": {way: [round(min(r), 3), round(max(r), 3)] for way, r in ratios.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--model", type=Path, help="folder of a LLaVA-NeXT; a small one if left out"
    )
    parser.add_argument("--device", default="cpu", help="torch's")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=200, help="of each caption")
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512], help="pixels")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="JSON to write")
    options = parser.parse_args()
    found: dict[str, Any] = {
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "options": {k: v for k, v in vars(options).items() if k not in ("output", "model")},
        "claim": CLAIM,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.model
        if folder is None:
            found["released"] = count_all(released(), options.sides, options.new_tokens)
            tell_counts(found["released"])
            size = {"tower_size": SMALL_TOWER, "speaker_size": SMALL_LLAMA}
            folder = build(Path(scratch), side=TILE, **size)
            config = transformers.AutoConfig.from_pretrained(folder)
            found["small"] = count_all(config, options.sides, options.new_tokens)
            tell_counts(found["small"])
        found["measured"] = {}
        for side in options.sides:
            measured = measure(folder, side, options)
            found["measured"][str(side)] = measured
            for way, each in measured["unpruned_by_this"].items():
                low, high = measured["range"][way]
                print(
                    f"{side} px, {way:20} {measured['input_tokens'][way]:5} tokens "
                    f"{measured['images_per_second'][way]:8.3f} images/s "
                    f"{each:5.2f} [{low:.2f}, {high:.2f}] x"
                )
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n")


def tell_counts(counts: dict[str, Any]) -> None:
    """Print the counts of a model."""
    print(f"{counts['parameters'] / 1e9:.2f} billion parameters")
    for side, ways in counts["images"].items():
        for way, each in ways.items():
            print(
                f"{side} px, {way:20} {each['image_tokens']:5} image tokens "
                f"{each['flops'] / 1e12:7.3f} TFLOP {each['unpruned_by_this']:5.2f} x"
            )


if __name__ == "__main__":
    main()
