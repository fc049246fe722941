"""Write a quiz for people: can they tell the images of two sources apart?

The page needs no network and opens in any browser. People choose one image of each pair, see their
score at the end and save their answers as a CSV, which measure_people reads together with the key.

  python workflow/scripts/write_quiz.py --first real=A/manifest.parquet \\
      --second sd15=B/manifest.parquet --question "Which image is real?" \\
      --pairs 32 --seed 0 --quiz quiz.html --key key.json
"""

import argparse
from typing import Any

from synthgap.atomic import write_text
from synthgap.data.quiz import as_quiz, draw_quiz
from synthgap.data.shards import Manifest
from synthgap.errors import UserError
from synthgap.job import InputPath, command, count, input_path, log, output_path, run, seed
from synthgap.report.quiz import Shown, render_quiz


def source_option(text: str) -> tuple[str, InputPath]:
    """Option type: NAME=MANIFEST."""
    name, separator, path = text.partition("=")
    if not (name and separator):
        raise UserError(f"{text}: give NAME=MANIFEST, for example real=manifest.parquet")
    return name, input_path(path)


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    source: dict[str, Any] = {
        "type": source_option,
        "required": True,
        "metavar": "NAME=MANIFEST",
    }
    parser.add_argument("--first", **source, help="the source that people look for")
    parser.add_argument("--second", **source, help="the other source")
    parser.add_argument("--title", default="A study with pairs of images")
    parser.add_argument("--question", required=True, help="whose answer is the first source")
    parser.add_argument("--pairs", type=count, default=32)
    parser.add_argument("--references", type=int, default=0, help="examples shown of each source")
    parser.add_argument("--seed", type=seed, required=True)
    parser.add_argument("--quiz", type=output_path, required=True, help=".html to write")
    parser.add_argument("--key", type=output_path, required=True, help=".json to write; keep it")
    return parser


def main(args: argparse.Namespace) -> None:
    (first, path), (second, other) = args.first, args.second
    if first == second:
        raise UserError(f"--first and --second are both called {first}; name them differently")
    sources = Manifest(path), Manifest(other)
    drawn = draw_quiz(*sources, pairs=args.pairs, references=args.references, seed=args.seed)
    quiz = as_quiz(drawn, question=args.question, first=first, second=second)
    if any(pair.left_class != pair.right_class for pair in quiz.pairs):
        log.warning("%s and %s have no class in common: pairs are of any classes", first, second)

    classes = {name for pair in quiz.pairs for name in (pair.left_class, pair.right_class)}
    log.info("quiz %s: %d pairs of %d classes", quiz.id, args.pairs, len(classes))
    shown = []
    for source, pairs, examples in zip(
        sources, zip(*drawn.pairs, strict=True), drawn.references, strict=True
    ):
        images = source.images([picture.row for picture in (*pairs, *examples)])
        shown.append(Shown(images[: len(pairs)], images[len(pairs) :]))
    write_text(args.key, quiz.text())
    write_text(args.quiz, render_quiz(quiz, *shown, title=args.title))


if __name__ == "__main__":
    run(options(), main)
