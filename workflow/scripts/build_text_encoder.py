"""Make a small T5 encoder of random weights whose tokenizer knows the words of captions."""

import argparse
from pathlib import Path

import torch
from transformers import utils

from synthgap.data.captions import read_all
from synthgap.diffusion.text_to_image import build_text_encoder
from synthgap.diffusion.tokenizer import make_tokenizer
from synthgap.job import command, input_path, json_object, output_path, run
from synthgap.model_folder import save_whole
from synthgap.prompts import KINDS, describe
from synthgap.seeds import derive_seed


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--captions", type=input_path, nargs="+", required=True, help="tables")
    parser.add_argument("--encoder", type=json_object, required=True, help="of `text_encoders`")
    parser.add_argument("--folder", type=output_path, required=True, help="to write")
    return parser


def main(args: argparse.Namespace) -> None:
    texts = {
        describe(kind, row["class_name"], row["caption"])
        for table in args.captions
        for row in read_all(table)
        for kind in KINDS
    }
    tokenizer = make_tokenizer(sorted(text for text in texts if text), args.encoder["max_tokens"])
    torch.manual_seed(derive_seed(args.encoder["seed"], "text encoder"))
    encoder = build_text_encoder(tokenizer, args.encoder["width"], args.encoder["layers"])

    def save(folder: Path) -> None:
        tokenizer.save_pretrained(folder / "tokenizer")
        encoder.save_pretrained(folder / "text_encoder", safe_serialization=True)

    utils.logging.disable_progress_bar()  # of a single small file
    save_whole(args.folder, save)


if __name__ == "__main__":
    run(options(), main)
