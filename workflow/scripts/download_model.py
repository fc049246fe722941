"""Download a model from the Hugging Face hub to a folder.

The one job that needs the network. Killed and started again it goes on after the last whole file.
"""

import argparse
import errno
import json
import logging
import os
import shutil
from pathlib import Path

from synthgap.atomic import write_text
from synthgap.hub import INDEX, download_model
from synthgap.job import command, output_path, run, scratch_folder


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--model", required=True, help="the hub's id, OWNER/NAME")
    parser.add_argument("--revision", help="commit, tag or branch; default: the main branch")
    parser.add_argument("--layout", choices=INDEX, default="pipeline", help="diffusers' or a model")
    parser.add_argument("--variant", help="of the weights, such as fp16")
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="take the model's own Python code too"
    )
    parser.add_argument("--scratch", type=Path, required=True, help="folder of unfinished work")
    parser.add_argument("--folder", type=output_path, required=True, help="folder to write")
    parser.add_argument("--facts", type=output_path, required=True, help=".json to write")
    return parser


def main(args: argparse.Namespace) -> None:
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of each request
    folder = scratch_folder(args) / "model"
    folder.mkdir(exist_ok=True)
    facts = download_model(
        args.model,
        args.revision,
        args.variant,
        folder,
        layout=args.layout,
        trust_remote_code=args.trust_remote_code,
    )
    write_text(args.facts, json.dumps(facts, indent=1) + "\n")
    move(folder, args.folder)


def move(folder: Path, target: Path) -> None:
    """Move a folder, whole or not at all, to another file system too."""
    shutil.rmtree(target, ignore_errors=True)
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        unfinished = target.with_name(f".{target.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            for file in folder.rglob("*"):
                if file.is_file():
                    _copy(file, unfinished / file.relative_to(folder))
        except OSError as error:  # a full disk, say; it is the target's, not the source's
            shutil.rmtree(unfinished, ignore_errors=True)
            raise OSError(error.errno, error.strerror, str(target)) from error
        unfinished.rename(target)


def _copy(file: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, copy)
    with copy.open("rb+") as written:
        os.fsync(written.fileno())


if __name__ == "__main__":
    run(options(), main)
