"""What a classifier says of test images, as rows of a table, however it was trained."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from synthgap.atomic import atomic_path
from synthgap.data.shards import image_of

TOP = 5
SCHEMA = pa.schema(
    [
        ("test_source", pa.string()),
        ("key", pa.string()),
        ("image", pa.string()),  # the key, but for crops: that of the image they are of
        ("class_index", pa.int32()),
        ("predicted", pa.int32()),
        ("correct", pa.bool_()),
        ("probability_of_class", pa.float32()),
        # Natural logarithm of that probability as the file's metadata calibrate it.
        ("log_likelihood", pa.float32()),
        ("top_classes", pa.list_(pa.int32())),  # of the highest logits, the highest first
        ("top_logits", pa.list_(pa.float32())),
    ]
)
# Of logits that are right for all validation images, no finite temperature is the best.
COLDEST, HOTTEST = 1 / 20, 20.0


@dataclass(frozen=True)
class Calibration:
    """How logits become probabilities that may be trusted."""

    temperature: float = 1.0
    """that logits are divided by"""
    doubt: float = 0.0
    """share of the probability that is spread evenly over all classes, 0..1"""

    def log_probabilities(self, logits: NDArray[Any]) -> NDArray[np.float64]:
        """Return natural logarithms of probabilities, (n, classes), of logits."""
        plain = log_softmax(np.asarray(logits, np.float64) / self.temperature, axis=1)
        if not self.doubt:
            return np.asarray(plain)
        spread = math.log(self.doubt / plain.shape[1])
        return np.asarray(np.logaddexp(plain + math.log1p(-self.doubt), spread))


AS_THEY_ARE = Calibration()


def calibrate(logits: NDArray[Any], shown: NDArray[np.int64]) -> Calibration:
    """Return the calibration of the least cross-entropy on validation images.

    A classifier that is too sure, or too unsure as after label smoothing, then tells better how
    much it knows. What never went wrong on n images may do so next time: by the rule of
    succession, one answer in n + 2 is doubted, so that a single sure mistake costs no more than it
    must. Source: Guo et al., On calibration of modern neural networks (ICML 2017).

    Args:
        logits: of validation images, (n, classes), n >= 1.
        shown: their classes, (n,).
    """
    each, doubt = np.arange(len(logits)), 1 / (len(logits) + 2)

    def loss(log_temperature: float) -> float:
        told = Calibration(math.exp(log_temperature), doubt).log_probabilities(logits)
        return -float(told[each, shown].mean())

    bounds = math.log(COLDEST), math.log(HOTTEST)
    best = minimize_scalar(loss, bounds=bounds, method="bounded")
    return Calibration(math.exp(best.x), doubt)


def answers(
    name: str,
    samples: pa.Table,
    shown: NDArray[np.int64],
    logits: NDArray[Any],
    calibration: Calibration = AS_THEY_ARE,
) -> pa.Table:
    """Return a row of `SCHEMA` for each image.

    Args:
        name: of the test source.
        samples: columns `key` and `details` of a manifest, n rows.
        shown: classes of the images, (n,).
        logits: (n, classes).
        calibration: for `log_likelihood` alone.
    """
    # Of equal logits the lower class comes first, as argmax has it.
    top = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
    each = np.arange(len(logits))
    columns = [
        [name] * len(logits),
        samples["key"].to_pylist(),
        [image_of(row["key"], row["details"]) for row in samples.to_pylist()],
        shown,
        top[:, 0],
        top[:, 0] == shown,
        np.exp(Calibration().log_probabilities(logits))[each, shown],
        calibration.log_probabilities(logits)[each, shown],
        list(top),
        list(np.take_along_axis(logits, top, axis=1)),
    ]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)]
    return pa.table(arrays, SCHEMA)


def write_answers(
    path: Path,
    tables: Sequence[pa.Table],
    classes: Sequence[str],
    train_images: int | None,
    calibration: Calibration = AS_THEY_ARE,
) -> None:
    """Write rows of `answers` atomically, with what the file's metadata tell.

    Args:
        classes: names by index.
        train_images: how many the classifier was trained on.
    """
    facts = {
        "classes": json.dumps(list(classes)),
        "train_images": str(train_images),
        "calibration": json.dumps(asdict(calibration)),
    }
    with atomic_path(path) as part:
        pq.write_table(pa.concat_tables(tables).replace_schema_metadata(facts), part)
