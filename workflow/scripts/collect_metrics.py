"""Collect every number of the studies, with its interval, in one long table."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthgap.atomic import atomic_path
from synthgap.job import command, input_path, json_object, log, output_path, run
from synthgap.metrics.intervals import bootstrap_accuracy_over_seeds
from synthgap.metrics.measures import read_measures
from synthgap.metrics.table import Row, rows, to_table

Run = tuple[str, str, str]  # data set, view, classifier


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--transfer", type=input_path, nargs="+", required=True)
    parser.add_argument("--distinguish", type=input_path, nargs="+", required=True)
    parser.add_argument("--measures", type=input_path, nargs="*", default=[], help="JSON files")
    parser.add_argument("--spectra", type=input_path, nargs="+", required=True)
    parser.add_argument("--captions", type=input_path, nargs="*", default=[])
    parser.add_argument("--probes", type=json_object, required=True, help="view, classifier, seeds")
    parser.add_argument("--sources", type=json_object, required=True, help="what is known of each")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--metrics", type=output_path, required=True)
    return parser


def main(args: argparse.Namespace) -> None:
    found: list[Row] = []
    transfer = read_predictions(args.transfer)
    for name, probe in args.probes.items():
        for (dataset, view, classifier), seeds in transfer.items():
            if (view, classifier) != (probe["view"], probe["classifier"]):
                continue
            chosen = {seed: seeds[seed] for seed in probe["seeds"]}
            for test, correct in by_test(chosen).items():
                synthetic = dataset if dataset != "real" else test
                about = {"probe": name} | args.sources.get(synthetic, {})
                if probe["view_options"]:
                    # The estimator of structure, the half-width of a filter: part of the number.
                    about["view_options"] = probe["view_options"]
                where = {
                    "study": "transfer",
                    "train_source": dataset,
                    "test_source": test,
                    "view": view,
                    "architecture": classifier,
                }
                found += accuracy(correct, where, about, args.seed)
    for (dataset, view, classifier), seeds in read_predictions(args.distinguish).items():
        for correct in by_test(seeds).values():
            first, second = dataset.split("+")
            where = {
                "study": "distinguish",
                "train_source": first,
                "test_source": second,
                "view": view,
                "architecture": classifier,
            }
            found += accuracy(correct, where, args.sources.get(second, {}), args.seed)
    for path in [*args.spectra, *args.captions]:
        found += rows(pq.read_table(path))
    for path in args.measures:
        found += measured(path, args.sources)
    with atomic_path(args.metrics) as part:
        pq.write_table(to_table(found), part)
    log.info("%d numbers", len(found))


def measured(path: Path, sources: dict[str, Any]) -> list[Row]:
    """Return the numbers in a file of measures, with what is said of all of them."""
    measures, about = read_measures(path)
    settings = sources.get(about.get("test_source", ""), {}) | about.pop("settings", {})
    return [
        Row(
            metric=measure.metric,
            value=measure.value,
            ci_low=measure.low,
            ci_high=measure.high,
            n=measure.n,
            settings=settings | measure.settings,
            **about,
        )
        for measure in measures
    ]


def read_predictions(paths: list[Path]) -> dict[Run, dict[int, pa.Table]]:
    """Return prediction tables by run and seed, which the last four parts of a path name."""
    found: dict[Run, dict[int, pa.Table]] = {}
    for path in dict.fromkeys(paths):
        dataset, view, classifier, seed = Path(path).with_suffix("").parts[-4:]
        table = pq.read_table(path, columns=["test_source", "key", "image", "correct"])
        found.setdefault((dataset, view, classifier), {})[int(seed.removeprefix("seed-"))] = table
    return found


def by_test(seeds: dict[int, pa.Table]) -> dict[str, dict[int, NDArray[Any]]]:
    """Return, by test source and seed, which images were classified correctly, in one order.

    Of a view with several crops an image, which share of them: the crops of an image are not
    independent, so intervals are over images.
    """
    found: dict[str, dict[int, NDArray[Any]]] = {}
    for seed, table in seeds.items():
        for test in pc.unique(table["test_source"]).to_pylist():
            part = table.filter(pc.equal(table["test_source"], test)).sort_by("key")
            correct = np.asarray(part["correct"].to_pylist(), dtype=bool)
            images, of = np.unique(part["image"].to_pylist(), return_inverse=True)
            if len(images) < len(correct):
                correct = np.bincount(of, weights=correct) / np.bincount(of)
            found.setdefault(test, {})[seed] = correct
    return found


def accuracy(
    correct: dict[int, NDArray[Any]], where: dict[str, Any], about: dict[str, Any], seed: int
) -> list[Row]:
    """Return top-1 accuracy of each training seed, and over all of them."""
    per_seed = {
        s: bootstrap_accuracy_over_seeds(values[None], seed=seed) for s, values in correct.items()
    }
    everything = bootstrap_accuracy_over_seeds(np.stack(list(correct.values())), seed=seed)
    return [
        Row(
            metric="top1_accuracy",
            value=interval.value,
            ci_low=interval.low,
            ci_high=interval.high,
            n=len(next(iter(correct.values()))),
            seed=training_seed,
            settings=about if training_seed is not None else about | {"seeds": len(correct)},
            **where,
        )
        for training_seed, interval in [*per_seed.items(), (None, everything)]
    ]


if __name__ == "__main__":
    run(options(), main)
