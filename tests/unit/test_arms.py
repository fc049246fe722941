"""Study B's arms: their numbers, differences with intervals, figures, and section of the page."""

import dataclasses

import charts
import numpy as np
import pytest
from scipy import stats

from synthgap.errors import UserError
from synthgap.figures import style
from synthgap.figures import text_to_image as figure
from synthgap.figures import text_to_image_by_step as curve
from synthgap.figures.arms import arms_of, baseline_of, columns, difference, welch
from synthgap.metrics.table import Row, to_table
from synthgap.report.render import render
from synthgap.report.text_to_image import text_to_image

METRICS = {"fid_n400": (50.0, 2.0), "recall_k5_euclidean": (0.6, 0.03)}
LEVELS = {"aio": 1.6, "ta": 1.0, "ta-cutmix": 0.99}
CONTEXT = {"config_yaml": "", "versions": {}, "commands": []}


def row(arm, metric, value, half, *, training=0, step=None, prompts="caption", **columns):
    settings = {
        "arm": arm, "arm_order": list(LEVELS).index(arm), "baseline": arm == "ta",
        "training": training, "on_curve": step is not None, "denoiser": "dit-i",
        "captions": "aio" if arm == "aio" else "caption",
        "augmentation": "CutMix all, p 0.5 above 400" if arm == "ta-cutmix" else "none",
        "training_step": step or 300, "training_steps": 300, "distribution": "resnet",
        "generator": arm, "prompts": prompts, "x": 1.0, "x_name": "guidance scale",
    }  # fmt: skip
    name = f"{arm}~{training}" if training else f"{arm}@{step}" if step else arm
    told = {"study": "text-to-image", "train_source": "real", "view": "rgb", "encoder": "resnet"}
    return Row(
        metric=metric, value=value, ci_low=value - half, ci_high=value + half, n=400,
        test_source=f"{name}-{prompts}", settings=settings, **(told | columns),
    )  # fmt: skip


def table(trainings=3, seed=0):
    """Rows whose trainings differ by a little; AIO is worse, and CutMix no different."""
    rng, rows = np.random.default_rng(seed), []
    for metric, (value, half) in METRICS.items():
        for arm, level in LEVELS.items():
            factor = level if metric.startswith("fid") else 1 / level
            for training in range(trainings):
                noise = 1 + 0.03 * rng.standard_normal()
                rows.append(row(arm, metric, value * factor * noise, half, training=training))
        for step, worse in ((100, 1.5), (200, 0.8)):
            factor = worse if metric.startswith("fid") else 1 / worse
            rows.append(row("ta", metric, value * factor, half, step=step))
    real = {"test_source": "real", "settings": {"distribution": "resnet", "split": "test"}}
    rows.append(dataclasses.replace(rows[0], metric="fid_n400", value=9.0, ci_low=8, ci_high=10,
                                    **real))  # fmt: skip
    return rows


def test_numbers_are_means_over_trainings_with_their_own_intervals():
    fid, recall = columns(table())[::-1]
    assert (fid.metric, recall.metric) == ("fid_n400", "recall_k5_euclidean")
    assert (fid.better, recall.better) == (-1, 1)
    for arm, number in fid.by_arm.items():
        values = [row.value for row in number.rows]
        assert number.trainings == 3
        t = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        np.testing.assert_allclose(number.interval, (np.mean(values), *t))
        assert arm.learnt_from == {
            "aio": "aio", "ta": "caption", "ta-cutmix": "caption, CutMix all, p 0.5 above 400",
        }[arm.name]  # fmt: skip
    assert fid.real.value == 9.0


def test_differences_over_trainings_are_welchs():
    rng = np.random.default_rng(1)
    one, other = rng.normal(5, 1, 4), rng.normal(3, 2, 3)
    found = welch(one, other)
    expected = stats.ttest_ind(one, other, equal_var=False)
    low, high = expected.confidence_interval(0.95)
    np.testing.assert_allclose(found, (one.mean() - other.mean(), low, high))
    assert (found.low > 0 or found.high < 0) == (expected.pvalue < 0.05)
    assert np.isnan(welch([1.0, 1.0], [2.0, 2.0]).low)


