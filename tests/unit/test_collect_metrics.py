"""From predictions to rows with intervals."""

import numpy as np
import pyarrow as pa

from collect_metrics import accuracy, by_test


def predictions(crops):
    """A table of four images with so many crops each; the first image is wrong in all."""
    keys = [f"k{i}-{c}" if crops > 1 else f"k{i}" for i in range(4) for c in range(crops)]
    return pa.table(
        {
            "test_source": ["real"] * len(keys),
            "key": keys,
            "image": [f"k{i}" for i in range(4) for _ in range(crops)],
            "correct": [i > 0 for i in range(4) for _ in range(crops)],
        }
    )


def test_crops_count_as_one_image():
    found = {crops: by_test({0: predictions(crops)})["real"] for crops in (1, 3)}
    assert found[1][0].dtype == bool
    np.testing.assert_array_equal(found[3][0], [0, 1, 1, 1])
    where = {
        "study": "transfer",
        "train_source": "real",
        "test_source": "real",
        "view": "crops",
        "architecture": "resnet",
    }
    whole, crops = (accuracy(found[n], where, {}, seed=0) for n in (1, 3))
    assert whole == crops
    assert {row.n for row in crops} == {4}


def test_rows_in_another_order_are_the_same_images():
    table = predictions(3)
    mixed = table.take(np.random.default_rng(0).permutation(len(table)))
    np.testing.assert_array_equal(by_test({0: table})["real"][0], by_test({0: mixed})["real"][0])
