"""Collect every number of the studies, with its interval, in one long table.

Beside it, a table of how well each class does, and what it is taken for.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthgap.atomic import atomic_path
from synthgap.job import command, input_path, json_list, json_object, log, output_path, run
from synthgap.metrics.distinguish import called_fake, in_one_order, told_apart
from synthgap.metrics.intervals import bootstrap_accuracy_over_seeds, bootstrap_comparison
from synthgap.metrics.measures import read_measures
from synthgap.metrics.predictions import (
    CLASSES_SCHEMA,
    Predictions,
    Run,
    class_rows,
    correct,
    probability,
    read_runs,
)
from synthgap.metrics.table import Row, read, rows, to_table

REAL = "real"
# With fewer classes, the right one is nearly always among five guesses.
LEAST_CLASSES_OF_TOP5 = 6

Runs = dict[Run, dict[int, Predictions]]


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument("--transfer", type=input_path, nargs="*", default=[])
    parser.add_argument("--distinguish", type=input_path, nargs="*", default=[])
    parser.add_argument("--recognised", type=input_path, nargs="*", default=[])
    parser.add_argument("--measures", type=input_path, nargs="*", default=[], help="JSON files")
    parser.add_argument("--spectra", type=input_path, nargs="*", default=[])
    parser.add_argument("--captions", type=input_path, nargs="*", default=[])
    parser.add_argument("--probes", type=json_object, required=True, help="view, classifier, seeds")
    parser.add_argument("--trials", type=json_list, default=[], help="of study distinguish")
    parser.add_argument("--points", type=json_list, required=True, help="fractions and mixtures")
    parser.add_argument("--recogniser", type=json_object, default={}, help="of text-to-image")
    parser.add_argument("--sources", type=json_object, required=True, help="what is known of each")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--metrics", type=output_path, required=True)
    parser.add_argument("--classes", type=output_path, required=True, help="a row a class")
    return parser


def main(args: argparse.Namespace) -> None:
    runs = read_runs(args.transfer)
    found: list[Row] = []
    classes: list[dict[str, Any]] = []
    for name, probe in args.probes.items():
        numbers, of_classes = transfer(name, probe, runs, args.sources, args.seed)
        found += numbers
        classes += of_classes
    for point in args.points:
        found += on_axis(point, runs, args.sources, args.seed)
    compared = read_runs(args.distinguish)
    for trial in args.trials:
        found += distinguish(trial, compared, args.sources, args.seed)
    if args.recogniser:
        runs = read_runs(args.recognised)
        found += recognition(args.recogniser, runs, args.sources, args.seed)
    for path in [*args.spectra, *args.captions]:
        found += rows(read(path))
    for path in args.measures:
        found += measured(path, args.sources)
    with atomic_path(args.classes) as part:
        pq.write_table(pa.Table.from_pylist(classes, CLASSES_SCHEMA), part)
    with atomic_path(args.metrics) as part:
        pq.write_table(to_table(found), part)
    log.info("%d numbers", len(found))


def transfer(
    name: str, probe: dict[str, Any], runs: Runs, sources: dict[str, Any], seed: int
) -> tuple[list[Row], list[dict[str, Any]]]:
    """Return all accuracies of a probe, how they compare with real data, and those of classes."""
    found: list[Row] = []
    classes: list[dict[str, Any]] = []
    trained = {
        run.dataset: {s: seeds[s] for s in probe["seeds"]}
        for run, seeds in runs.items()
        if (run.view, run.classifier) == (probe["view"], probe["classifier"])
        and run.dataset in (REAL, *sources)
    }
    reference = of_seeds(trained[REAL], REAL)
    for dataset, seeds in trained.items():
        for test in next(iter(seeds.values())).tests:
            if beside(sources.get(test, {})):
                continue
            synthetic = dataset if dataset != REAL else test
            about = {"probe": name} | sources.get(synthetic, {})
            if probe["view_options"]:
                # The estimator of structure, the half-width of a filter: part of the number.
                about["view_options"] = probe["view_options"]
            where = place(
                "transfer", Run(dataset, probe["view"], probe["classifier"]), dataset, test
            )
            right = of_seeds(seeds, test)
            found += accuracy(right, where, about, seed)
            if len(next(iter(seeds.values())).classes) >= LEAST_CLASSES_OF_TOP5:
                found += accuracy(of_seeds(seeds, test, top=5), where, about, seed, "top5_accuracy")
            if dataset != REAL and test == REAL:
                found += compared(right, reference, where, about, seed)
            if name == "rgb" and dataset == REAL and test != REAL:
                found.append(recognised(seeds, test, where | {"study": "alignment"}, about, seed))
            classes += class_rows(name, dataset, test, seeds)
    return found, classes


def beside(about: dict[str, Any]) -> bool:
    """Say whether a source is study B's alone: of a further training, or before a model's end."""
    return bool(about.get("training") or about.get("on_curve"))


def on_axis(point: dict[str, Any], runs: Runs, sources: dict[str, Any], seed: int) -> list[Row]:
    """Return the accuracy of what was trained on a fraction or a mixture."""
    trained = Run(point["dataset"], point["view"], point["classifier"])
    seeds = {s: runs[trained][s] for s in point["seeds"]}
    about = point["settings"] | sources.get(point["source"], {})
    about["train_images"] = next(iter(seeds.values())).train_images
    where = place(point["study"], trained, point["source"], REAL)
    return accuracy(of_seeds(seeds, REAL), where, about, seed)


def distinguish(trial: dict[str, Any], runs: Runs, sources: dict[str, Any], seed: int) -> list[Row]:
    """Return how well sources are told apart, and which others are taken for generated."""
    run_ = Run(trial["dataset"], trial["view"], trial["classifier"])
    seeds = {s: runs[run_][s] for s in trial["seeds"]}
    others = trial["sources"][1:]
    about = sources.get(others[0], {}) if len(others) == 1 else {}
    found = told_apart(trial, seeds, about, seed)
    if len(others) == 1 and trial["sources"][0] == REAL != others[0] and trial["axis"] == "main":
        judged = [test for test in next(iter(seeds.values())).tests if test != trial["dataset"]]
        if judged:
            found += called_fake(trial, seeds, judged, sources, seed)
    return found


def recognition(asked: dict[str, Any], runs: Runs, sources: dict[str, Any], seed: int) -> list[Row]:
    """Return how often and how surely a classifier of real images sees the class asked for."""
    run_ = Run(REAL, "rgb", asked["classifier"])
    seeds = {s: runs[run_][s] for s in asked["seeds"]}
    found: list[Row] = []
    for source in [REAL, *asked["sources"]]:  # real images tell how far it can be trusted
        where, about = place("text-to-image", run_, REAL, source), sources.get(source, {})
        found += accuracy(of_seeds(seeds, source), where, about, seed)
        found.append(recognised(seeds, source, where, about, seed))
    return found


def place(study: str, trained: Run, train: str, test: str) -> dict[str, Any]:
    """Return what a row says of where its number comes from."""
    return {
        "study": study,
        "train_source": train,
        "test_source": test,
        "view": trained.view,
        "architecture": trained.classifier,
    }


def of_seeds(seeds: dict[int, Predictions], test: str, top: int = 1) -> dict[int, NDArray[Any]]:
    """Return, by seed, which images of a test source were classified correctly, in one order."""
    return {seed: correct(part, top) for seed, part in in_one_order(seeds, test).items()}


def accuracy(
    correct: dict[int, NDArray[Any]],
    where: dict[str, Any],
    about: dict[str, Any],
    seed: int,
    metric: str = "top1_accuracy",
) -> list[Row]:
    """Return the accuracy of each training seed, and over all of them."""
    per_seed = {
        s: bootstrap_accuracy_over_seeds(values[None], seed=seed) for s, values in correct.items()
    }
    everything = bootstrap_accuracy_over_seeds(np.stack(list(correct.values())), seed=seed)
    return [
        Row(
            metric=metric,
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


def compared(
    correct: dict[int, NDArray[Any]],
    reference: dict[int, NDArray[Any]],
    where: dict[str, Any],
    about: dict[str, Any],
    seed: int,
) -> list[Row]:
    """Return how far an accuracy on real images is from Real->Real, on the same images."""
    sides = (np.stack(list(correct.values())), np.stack(list(reference.values())))
    difference, ratio = bootstrap_comparison(*sides, seed=seed)
    return [
        Row(
            metric=metric,
            value=interval.value,
            ci_low=interval.low,
            ci_high=interval.high,
            n=sides[0].shape[1],
            settings=about | {"seeds": len(correct)},
            **where,
        )
        for metric, interval in (
            ("gap_to_real", difference),
            ("accuracy_relative_to_real", ratio),
        )
        if not np.isnan(interval.value)
    ]


def recognised(
    seeds: dict[int, Predictions],
    test: str,
    where: dict[str, Any],
    about: dict[str, Any],
    seed: int,
) -> Row:
    """Return how surely a classifier of real images sees the class that a prompt asks for.

    A score of how well images follow their prompts that needs no other model.
    """
    values = np.stack([probability(predictions.of(test)) for predictions in seeds.values()])
    interval = bootstrap_accuracy_over_seeds(values, seed=seed)
    return Row(
        metric="class_probability",
        value=interval.value,
        ci_low=interval.low,
        ci_high=interval.high,
        n=values.shape[1],
        settings=about | {"seeds": len(seeds)},
        **where,
    )


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


if __name__ == "__main__":
    run(options(), main)
