"""Study A on the real Snakefile: its table from the prediction files, its axes, its data sets."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from synthgap.data.shards import Manifest

pytestmark = pytest.mark.slow

SEEDS = {"rgb": [0, 1]}


@pytest.fixture
def table(finished):
    rows = pq.read_table(finished / "results/metrics.parquet").to_pylist()
    return [row | {"settings": json.loads(row["settings"])} for row in rows]


def accuracies(finished, dataset: str, row: dict, test: str) -> np.ndarray:
    """Accuracy of each seed, by nothing but numpy and the prediction files."""
    folder = finished / "results/predictions" / dataset / row["view"] / row["architecture"]
    found = []
    for seed in SEEDS.get(row["settings"].get("probe"), [0])[: row["settings"]["seeds"]]:
        columns = pq.read_table(folder / f"seed-{seed}.parquet").to_pydict()
        chosen = np.array(columns["test_source"]) == test
        top = np.array(columns["top_classes"])[chosen, 0]
        found.append(np.mean(top == np.array(columns["class_index"])[chosen]))
    return np.array(found)


def test_every_accuracy_follows_from_the_prediction_files(finished, table):
    checked = 0
    for row in table:
        if (row["study"], row["metric"], row["seed"]) == ("transfer", "top1_accuracy", None):
            found = accuracies(finished, row["train_source"], row, row["test_source"])
            assert row["value"] == pytest.approx(found.mean(), abs=1e-12)
            checked += 1
    assert checked == 5 * 4  # probes, directions


def test_gaps_follow_from_the_accuracies(finished, table):
    checked = 0
    for row in table:
        if row["metric"] in ("gap_to_real", "accuracy_relative_to_real"):
            ours = accuracies(finished, row["train_source"], row, "real").mean()
            real = accuracies(finished, "real", row, "real").mean()
            expected = real - ours if row["metric"] == "gap_to_real" else ours / real
            assert row["value"] == pytest.approx(expected, abs=1e-12)
            checked += 1
    assert checked == 2 * 5


def test_axes_hold_their_fractions_and_mixtures(finished, table):
    found = {}
    for row in table:
        if row["study"] in ("scaling", "mixing") and row["seed"] is None:
            settings, source = row["settings"], row["train_source"]
            at = settings.get("fraction", settings.get("synthetic_ratio"))
            found[row["study"], source, at] = settings["train_images"]
            dataset = {
                ("scaling", 0.9): f"{source}@0.9",
                ("scaling", 1.0): source,
                ("mixing", 0.0): "real",
                ("mixing", 0.2): f"real@1+{source}@0.2r",
            }[row["study"], at]
            expected = accuracies(finished, dataset, row, "real").mean()
            assert row["value"] == pytest.approx(expected, abs=1e-12)
    manifest = pq.read_table(finished / "results/images/real/train/rgb/manifest.parquet")
    per_class = np.bincount(manifest["class_index"].to_numpy())
    real, source = int(per_class.sum()), "flow-g2-caption"
    assert found == {
        ("scaling", "real", 0.9): sum(round(0.9 * int(n)) for n in per_class),
        ("scaling", "real", 1.0): real,
        ("scaling", source, 0.9): 20,  # two of two images a class: 1.8 is nearer to two
        ("scaling", source, 1.0): 20,
        ("mixing", source, 0.0): real,
        ("mixing", source, 0.2): real + sum(round(0.2 * int(n)) for n in per_class),
    }


def test_few_labels_are_learnt_from_with_what_was_added(finished, table):
    source, found = "flow-g2-caption", {}
    for row in table:
        if row["study"] == "semi_supervised" and row["seed"] is None:
            settings = row["settings"]
            assert (settings["labels_per_class"], settings["method"]) == (2, "freematch")
            dataset = {0.0: "real", 0.2: f"real@1+{source}@0.2r"}[settings["synthetic_ratio"]]
            assert row["value"] == accuracies(finished, dataset, row, "real").mean()
            found[settings["synthetic_ratio"]] = dataset
    assert found.keys() == {0.0, 0.2}
    manifest = Manifest(finished / "results/images" / found[0.2] / "train/rgb/manifest.parquet")
    made = [key.startswith("1-") for key in manifest.table["key"].to_pylist()]
    assert manifest.given_labels.tolist() == made
    assert any(made)


def test_classes_add_up_to_the_accuracy(finished, table):
    classes = pq.read_table(finished / "results/classes.parquet").to_pylist()
    for row in table:
        if (row["study"], row["metric"], row["seed"]) != ("transfer", "top1_accuracy", None):
            continue
        mine = [
            one
            for one in classes
            if (one["probe"], one["train_source"], one["test_source"])
            == (row["settings"]["probe"], row["train_source"], row["test_source"])
        ]
        right = sum(one["accuracy"] * one["n"] for one in mine)
        n = sum(one["n"] for one in mine)
        assert right / n == pytest.approx(row["value"], abs=1e-12)


def test_another_fraction_trains_on_that_alone(checkout):
    checkout.edit("tiny.yaml", "fractions: [0.9]", "fractions: [0.8, 0.9]")
    plan = checkout.planned()
    assert plan["blend_sources"] == 4  # training and validation images of two sources
    assert plan["train_classifier"] == plan["evaluate_classifier"] == 2
    assert plan["collect_metrics"] == 1
    assert not plan.keys() & {"generate_images", "gather_shards", "measure_distribution"}


def test_a_single_figure_is_a_target(finished):
    plan = finished.planned("--force", "results/figures/mixing.svg")
    assert plan == {"plot_figure": 1}
