"""Numbers of study C: temperature, lower bound of the divergence, linear probes, controls."""

import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_metrics import told_apart as settings_of
from scipy.special import log_softmax, logsumexp
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

import train_linear_probe
from synthgap.classifiers import linear
from synthgap.classifiers.answers import AS_THEY_ARE, answers, calibrate, write_answers
from synthgap.classifiers.linear import fit_probe
from synthgap.data.comparisons import compare
from synthgap.data.shards import Manifest, Sample, ShardWriter, gather, write_manifest
from synthgap.errors import UserError
from synthgap.metrics import distinguish as metrics_distinguish
from synthgap.metrics.distinguish import (
    BOUND,
    bound_over_seeds,
    called_fake,
    information,
    told_apart,
)
from synthgap.metrics.predictions import Predictions
from synthgap.metrics.table import Row
from synthgap.report.distinguish import distinguished

CLASSES = ["real", "gen"]


def rows_of(count):
    return pa.table({"key": [f"{i:06d}" for i in range(count)], "details": ["{}"] * count})


def written(path, logits, shown, calibration=AS_THEY_ARE, name="real+gen", further=()):
    tables = [answers(name, rows_of(len(shown)), shown, logits, calibration)]
    tables += [answers(n, rows_of(len(s)), s, scores) for n, scores, s in further]
    write_answers(path, tables, CLASSES, 10, calibration)
    return Predictions(path)


TRIAL = {
    "dataset": "real+gen",
    "view": "rgb",
    "classifier": "net",
    "seeds": [0],
    "axis": "main",
    "order": 0,
    "sources": ["real", "gen"],
    "view_options": {},
}


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_temperature_undoes_a_factor(factor):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20000, 3))
    chances = np.exp(log_softmax(logits, axis=1)).cumsum(1)
    shown = (rng.random((20000, 1)) > chances).sum(1)
    assert calibrate(factor * logits, shown).temperature == pytest.approx(factor, rel=0.05)


def test_what_is_always_right_is_doubted_by_the_rule_of_succession():
    found = calibrate(np.eye(2)[[0, 1, 0]] * 5, np.array([0, 1, 0]))
    assert found.doubt == 1 / 5
    told = np.exp(found.log_probabilities(np.array([[1e4, -1e4]])))
    assert told[0] == pytest.approx([0.9, 0.1])


def gaussians(distance, count=40000, seed=0):
    """Samples of N(0, 1) and N(distance, 1), their log-odds, and the divergence in bits."""
    rng = np.random.default_rng(seed)
    shown = np.repeat([0, 1], count // 2)
    x = rng.normal(shown * distance, 1)
    logits = np.stack([norm.logpdf(x), norm.logpdf(x, distance)], 1)
    grid = np.linspace(-12, 12 + distance, 200001)
    both = np.stack([norm.logpdf(grid), norm.logpdf(grid, distance)])
    mixture = logsumexp(both, axis=0) - np.log(2)
    inside = 0.5 * (np.exp(both) * (both - mixture)).sum(0)
    return logits, shown, np.trapezoid(inside, grid) / np.log(2)


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.0, 3.0])
def test_the_best_classifier_reaches_the_divergence(tmp_path, distance):
    logits, shown, divergence = gaussians(distance)
    predictions = written(tmp_path / "p.parquet", logits, shown)
    (bound,) = [
        row
        for row in told_apart(TRIAL, {0: predictions}, {}, 0)
        if row.metric == BOUND and row.seed is None
    ]
    if distance:
        assert bound.ci_low <= divergence <= bound.ci_high
        assert bound.ci_high - bound.ci_low < 0.03
    assert bound.value == pytest.approx(divergence, abs=0.01)


@pytest.mark.parametrize("errors", [0.0005, 0.003, 0.05])
def test_the_interval_holds_what_mistakes_would_cost_that_were_not_made(errors):
    # A sure classifier: a right answer gives nearly a bit, and a wrong one costs seven.
    right, wrong = (1 + np.log2(share) for share in (1 - 1 / 320, 1 / 320))
    rng, held = np.random.default_rng(0), 0
    for number in range(100):
        bits = np.where(rng.random((1, 500)) < errors, wrong, right)
        found = bound_over_seeds(bits, 2, seed=number)
        assert found.low <= found.value <= found.high
        held += found.low <= (1 - errors) * right + errors * wrong <= found.high
    assert held >= 90


