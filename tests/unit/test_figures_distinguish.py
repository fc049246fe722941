"""Figures of study C: what the table has is drawn, and none of it lies outside."""

import dataclasses

import numpy as np
import pytest
from made_up_metrics import made_up_rows, told_apart

from synthgap.errors import UserError
from synthgap.figures import (
    distinguish,
    distinguish_by_samples,
    distinguish_by_view,
    semi_supervised,
)
from synthgap.metrics.table import Row, to_table

VIEWS = {
    "rgb": {},
    "crop-8": {"kind": "center_crop", "size": 8},
    "crop-16": {"kind": "center_crop", "size": 16},
    "low": {"kind": "low_pass", "half_width": 3},
}


def row(value: float, half: float, *sources: str, view: str = "rgb", **settings) -> Row:
    told = told_apart(*sources, axis=settings.pop("axis", "main")) | settings
    return Row(
        "distinguish", "top1_accuracy", value, 200, value - half, value + half,
        train_source=sources[0], test_source="+".join(sources[1:]), view=view,
        architecture="resnet", encoder=None, seed=None, settings=told,
    )  # fmt: skip


@pytest.fixture
def table():
    rng, rows = np.random.default_rng(0), []
    for sources, level in ((("real", "gen"), 0.9), (("real", "real"), 0.46)):
        for view, options in VIEWS.items():
            value = level + 0.02 * rng.random()
            rows.append(row(value, 0.06, *sources, view=view, axis="views", view_options=options))
        for images in (10, 100):
            value = level + 0.02 * rng.random()
            settings = {"axis": "samples", "train_images": 2 * images}
            rows.append(row(value, 0.06, *sources, **settings))
        rows.append(row(level, 0.06, *sources))
    return rows


@pytest.mark.parametrize("module", [distinguish_by_view, distinguish_by_samples])
def test_intervals_lie_within_the_axes(table, module):
    figure = module.draw(to_table(table))
    shown = module.numbers(to_table(table))
    drawn = [axes for axes in figure.axes if axes.get_visible()]
    for axes in drawn:
        low, high = axes.get_ylim()
        assert low <= min(row.ci_low for row in shown)
        assert high >= max(row.ci_high for row in shown)


@pytest.mark.parametrize("module", [distinguish_by_view, distinguish_by_samples])
def test_each_classifier_has_panels_of_its_own(table, module):
    lower = [dataclasses.replace(r, architecture="vit", value=r.value - 0.1, ci_low=r.ci_low - 0.1,
                                 ci_high=r.ci_high - 0.1) for r in table]  # fmt: skip

    def lines(rows):
        drawn = [axes for axes in module.draw(to_table(rows)).axes if axes.get_visible()]
        return [np.asarray(axes.containers[0].lines[0].get_ydata(), float) for axes in drawn]

    alone, both = lines(table), lines([*table, *lower])
    assert len(both) == 2 * len(alone)
    for first, second, again in zip(alone, both[len(alone) :], both, strict=False):
        np.testing.assert_allclose(again, first)
        np.testing.assert_allclose(second, first - 0.1)
    assert {r.architecture for r in module.numbers(to_table([*table, *lower]))} == {"resnet", "vit"}


def test_views_are_drawn_by_kind_in_their_order(table):
    figure = distinguish_by_view.draw(to_table(table))
    crops, low = figure.axes
    assert [label.get_text() for label in crops.get_xticklabels()] == ["8", "16"]
    line = crops.containers[0].lines[0]
    expected = {r.view: r.value for r in table if r.settings["comparison"] == "real+gen"
                and r.settings["axis"] == "views"}  # fmt: skip
    assert line.get_ydata().tolist() == [expected["crop-8"], expected["crop-16"]]
    assert low.get_title("left") == "Low frequencies alone"


def test_sources_and_controls_have_a_row_each(table):
    axes = distinguish.draw(to_table(table)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "real | gen",
        "real against itself (control)",
    ]


def test_nothing_to_draw_is_told():
    for module in (distinguish_by_view, distinguish_by_samples):
        with pytest.raises(UserError, match="no top1_accuracy of the study distinguish"):
            module.draw(to_table(made_up_rows()))


def test_few_labels_are_drawn_apart_from_all():
    rows = made_up_rows()
    with pytest.raises(UserError, match="no rows of the study semi_supervised"):
        semi_supervised.draw(to_table(rows))
    chosen = [r for r in rows if (r.study, r.test_source) == ("transfer", "real")]
    moved = []
    for study, less in (("mixing", 0.0), ("semi_supervised", 0.2)):
        for one in chosen:
            if one.metric == "top1_accuracy" and one.settings["probe"] == "rgb":
                if one.train_source == "real":
                    continue
                for ratio in (0.0, 0.5):
                    settings = one.settings | {"mixing": "augment", "synthetic_ratio": ratio}
                    value = one.value - less - ratio / 10
                    changes = {"study": study, "settings": settings, "value": value}
                    moved.append(dataclasses.replace(one, **changes, ci_low=None, ci_high=None))
    found = semi_supervised.numbers(to_table(rows + moved))
    assert {row.study for row in found} == {"semi_supervised"}
    assert len(found) == len(moved) / 2
    assert len(semi_supervised.draw(to_table(rows + moved)).axes) == 2
