"""Measure how well people tell two sources apart, from the answers that a quiz's page saved.

Takes the CSV files of all participants of one quiz, and its key, which write_quiz wrote. Answers
are compared with the key; what the files say is correct does not count.

  python workflow/scripts/measure_people.py --key key.json --answers answers/*.csv \\
      --seed 0 --output people.json
"""

import argparse

from synthgap.data.quiz import read_quiz
from synthgap.job import command, input_path, json_object, log, output_path, run, seed
from synthgap.metrics.human import measure_people, read_answers
from synthgap.metrics.measures import write_measures


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--key", type=input_path, required=True, help="of write_quiz, .json")
    parser.add_argument("--answers", type=input_path, nargs="+", required=True, help="CSV files")
    parser.add_argument("--seed", type=seed, default=0, help="of the intervals")
    parser.add_argument("--about", type=json_object, default={}, help="to be said of all numbers")
    parser.add_argument("--output", type=output_path, required=True, help=".json")
    return parser


def main(args: argparse.Namespace) -> None:
    quiz = read_quiz(args.key)
    answers = read_answers(args.answers, quiz)
    for participant, given in answers.items():
        if len(given) < len(quiz.pairs):
            log.info("%s answered %d of %d pairs", participant, len(given), len(quiz.pairs))
    found = measure_people(answers, quiz, seed=args.seed)
    log.info("accuracy %.3f [%.3f, %.3f]", found[0].value, found[0].low, found[0].high)
    write_measures(
        args.output, found, args.about, {"answers": {k: len(v) for k, v in answers.items()}}
    )


if __name__ == "__main__":
    run(options(), main)
