"""What classifiers said of test images: who was right, how often, and what was taken for what."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthgap.data.parquet_tables import read_table
from synthgap.errors import UserError
from synthgap.metrics.intervals import wilson

COLUMNS = pa.schema(
    [
        ("test_source", pa.string()),
        ("key", pa.string()),
        ("image", pa.string()),
        ("class_index", pa.int32()),
        ("predicted", pa.int32()),
        ("correct", pa.bool_()),
        ("probability_of_class", pa.float32()),
        ("log_likelihood", pa.float32()),
        ("top_classes", pa.list_(pa.int32())),
    ]
)
# What files of earlier versions lack.
MAY_LACK = ("image", "probability_of_class", "log_likelihood", "top_classes")

CLASSES_SCHEMA = pa.schema(
    [
        ("probe", pa.string()),
        ("train_source", pa.string()),
        ("test_source", pa.string()),
        ("class_index", pa.int32()),
        ("class_name", pa.string()),
        ("n", pa.int64()),  # test images of the class
        ("accuracy", pa.float64()),  # over all seeds, 0..1
        ("ci_low", pa.float64()),  # Wilson's for n images, 95 %
        ("ci_high", pa.float64()),
        ("taken_for", pa.string()),  # the class that it is most often taken for; null if for none
        ("share_taken_for", pa.float64()),
    ]
)


class Run(NamedTuple):
    """What was trained on what."""

    dataset: str
    view: str
    classifier: str


class Predictions:
    """The predictions of one run and seed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.table = read_table(path, COLUMNS, "evaluate_classifier", MAY_LACK)
            facts = self.table.schema.metadata
            self.classes: list[str] = json.loads(facts[b"classes"])
            self.train_images = int(facts[b"train_images"])
        except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is no file of evaluate_classifier: {error}") from error

    @property
    def tests(self) -> list[str]:
        """The sources that were tested on."""
        found: list[str] = pc.unique(self.table["test_source"]).to_pylist()
        return found

    def of(self, test: str) -> pa.Table:
        """Return the rows of a test source, in the order of their keys."""
        return self.table.filter(pc.equal(self.table["test_source"], test)).sort_by("key")


def read_runs(paths: Iterable[Path]) -> dict[Run, dict[int, Predictions]]:
    """Return predictions by run and seed, which the last four parts of a path name."""
    found: dict[Run, dict[int, Predictions]] = {}
    for path in dict.fromkeys(paths):
        *run, seed = Path(path).with_suffix("").parts[-4:]
        found.setdefault(Run(*run), {})[int(seed.removeprefix("seed-"))] = Predictions(path)
    return found


def correct(rows: pa.Table, top: int = 1) -> NDArray[Any]:
    """Return which images were classified correctly, in the order of their keys.

    Of a view with several crops an image, which share of them: the crops of an image are not
    independent, so intervals are over images.

    Args:
        rows: of `Predictions.of`.
        top: the class shown must be among so many guesses.
    """
    if top == 1:
        right = rows["correct"].to_numpy()
    else:
        guesses = rows["top_classes"].combine_chunks().flatten().to_numpy()
        guesses = guesses.reshape(len(rows), -1)[:, :top]
        right = (guesses == rows["class_index"].to_numpy()[:, None]).any(1)
    return by_image(rows, np.asarray(right, dtype=bool))


def probability(rows: pa.Table) -> NDArray[np.float64]:
    """Return the probability given to the class shown, in the order of the keys; as `correct`."""
    return by_image(rows, rows["probability_of_class"].to_numpy().astype(np.float64))


def by_image(rows: pa.Table, values: NDArray[Any]) -> NDArray[Any]:
    """Return the means over an image's crops; the values themselves where there is one each."""
    if rows["image"].equals(rows["key"]):
        return values
    _, of = np.unique(rows["image"].to_pylist(), return_inverse=True)
    means: NDArray[np.float64] = np.bincount(of, weights=values) / np.bincount(of)
    return means


def confusion(seeds: Mapping[int, Predictions], test: str) -> NDArray[np.int64]:
    """Return how often each class was taken for each, summed over seeds: (shown, predicted)."""
    classes = len(next(iter(seeds.values())).classes)
    counts = np.zeros(classes * classes, np.int64)
    for predictions in seeds.values():
        rows = predictions.of(test)
        shown, predicted = (rows[name].to_numpy() for name in ("class_index", "predicted"))
        counts += np.bincount(shown * np.int64(classes) + predicted, minlength=len(counts))
    return counts.reshape(classes, classes)


def class_rows(
    probe: str, train: str, test: str, seeds: Mapping[int, Predictions]
) -> list[dict[str, Any]]:
    """Return a row of `CLASSES_SCHEMA` for each class that was shown."""
    counts = confusion(seeds, test)
    names = next(iter(seeds.values())).classes
    shown = counts.sum(1)
    right = np.diag(counts).copy()
    others = counts.copy()
    np.fill_diagonal(others, 0)
    taken = others.argmax(1)
    found = []
    for index in np.flatnonzero(shown):
        accuracy, wrong = right[index] / shown[index], others[index, taken[index]] / shown[index]
        n = int(shown[index]) // len(seeds)
        interval = wilson(accuracy * n, n)
        found.append(
            {
                "probe": probe,
                "train_source": train,
                "test_source": test,
                "class_index": int(index),
                "class_name": names[index],
                "n": n,
                "accuracy": accuracy,
                "ci_low": interval.low,
                "ci_high": interval.high,
                "taken_for": names[taken[index]] if wrong else None,
                "share_taken_for": wrong,
            }
        )
    return found
