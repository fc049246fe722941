"""Figures of study C: what the table has is drawn, and none of it lies outside."""

import dataclasses

import charts
import numpy as np
import pytest
from made_up_metrics import made_up_rows, told_apart

from synthgap.errors import UserError
from synthgap.figures import (
    distinguish,
    distinguish_by_samples,
    distinguish_by_view,
    semi_supervised,
    style,
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


MODULES = [distinguish_by_view, distinguish_by_samples]


def also_by(rows, classifier, less):
    """The rows again, of another classifier that does a little worse."""
    return [
        dataclasses.replace(
            r,
            architecture=classifier,
            value=r.value - less,
            ci_low=r.ci_low - less,
            ci_high=r.ci_high - less,
        )
        for r in rows
    ]


@pytest.mark.parametrize("module", MODULES)
def test_intervals_are_drawn_and_lie_within_the_panels(table, module):
    shown = module.numbers(to_table(table))
    views = [r for r in shown if r.settings["axis"] == "samples" or r.settings["view_options"]]
    drawn = []
    for panel in charts.panels(module.draw(to_table(table))):
        low, high = panel.domain("y")
        assert low < min(0.5, *(row.ci_low for row in shown))
        assert high > max(row.ci_high for row in shown)
        (layer,) = panel.layers("point")
        (bars,) = (rule for rule in panel.layers("rule") if "y2" in rule["encoding"])
        assert panel.rows(bars) == panel.rows(layer)
        assert [bars["encoding"][end]["field"] for end in ("y", "y2")] == ["y_low", "y_high"]
        drawn += [(row["y"], row["y_low"], row["y_high"]) for row in panel.rows(layer)]
    assert sorted(drawn) == sorted((r.value, r.ci_low, r.ci_high) for r in views)


@pytest.mark.parametrize("module", MODULES)
def test_each_classifier_has_panels_of_its_own(table, module):
    def lines(rows):
        return [
            list(panel.lines("series")["real | gen"].values())
            for panel in charts.panels(module.draw(to_table(rows)))
        ]

    lower = also_by(table, "vit", 0.1)
    alone, both = lines(table), lines([*table, *lower])
    assert len(both) == 2 * len(alone)
    for first, second, again in zip(alone, both[len(alone) :], both, strict=False):
        np.testing.assert_allclose(again, first)
        np.testing.assert_allclose(second, np.array(first) - 0.1)
    assert {r.architecture for r in module.numbers(to_table([*table, *lower]))} == {"resnet", "vit"}
    titles = [panel.title for panel in charts.panels(module.draw(to_table([*table, *lower])))]
    assert titles[-1] in ("vit", ["Low frequencies alone", "vit"])


def test_views_are_drawn_by_kind_in_their_order(table):
    crops, low = charts.panels(distinguish_by_view.draw(to_table(table)))
    assert crops.domain("x") == ("8", "16")
    expected = {r.view: r.value for r in table if r.settings["comparison"] == "real+gen"
                and r.settings["axis"] == "views"}  # fmt: skip
    line = crops.lines("series")["real | gen"]
    assert line == {"8": expected["crop-8"], "16": expected["crop-16"]}
    # By their text, 16 would come before 8.
    assert crops.layers("line")[0]["encoding"]["order"]["field"] == "place"
    assert [row["place"] for row in crops.rows(crops.layers("line")[0])] == [0, 1, 0, 1]
    assert (crops.title, low.title) == ("Centre crops", "Low frequencies alone")


def test_whole_images_and_chance_are_lines_in_each_panel(table):
    expected = {r.settings["comparison"]: r.value for r in table
                if r.settings["axis"] == "views" and r.view == "rgb"}  # fmt: skip
    for panel in charts.panels(distinguish_by_view.draw(to_table(table))):
        chance, _, whole = panel.layers("rule")
        assert [row["y"] for row in panel.rows(chance)] == [0.5]
        found = {row["series"]: row["y"] for row in panel.rows(whole)}
        assert found == {
            "real | gen": expected["real+gen"],
            "real against itself (control)": expected["real+real"],
        }


def test_views_with_the_same_label_keep_places_of_their_own(table):
    again = [
        dataclasses.replace(r, view=f"{r.view}-again", value=r.value / 2, ci_low=None, ci_high=None)
        for r in table
        if r.view == "crop-8"
    ]
    crops, _ = charts.panels(distinguish_by_view.draw(to_table([*table, *again])))
    assert crops.domain("x") == ("crop-8", "crop-8-again", "crop-16")


def test_samples_are_drawn_by_their_number(table):
    (panel,) = charts.panels(distinguish_by_samples.draw(to_table(table)))
    axis = panel.layers("point")[0]["encoding"]["x"]
    assert axis["scale"]["type"] == "log"
    assert axis["axis"]["values"] == [10, 100]
    for sources, name in (("real+gen", "real | gen"), ("real+real", None)):
        expected = {
            r.settings["train_images"] // 2: r.value
            for r in table
            if (r.settings["comparison"], r.settings["axis"]) == (sources, "samples")
        }
        assert panel.lines("series")[name or "real against itself (control)"] == expected


def test_sources_and_controls_have_a_row_each(table):
    (panel,) = charts.panels(distinguish.draw(to_table(table)))
    assert panel.domain("y") == ("real | gen", "real against itself (control)")


def test_classifiers_differ_in_colour_and_shape(table):
    names = ["resnet", "linear-clip", "people", "headers", *(f"net-{i}" for i in range(9))]
    rows = [r for name in names for r in also_by(table, name, 0)]
    chart = distinguish.draw(to_table(rows))
    (panel,) = charts.panels(chart)
    (layer,) = panel.layers("point")
    told = {name: layer["encoding"][name]["scale"] for name in ("stroke", "fill", "shape")}
    looks = list(zip(*(scale["range"] for scale in told.values()), strict=True))
    assert len(set(looks)) == len(looks) == len(names)
    legend = charts.legend(chart)
    assert legend == told["shape"]["domain"]
    assert legend[-3:] == ["linear probe of clip", "people", "file headers (control)"]
    assert [fill == style.PAPER for _, fill, _ in looks] == [
        name.startswith("linear") for name in legend
    ]
    assert layer["encoding"]["yOffset"]["field"] == "series"
    # In each row from the first at the top to the last.
    heights = [y for _, y in charts.drawn_points(chart)][: len(names)]
    assert heights == sorted(heights)
    assert len(set(heights)) == len(names)
    # The legend takes several lines.
    assert charts.read(chart)["config"]["legend"]["columns"] < len(names)


@pytest.mark.parametrize("module", [distinguish, *MODULES])
def test_specs_compile_and_keep_the_conventions(table, module, capfd):
    for rows in (table, [*table, *also_by(table, "vit", 0.1)]):
        chart = module.draw(to_table(rows))
        assert style.spec(chart) == style.spec(module.draw(to_table(rows[::-1])))
        assert style.svg(chart) == style.svg(module.draw(to_table(rows)))
        assert charts.warnings_of(chart, capfd) == ""
        charts.check_conventions(chart)
        assert charts.legend(chart)[-1] == (
            "real against itself (control)" if module is not distinguish else rows[-1].architecture
        )


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
    assert len(charts.panels(semi_supervised.draw(to_table(rows + moved)))) == 2