def test_a_grid_does_not_move_the_limits(monkeypatch):
    # Most answers are as sure as can be, which a grid would shift all alike.
    rng = np.random.default_rng(0)
    bits = 1 + np.log2(np.clip(1 / (1 + np.exp(-rng.normal(6, 3, (1, 5000)))), 1e-4, 1 - 1e-4))
    monkeypatch.setattr(metrics_distinguish, "GRID", 64)
    coarse = bound_over_seeds(bits, 2)
    monkeypatch.setattr(metrics_distinguish, "GRID", 1e12)
    exact = bound_over_seeds(bits, 2)
    assert coarse.value == exact.value
    assert coarse[1:] == pytest.approx(exact[1:], abs=0.1 * (exact.high - exact.low))


def test_the_interval_stays_narrow_where_nothing_is_known():
    bits = np.random.default_rng(0).normal(0, 0.02, (3, 500))
    found = bound_over_seeds(bits, 2)
    assert found.high - found.low < 0.008
    nothing = bound_over_seeds(np.zeros((2, 50)), 2)
    assert nothing.value == 0
    assert np.isnan(nothing[1:]).all()


def test_worse_classifiers_only_lower_the_bound(tmp_path):
    logits, shown, divergence = gaussians(1.0)
    noise = np.random.default_rng(1).normal(0, 1, logits.shape)
    for number, worse in enumerate([logits + noise, 3 * logits, -logits, 0 * logits]):
        predictions = written(tmp_path / f"{number}.parquet", worse, shown)
        assert information(predictions.of("real+gen"), 2).mean() < divergence - 0.01


def test_calibration_raises_the_bound_of_an_unsure_classifier(tmp_path):
    logits, shown, divergence = gaussians(1.0)
    other, labels, _ = gaussians(1.0, seed=1)
    calibration = calibrate(0.3 * other, labels)
    plain = written(tmp_path / "a.parquet", 0.3 * logits, shown)
    tuned = written(tmp_path / "b.parquet", 0.3 * logits, shown, calibration)
    found = [information(p.of("real+gen"), 2).mean() for p in (plain, tuned)]
    assert found[0] < found[1] - 0.01
    assert found[1] == pytest.approx(divergence, abs=0.01)
    facts = pq.read_schema(tmp_path / "b.parquet").metadata
    assert json.loads(facts[b"calibration"])["temperature"] == calibration.temperature


def test_shares_called_fake_are_of_the_generated_side(tmp_path):
    shown = np.repeat([0, 1], 10)
    fake = np.array([1] * 3 + [0] * 7 + [1] * 8 + [0] * 2)  # 8 of 10 generated ones
    guided = np.array([1] * 4 + [0] * 6)
    predictions = written(
        tmp_path / "p.parquet",
        np.eye(2)[fake],
        shown,
        further=[("guided", np.eye(2)[guided], np.ones(10, np.int64))],
    )
    rows = called_fake(TRIAL, {0: predictions}, ["guided"], {"guided": {"x": 1}}, 0)
    assert {row.test_source: row.value for row in rows} == {"gen": 0.8, "guided": 0.4}
    assert {row.n for row in rows} == {10}