def test_differences_of_single_trainings_are_of_their_images():
    [fid] = [column for column in columns(table(trainings=1)) if column.metric == "fid_n400"]
    arms = {arm.name: arm for arm in fid.by_arm}
    found = difference(fid.by_arm[arms["aio"]], fid.by_arm[arms["ta"]])
    half = np.hypot(2.0, 2.0)
    np.testing.assert_allclose(
        (found.value - found.low, found.high - found.value), (half, half), atol=1e-9
    )


def test_arms_are_compared_with_the_baseline_of_their_kind():
    rows = table(1)
    rows += [row("aio", "fid_n400", 40.0, 1.0, prompts="aio")]
    cad = [
        dataclasses.replace(r, settings=r.settings | {"arm": f"cad-{r.settings['arm']}",
                                                      "denoiser": "cad-i"})
        for r in rows if "arm" in r.settings
    ]  # fmt: skip
    arms = arms_of(columns([*rows, *cad]))
    at = {(arm.name, arm.prompts): arm for arm in arms}
    assert baseline_of(at["ta", "caption"], arms) is None
    assert baseline_of(at["aio", "caption"], arms) == at["ta", "caption"]
    assert baseline_of(at["aio", "aio"], arms) == at["ta", "caption"]
    assert baseline_of(at["cad-aio", "aio"], arms) == at["cad-ta", "caption"]


def test_a_benchmarks_score_counts_for_all_prompts_of_a_model():
    rows = [r for r in table(1) if "arm" in r.settings]
    scores = [
        dataclasses.replace(
            r, metric="geneval_overall", value=0.5, ci_low=0.4, ci_high=0.6, encoder=None,
            test_source=f"{r.settings['arm']}-geneval", train_source=None,
            settings={k: v for k, v in r.settings.items()
                      if k not in ("prompts", "distribution", "x", "x_name")}
            | {"benchmark": "geneval"},
        )
        for r in rows if r.metric == "fid_n400" and not r.settings["on_curve"]
    ]  # fmt: skip
    [column] = [c for c in columns([*rows, *scores]) if c.metric == "geneval_overall"]
    assert {arm.label for arm in column.by_arm} == {f"{name}, caption" for name in LEVELS}


def test_the_section_tells_better_from_worse_and_from_neither():
    found = text_to_image(table())
    assert found.over_trainings
    aio, cutmix = found.findings
    assert aio.startswith("aio, caption (aio), beside ta, caption: worse in Recall (")
    assert "FID (+" in aio
    assert cutmix.endswith("not distinguishable in Recall and FID.")
    assert found.headline == (
        "Of 4 differences from the baseline 0 are for the better, 2 for the worse, and 2 cannot "
        "be told from none."
    )
    # Best after 200 steps, and worse at the end: by the images' intervals.
    assert [text.split(":")[1].split(" is best")[0].strip() for text in found.curves] == [
        "Recall", "FID",
    ]  # fmt: skip


def test_a_difference_without_an_interval_is_neither_better_nor_worse():
    rows = [
        dataclasses.replace(r, ci_low=None, ci_high=None) if r.metric == "fid_n400" else r
        for r in table(1)
        if not r.settings.get("on_curve")
    ]
    found = text_to_image(rows)
    aio = found.findings[0]
    assert "without an interval in FID (+" in aio
    assert aio.count("FID") == 1
    assert found.headline.startswith("Of 2 differences"), "those of recall"
    [recall, fid] = next(line for line in found.lines if line.arm.name == "aio").cells
    assert (recall.verdict, fid.verdict) == ("worse", None)
    page = render(to_table(rows), {}, [], CONTEXT)
    assert fid.difference in page


