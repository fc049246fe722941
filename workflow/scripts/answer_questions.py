"""Answer DPG-Bench's questions for each image with mPLUG-large, as ModelScope runs it.

It runs in `envs/dpg-bench.yaml`, which holds neither synthgap nor what it needs: this file and what
it imports of synthgap get by with the standard library and Pillow, and with Python 3.9. Those
modules are read from the source tree that this file lies in. Killed, it goes on after the last
finished prompt.

  python workflow/scripts/answer_questions.py --folder layout/ --questions dpg_bench.csv \\
      --answers answers.jsonl
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

log = logging.getLogger("answer_questions")
SOURCE = Path(__file__).resolve().parents[2] / "src"
MODEL = "iic/mplug_visual-question-answering_coco_large_en"
CELLS = 4
DEVICES = ("cpu", "gpu")  # ModelScope's words
COUNTS = ".images.json"  # see `synthgap.compositional.dpg`, which needs more than is here


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="from lay_out_benchmark")
    parser.add_argument("--questions", type=Path, required=True, help="dpg_bench.csv")
    parser.add_argument("--model", default=MODEL, help="ModelScope's name, or a folder")
    parser.add_argument("--gpus", type=int, choices=[0, 1], default=1, help="0: on the CPU")
    parser.add_argument("--answers", type=Path, required=True, help=".jsonl")
    parser.add_argument("--log", type=Path)
    return parser


def main(args: argparse.Namespace) -> None:
    sys.path.insert(0, str(SOURCE))
    from PIL import Image

    from synthgap.compositional.dpg_questions import read_items
    from synthgap.compositional.resuming import LineFile
    from synthgap.errors import UserError

    try:
        items = [i for i in read_items(args.questions) if image_of(args, i.item_id).exists()]
    except UserError as error:
        sys.exit(f"error: {error}")
    if not items:
        sys.exit(f"error: {args.folder} holds no image of an item of {args.questions}")
    path = args.folder / COUNTS
    counts = json.loads(path.read_text()) if path.exists() else {}
    settings = {"questions": state(args.questions), "model": args.model, "gpus": args.gpus}
    settings["images"] = [*state(args.folder), len(items)]
    with LineFile(args.answers, settings) as answers:
        todo = [item for item in items if item.item_id not in answers.done]
        log.info("%d of %d prompts to do", len(todo), len(items))
        ask = asking(args) if todo else None
        for number, item in enumerate(todo):
            assert ask is not None
            whole = Image.open(image_of(args, item.item_id)).convert("RGB")
            records = [
                {
                    "item_id": item.item_id,
                    "image": cell,
                    "proposition_id": question.number,
                    "answer": ask({"image": image, "question": question.text})["text"],
                }
                for cell, image in enumerate(cells(whole, counts.get(item.item_id, CELLS)))
                for question in item.questions.values()
            ]
            answers.add(item.item_id, records)
            if number % 20 == 0:
                log.info("%d of %d prompts", number + 1, len(todo))
        answers.finish([item.item_id for item in items])
    log.info("wrote %s", args.answers)


def asking(args: argparse.Namespace) -> Any:
    """Return ModelScope's pipeline, which answers {image, question} with {text}."""
    # By name, as type checkers outside the environment know nothing of it.
    tasks = import_module("modelscope.utils.constant").Tasks
    pipeline = import_module("modelscope.pipelines").pipeline
    return pipeline(tasks.visual_question_answering, model=args.model, device=DEVICES[args.gpus])


def image_of(args: argparse.Namespace, item_id: str) -> Path:
    """Return the grid of a prompt."""
    folder: Path = args.folder
    return folder / f"{item_id}.png"


def cells(grid: Any, count: int) -> list[Any]:
    """Return the first cells of a 2x2 grid, line by line."""
    side = grid.width // 2
    corners = [(side * (i % 2), side * (i // 2)) for i in range(count)]
    return [grid.crop((x, y, x + side, y + side)) for x, y in corners]


def state(path: Path) -> list[Any]:
    """Return what tells whether a file or folder is still the same."""
    found = path.stat()
    return [path.name, found.st_size, found.st_mtime_ns]


def begin(args: argparse.Namespace) -> None:
    """Log to the terminal, and to a file where one is named."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if args.log:
        args.log.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(args.log, mode="w"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)


if __name__ == "__main__":
    arguments = options().parse_args()
    begin(arguments)
    main(arguments)
