"""Write a text encoder's states of what each image of a shard is described by.

Texts that occur often, such as class names, are written once. An image without a caption has no
text where its kind needs one.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from synthgap.atomic import write_text
from synthgap.data.captions import read_captions
from synthgap.data.shards import read_rows
from synthgap.devices import take_device
from synthgap.diffusion.encoded import write_texts
from synthgap.diffusion.encoding import embed, load_text_encoder, tokenize
from synthgap.errors import UserError
from synthgap.hub import origin
from synthgap.job import command, count, facts, input_path, log, output_path, run
from synthgap.progress import Progress
from synthgap.prompts import KINDS, NEEDS_CAPTION, describe

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--images", type=input_path, required=True, help="a shard's tar")
    parser.add_argument("--captions", type=input_path, help="its caption table")
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--text-encoder", type=input_path, required=True, help="its folder")
    parser.add_argument("--max-tokens", type=count, required=True, help="what is longer is cut")
    parser.add_argument("--dtype", choices=DTYPES, required=True, help="to compute and store in")
    parser.add_argument("--batch-size", type=count, default=64)
    parser.add_argument("--threads", type=count, required=True, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument(
        "--texts", type=output_path, required=True, help=".safetensors; facts come beside it"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    started = time.monotonic()
    if args.captions is None and args.kind in NEEDS_CAPTION:
        raise UserError(f"--kind {args.kind} needs --captions")
    captions = {}
    if args.captions is not None:
        captions = {row["key"]: row["caption"] for row in read_captions([args.captions])}
    rows = [row for row in read_rows(args.images).to_pylist() if row["status"] == "ok"]
    described = [describe(args.kind, r["class_name"], captions.get(r["key"])) for r in rows]
    texts = sorted({text for text in described if text is not None})
    number = {text: i for i, text in enumerate(texts)}
    text_of = np.array([-1 if text is None else number[text] for text in described])

    device = take_device(args.gpus)
    torch.set_num_threads(args.threads)
    tokenizer, encoder = load_text_encoder(args.text_encoder, device, DTYPES[args.dtype])
    tokens = tokenize(tokenizer, texts, args.max_tokens)
    cut = sum(len(some) == args.max_tokens for some in tokens)
    [empty] = embed(encoder, tokenize(tokenizer, [""], args.max_tokens), 1)
    require_finite(empty, "", args.text_encoder)
    with Progress(len(texts), "texts") as progress:

        def counted() -> Iterator[torch.Tensor]:
            for text, states in zip(texts, embed(encoder, tokens, args.batch_size), strict=True):
                require_finite(states, text, args.text_encoder)
                yield states
                progress.update()

        keys = [row["key"] for row in rows]
        write_texts(args.texts, keys, text_of, counted(), [len(some) for some in tokens], empty)
    without = int((text_of < 0).sum())
    log.info("%d images, %d texts, %d without one, %d cut", len(rows), len(texts), without, cut)
    told = facts(
        args,
        time.monotonic() - started,
        len(texts),
        device,
        without=without,
        cut=cut,
        text_encoder=origin(args.text_encoder),
    )
    write_text(args.texts.with_suffix(".json"), json.dumps(told, indent=1) + "\n")


def require_finite(states: torch.Tensor, text: str, encoder: Path) -> None:
    if not states.isfinite().all():
        raise UserError(
            f"what {encoder} makes of the text `{text[:80]}` is NaN or infinite; try another dtype"
        )


if __name__ == "__main__":
    run(options(), main)
