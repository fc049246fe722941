"""From predictions to rows with intervals."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collect_metrics import accuracy, of_seeds, on_axis, recognition, transfer
from synthgap.classifiers.answers import SCHEMA
from synthgap.errors import UserError
from synthgap.metrics.predictions import Predictions, Run, class_rows, confusion, read_runs

CLASSES = ["a", "b", "c", "d", "e", "f", "g"]
PROBE = {"view": "rgb", "classifier": "net", "seeds": [0, 1], "view_options": {}}
SOURCES = {"gen": {"generator": "g", "prompts": "classname", "x": 1.0, "x_name": "guidance scale"}}


def write(folder: Path, run: Run, seed: int, skill: float, tests: dict[str, int], crops: int = 1):
    """Write predictions that are right for about `skill` of the images."""
    rng = np.random.default_rng([seed, int(100 * skill), len(run.dataset)])
    rows = []
    for test, n in tests.items():
        for number in range(n):
            shown = number % len(CLASSES)
            for crop in range(crops):
                order = rng.permutation(len(CLASSES)).tolist()
                if rng.random() < skill:
                    order.remove(shown)
                    order.insert(0, shown)
                rows.append(
                    {
                        "test_source": test,
                        "key": f"{number:03d}-{crop}" if crops > 1 else f"{number:03d}",
                        "image": f"{number:03d}",
                        "class_index": shown,
                        "predicted": order[0],
                        "correct": order[0] == shown,
                        "probability_of_class": 0.8 if order[0] == shown else 0.1,
                        "top_classes": order[:5],
                    }
                )
    order = rng.permutation(len(rows))
    facts = {"classes": json.dumps(CLASSES), "train_images": "70"}
    table = pa.Table.from_pylist([rows[i] for i in order], SCHEMA).replace_schema_metadata(facts)
    path = folder.joinpath(*run) / f"seed-{seed}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


@pytest.fixture
def runs(tmp_path):
    paths = []
    for seed in (0, 1):
        paths.append(write(tmp_path, Run("real", "rgb", "net"), seed, 0.9, {"real": 70, "gen": 35}))
        paths.append(write(tmp_path, Run("gen", "rgb", "net"), seed, 0.5, {"real": 70, "gen": 35}))
        paths.append(write(tmp_path, Run("gen@0.1", "rgb", "net"), seed, 0.3, {"real": 70}))
    return read_runs(paths)


def expected(runs, dataset, test):
    """Accuracy of two seeds by a few lines of numpy alone."""
    found = []
    for predictions in runs[Run(dataset, "rgb", "net")].values():
        table = predictions.table.to_pandas()
        table = table[table.test_source == test].sort_values("key")
        found.append((table.predicted == table.class_index).to_numpy())
    return np.array(found)


def test_a_probe_gives_all_directions_and_how_they_compare_with_real(runs):
    rows, _ = transfer("rgb", PROBE, runs, SOURCES, 0)
    found = {(r.metric, r.train_source, r.test_source, r.seed): r for r in rows}
    assert len(found) == len(rows) == 4 * 2 * 3 + 2 + 1
    for train, test in (("real", "real"), ("real", "gen"), ("gen", "real"), ("gen", "gen")):
        values = expected(runs, train, test)
        whole = found["top1_accuracy", train, test, None]
        assert whole.value == pytest.approx(values.mean())
        assert whole.ci_low < whole.value < whole.ci_high
        assert found["top1_accuracy", train, test, 1].value == values[1].mean()
        assert found["top5_accuracy", train, test, None].value > whole.value
    ours, real = expected(runs, "gen", "real").mean(), expected(runs, "real", "real").mean()
    gap = found["gap_to_real", "gen", "real", None]
    share = found["accuracy_relative_to_real", "gen", "real", None]
    assert gap.value == pytest.approx(real - ours)
    assert share.value == pytest.approx(ours / real)
    assert 0 < gap.ci_low < gap.value < gap.ci_high
    assert share.ci_low < share.value < share.ci_high < 1
    assert gap.settings == {"probe": "rgb", "seeds": 2} | SOURCES["gen"]


def test_how_surely_the_class_asked_for_is_seen(runs):
    rows, _ = transfer("rgb", PROBE, runs, SOURCES, 0)
    (found,) = (row for row in rows if row.metric == "class_probability")
    accuracy = expected(runs, "real", "gen").mean()
    assert found.value == pytest.approx(0.1 + 0.7 * accuracy)
    assert (found.study, found.train_source, found.test_source) == ("alignment", "real", "gen")
    assert found.ci_low < found.value < found.ci_high
    others, _ = transfer("texture", PROBE, runs, SOURCES, 0)
    assert "class_probability" not in {row.metric for row in others}


def test_real_images_tell_how_far_a_recogniser_can_be_trusted(runs):
    asked = {"classifier": "net", "seeds": PROBE["seeds"], "sources": ["gen"]}
    rows = recognition(asked, runs, SOURCES, 0)
    found = {(r.metric, r.test_source): r for r in rows if r.seed is None}
    for test in ("real", "gen"):
        accuracy = found["top1_accuracy", test]
        assert accuracy.value == pytest.approx(expected(runs, "real", test).mean())
        assert (accuracy.study, accuracy.train_source) == ("text-to-image", "real")
    assert "generator" not in found["top1_accuracy", "real"].settings
    assert found["class_probability", "gen"].settings == SOURCES["gen"] | {"seeds": 2}


def test_further_trainings_of_study_b_are_no_sources_of_study_a(tmp_path):
    tests = {"real": 70, "gen": 70, "gen~1": 70, "gen@50": 70}
    paths = [write(tmp_path, Run("real", "rgb", "net"), seed, 0.8, tests) for seed in (0, 1)]
    runs = read_runs(paths)
    further = {
        "gen~1": SOURCES["gen"] | {"training": 1, "on_curve": False},
        "gen@50": SOURCES["gen"] | {"training": 0, "on_curve": True},
    }
    rows, classes = transfer("rgb", PROBE, runs, SOURCES | further, 0)
    assert {row.test_source for row in rows} == {"real", "gen"}
    assert {row["test_source"] for row in classes} == {"real", "gen"}
    asked = {"classifier": "net", "seeds": [0, 1], "sources": ["gen", "gen~1", "gen@50"]}
    rows = recognition(asked, runs, SOURCES | further, 0)
    assert {row.test_source for row in rows} == set(tests)


def test_top5_counts_the_class_among_five_guesses(runs):
    predictions = runs[Run("gen", "rgb", "net")][0].of("real").to_pylist()
    by_hand = np.mean([row["class_index"] in row["top_classes"] for row in predictions])
    rows, _ = transfer("rgb", PROBE, runs, SOURCES, 0)
    (found,) = (
        r
        for r in rows
        if (r.metric, r.train_source, r.test_source, r.seed) == ("top5_accuracy", "gen", "real", 0)
    )
    assert found.value == pytest.approx(by_hand)


def test_a_fraction_is_a_row_of_its_study_and_source(runs):
    point = {
        "study": "scaling", "dataset": "gen@0.1", "view": "rgb", "classifier": "net",
        "seeds": [0, 1], "source": "gen", "settings": {"probe": "rgb", "fraction": 0.1},
    }  # fmt: skip
    rows = on_axis(point, runs, SOURCES, 0)
    assert [row.seed for row in rows] == [0, 1, None]
    whole = rows[-1]
    assert (whole.study, whole.train_source, whole.test_source) == ("scaling", "gen", "real")
    assert whole.value == pytest.approx(expected(runs, "gen@0.1", "real").mean())
    about = {"probe": "rgb", "fraction": 0.1, "train_images": 70, "seeds": 2}
    assert whole.settings == about | SOURCES["gen"]


def test_classes_and_what_they_are_taken_for(runs):
    seeds = runs[Run("gen", "rgb", "net")]
    counts = confusion(seeds, "real")
    assert counts.sum(1).tolist() == [20] * 7  # ten images, two seeds
    rows = class_rows("rgb", "gen", "real", seeds)
    assert [row["class_name"] for row in rows] == CLASSES
    for index, row in enumerate(rows):
        assert row["n"] == 10
        assert row["accuracy"] == counts[index, index] / 20
        others = np.delete(counts[index], index)
        assert row["share_taken_for"] == others.max() / 20
        assert counts[index, CLASSES.index(row["taken_for"])] == others.max()
        assert row["ci_low"] < row["accuracy"] < row["ci_high"]


def test_crops_count_as_one_image(tmp_path):
    path = write(tmp_path, Run("real", "crops", "net"), 0, 0.5, {"real": 20}, crops=3)
    predictions = {0: Predictions(path)}
    found = of_seeds(predictions, "real")
    table = predictions[0].table.to_pandas()
    np.testing.assert_allclose(found[0], table.groupby("image").correct.mean().to_numpy())
    where = {"study": "transfer", "train_source": "real", "test_source": "real"}
    assert {row.n for row in accuracy(found, where, {}, 0)} == {20}


def test_seeds_that_were_tested_on_different_images_are_not_put_together(tmp_path):
    run = Run("real", "rgb", "net")
    paths = [write(tmp_path, run, seed, 0.5, {"real": 20 + seed}) for seed in (0, 1)]
    with pytest.raises(UserError, match="different images of real"):
        of_seeds(read_runs(paths)[run], "real")


def test_other_files_are_no_predictions(tmp_path):
    pq.write_table(pa.table({"key": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="evaluate_classifier makes such a file"):
        Predictions(tmp_path / "other.parquet")