def clouds(count, distance, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    return rng.normal(labels[:, None] * np.array([distance, 0, 0]), 1, (count, 3)), labels


def test_a_probe_finds_a_plane_and_nothing_where_there_is_none(tmp_path):
    train, labels = clouds(2000, 2.0, 0)
    val, val_labels = clouds(1000, 2.0, 1)
    test, test_labels = clouds(4000, 2.0, 2)
    # Whatever the features' scale and place: they are standardised.
    shift, scale = np.array([1e3, 0, -5]), np.array([1e-3, 1, 50])
    moved = (train * scale + shift, labels, val * scale + shift, val_labels, 2)
    probe = fit_probe(*moved, tmp_path / "a")
    accuracy = (probe.logits(test * scale + shift).argmax(1) == test_labels).mean()
    assert accuracy == pytest.approx(norm.cdf(1.0), abs=0.02)
    noise, labels = clouds(60, 0.0, 3)
    val, val_labels = clouds(60, 0.0, 4)
    assert fit_probe(noise, labels, val, val_labels, 2, tmp_path / "b").penalty >= 0.1


@pytest.mark.parametrize("classes", [2, 3])
def test_a_probe_is_the_logistic_regression_of_its_penalty(tmp_path, classes):
    rng = np.random.default_rng(0)
    labels = np.arange(600) % classes
    train = rng.normal(labels[:, None] * [0.7, 0, 0.3], 1, (600, 3))
    probe = fit_probe(train, labels, train[:300], labels[:300], classes, tmp_path)
    # Of two classes scikit-learn has one row of weights, which are twice as far apart.
    strength = 1 / (probe.penalty * 600) * (2 if classes == 2 else 1)
    standard = (train - train.mean(0)) / train.std(0)
    peer = LogisticRegression(C=strength, tol=1e-8, max_iter=5000).fit(standard, labels)
    told = log_softmax(probe.logits(train).astype(float), axis=1)
    assert told == pytest.approx(peer.predict_log_proba(standard), abs=2e-3)


def test_a_fit_that_was_killed_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(linear, "ROWS", 64)  # several parts
    train, labels = clouds(300, 1.0, 0)
    whole = fit_probe(train, labels, train, labels, 2, tmp_path / "whole")
    plain, calls = linear.minimize, []

    def killed(*words, **more):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(*words, **more)

    monkeypatch.setattr(linear, "minimize", killed)
    with pytest.raises(KeyboardInterrupt):
        fit_probe(train, labels, train, labels, 2, tmp_path / "killed")
    again = fit_probe(train, labels, train, labels, 2, tmp_path / "killed")
    assert len(calls) == 4 + len(linear.PENALTIES) - 3
    assert again.logits(train).tobytes() == whole.logits(train).tobytes()


def test_a_probe_holds_no_copy_of_its_features_in_memory(tmp_path):
    rng, shape = np.random.default_rng(0), (60_000, 64)
    labels = np.arange(shape[0]) % 2
    path = tmp_path / "features.raw"
    path.write_bytes(rng.normal(labels[:, None], 3, shape).astype(np.float16).tobytes())
    features = np.memmap(path, np.float16, "r", shape=shape)
    tracemalloc.start()
    fit_probe(features, labels, features[:500], labels[:500], 2, tmp_path / "probe")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 60_000 * 64 * 4  # of float32; the parts do not grow with the number of images


def test_a_constant_feature_does_no_harm(tmp_path):
    train, labels = clouds(200, 2.0, 0)
    train[:, 1] = 7
    assert np.isfinite(fit_probe(train, labels, train, labels, 2, tmp_path).logits(train)).all()


def store(path, keys, values):
    columns = {"key": keys, "features": pa.FixedSizeListArray.from_arrays(values.ravel(), 4)}
    pq.write_table(pa.table(columns), path)


def test_probe_of_features_by_key(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train_linear_probe.py"])
    rng, words = np.random.default_rng(0), []
    for split, count in [("train", 40), ("val", 20), ("test", 30)]:
        sources, files = [], []
        for name, place in [("real", 0.0), ("gen", 3.0)]:
            folder = tmp_path / split / name
            with ShardWriter(folder / "00000.tar", "png") as writer:
                for i in range(count):
                    image = np.zeros((8, 8, 3), np.uint8)
                    writer.add(Sample(f"{i:03d}", 0, "all"), image)
            gather([folder / "00000.tar"], folder / "manifest.parquet")
            sources.append((name, Manifest(folder / "manifest.parquet")))
            keys = [f"{i:03d}" for i in rng.permutation(count)]
            values = rng.normal(place, 1, (count, 4)).astype(np.float32)
            store(folder / "features.parquet", keys, values)
            files.append(folder / "features.parquet")
        path = tmp_path / split / "manifest.parquet"
        write_manifest(path, *compare(sources, count, 0, path.parent))
        words += [f"--{split}", path]
        for file in files:
            words += [f"--{split}-features", file]
    out = tmp_path / "p.parquet"
    words += ["--name", "real+gen", "--predictions", out, "--log", tmp_path / "log"]
    words += ["--scratch", tmp_path / "scratch"]
    train_linear_probe.main(train_linear_probe.options().parse_args([str(w) for w in words]))
    found = Predictions(out)
    assert found.train_images == 80
    assert found.of("real+gen")["correct"].to_numpy().mean() > 0.95

    half = rng.normal(0, 1, (40, 4)).astype(np.float16)
    store(tmp_path / "train/gen/features.parquet", [f"{i:03d}" for i in range(40)], half)
    with pytest.raises(UserError, match="of 4 numbers in float16, and of real of 4 in float32"):
        train_linear_probe.main(train_linear_probe.options().parse_args([str(w) for w in words]))
    whole = half.astype(np.float32)
    store(tmp_path / "train/gen/features.parquet", [f"{i:03d}" for i in range(40)], whole)
    store(tmp_path / "test/gen/features.parquet", ["000"], np.zeros((1, 4), np.float32))
    with pytest.raises(UserError, match=r"test/gen: no features of image 0\d\d, which"):
        train_linear_probe.main(train_linear_probe.options().parse_args([str(w) for w in words]))


def row(value, low, high, *sources, metric="top1_accuracy", architecture="net", **more):
    return Row(
        "distinguish", metric, value, 100, low, high, train_source=sources[0],
        test_source="+".join(sources[1:]), view="rgb", architecture=architecture,
        settings=settings_of(*sources) | more,
    )  # fmt: skip


def page_of(*controls):
    rows = [row(0.9, 0.8, 0.95, "real", "gen"), *controls]
    rows += [
        row(0.1, 0, 0.2, *r.settings["distributions"], metric=BOUND, **r.settings) for r in rows
    ]
    return distinguished(rows)


def test_controls_off_chance_are_flagged():
    fair = page_of(row(0.52, 0.45, 0.6, "real", "real"))
    assert not fair.alarm
    assert "All 1 controls" in fair.controls
    foul = page_of(row(0.7, 0.6, 0.8, "real", "real"))
    assert foul.alarm
    assert "1 of 1 controls have chance outside" in foul.controls
    assert [line.off for line in foul.accuracy.lines] == [[False], [True]]
    assert page_of().alarm  # nothing says that the test is fair


def test_a_control_counts_with_the_most_seeds_that_it_has():
    main = row(0.7, 0.6, 0.8, "real", "real", seeds=3)
    end = row(0.52, 0.45, 0.6, "real", "real", seeds=1, axis="samples")
    for rows in ([main, end], [end, main]):
        assert "1 of 1 controls have chance outside" in page_of(*rows).controls


def test_the_headline_claims_no_more_than_accuracy_says():
    # Half right of four sources may be two of them told from the others.
    several = row(0.5, 0.45, 0.55, "real", "a", "b", "c")
    one = row(0.5, 0.45, 0.55, "real", "d")

    def headline(*rows):
        bits = [row(0.1, 0, 0.2, *r.settings["distributions"], metric=BOUND) for r in rows]
        return distinguished([*rows, *bits]).headline

    assert headline(several).startswith("Yes: in the comparison, sources were told apart better")
    assert headline(several, one).startswith("In part: in 1 of 2 comparisons, sources were")
    assert headline(one) == "No: nothing was told apart beyond chance."


def test_one_in_twenty_controls_may_be_off_chance():
    fair = [row(0.5, 0.4, 0.6, "real", "real", architecture=f"n{i}", order=i) for i in range(19)]
    found = page_of(*fair, row(0.7, 0.6, 0.8, "real", "real"))
    assert "1 of 20 controls" in found.controls
    assert not found.alarm


def test_quizzes_are_named_with_who_answered_them():
    quizzes = [{"name": f"real+{n}", "page": f"{n}.html", "answers": f"in/{n}"} for n in "ab"]
    people = row(19, None, None, "real", "b", metric="human_participants", architecture="people")
    rows = [row(0.9, 0.8, 0.95, "real", "a"), row(0.1, 0, 0.2, "real", "a", metric=BOUND), people]
    told = distinguished(rows, quizzes).quizzes
    assert [(one.label, one.page, one.answers, one.participants) for one in told] == [
        ("real | a", "a.html", "in/a", 0),
        ("real | b", "b.html", "in/b", 19),
    ]


def test_images_that_come_again_are_told():
    def leak(metric, value, **settings):
        return Row("leaks", metric, value, 100, None, None, train_source="real",
                   test_source="gen", view="rgb", settings=settings)  # fmt: skip

    files = {name: {"png": 1.0} for name in ("real", "gen")}
    rows = [row(0.9, 0.8, 0.95, "real", "gen"), row(0.1, 0, 0.2, "real", "gen", metric=BOUND)]
    rows += [leak("file_mismatch", 0.0, leak=False, files=files)]
    rows += [leak("share_seen_in_training", 0.25), leak("share_of_several_sources", 0.0)]
    (found,) = distinguished(rows).leaks
    assert found.again == ["25\N{NO-BREAK SPACE}% of the test images were trained on, too"]


def test_settings_survive_the_table():
    assert json.loads(json.dumps(settings_of("real", "a", "b")))["chance"] == 1 / 3