def test_the_page_of_this_study_alone():
    found = table()
    figures = {"text_to_image": "<svg/>", "text_to_image_by_step": "<svg/>"}
    page = render(to_table(found), figures, [], CONTEXT)
    assert "What do captions and augmentation make of text-to-image models?" in page
    assert "Each of them was trained\n3 times" in page
    assert "Before the end, by intervals of the images of one training." in page
    assert 'id="figure-text_to_image_by_step"' in page
    once = render(to_table(table(1)), {}, [], CONTEXT)
    assert "say nothing of what another training" in once


def test_the_figure_shows_all_numbers_with_their_intervals(capfd):
    rows = table()
    chart = figure.draw(to_table(rows))
    charts.check_conventions(chart)
    assert charts.warnings_of(chart, capfd) == ""
    drawn = charts.panels(chart)
    assert [panel.title for panel in drawn] == ["Recall ↑", "FID ↓"]
    for panel, column in zip(drawn, columns(rows), strict=True):
        for arm, number in column.by_arm.items():
            value, low, high = column.interval(number)
            trainings, means = panel.layers("point")
            (row,) = [row for row in panel.rows(means) if row["y"] == arm.label]
            assert (row["x"], row["x_low"], row["x_high"]) == (value, low, high)
            assert row["trainings"] == number.trainings == 3
            assert panel.intervals("x", by="y")[arm.label] == (low, high)
            single = [row["x"] for row in panel.rows(trainings) if row["y"] == arm.label]
            assert single == [row.value for row in number.rows]
            assert panel.domain("x")[0] < min(low, *single)
            assert panel.domain("x")[1] > max(high, *single)
        # The baseline's interval is a band.
        (band,) = panel.rows(panel.layers("rect")[0])
        assert band["y"] == "ta, caption"
        assert panel.domain("y") == ("aio, caption", "ta, caption", "ta-cutmix, caption")
    recall, fid = drawn
    (real,) = [row for layer in fid.layers("rule") for row in fid.rows(layer) if "name" in row]
    assert (real["x"], real["name"]) == (9.0, "other real images")
    axis = [p.layers("point")[-1]["encoding"]["y"]["axis"].get("labels") for p in (recall, fid)]
    assert axis == [None, False]


def test_the_curve_shows_all_numbers_with_their_intervals(capfd):
    rows = table()
    chart = curve.draw(to_table(rows))
    charts.check_conventions(chart)
    assert charts.warnings_of(chart, capfd) == ""
    assert style.svg(chart) == style.svg(curve.draw(to_table(rows)))
    assert charts.legend(chart) == ["ta, caption"]
    shown = curve.numbers(to_table(rows))
    assert {r.metric for r in shown} == set(METRICS)
    recall, fid = charts.panels(chart)
    assert (recall.title, fid.title) == ("Recall ↑", "FID ↓")
    for panel, column in zip((recall, fid), columns(rows), strict=True):
        points = {
            int(r.settings["training_step"]): r
            for r in shown
            if r.metric == column.metric and "arm" in r.settings
        }
        assert list(points) == [100, 200, 300]
        (line,) = panel.lines("series").values()
        assert line == {step: r.value for step, r in points.items()}
        ends = {step: (r.ci_low, r.ci_high) for step, r in points.items()}
        assert panel.intervals(by="x") == ends
        low, high = panel.domain("y")
        assert low < min(low for low, _ in ends.values())
        assert high > max(high for _, high in ends.values())
    # What real images reach is there, and within the panel.
    (real,) = [row for layer in fid.layers("rule") for row in fid.rows(layer) if "name" in row]
    assert (real["y"], real["name"]) == (9.0, "other real images")
    assert fid.domain("y")[0] < 9
    assert not [row for layer in recall.layers("rule") for row in recall.rows(layer)
                if "name" in row]  # fmt: skip
    # Metrics have units of their own: each panel is zoomed alone.
    zooms = [p["views"] for p in charts.read(chart)["params"] if p["name"].startswith("zoom")]
    assert [len(views) for views in zooms] == [1, 1]


@pytest.mark.parametrize("module", [figure, curve])
def test_nothing_to_draw_is_told(module):
    with pytest.raises(UserError, match="text-to-image"):
        module.draw(to_table([]))
