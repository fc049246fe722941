"""Study D in the report: tables, verdicts and figures of rows whose answer is known."""

import math

import charts
import pytest
from made_up_casd import rows_of, study, told

from synthgap.errors import UserError
from synthgap.figures import casd_by_size, casd_classes, style
from synthgap.figures.casd import FRECHET, Model, designs, numbers, shares
from synthgap.metrics.table import Row, to_table
from synthgap.report.casd import casd, cases_of, principles_of
from synthgap.report.render import render

CONTEXT = {"config_yaml": "", "versions": {}, "commands": []}


def answers(rows, arm="casd"):
    cases = [case for d in designs(rows) for case in cases_of(d, numbers(rows, d))]
    return {one.title: one.answer for one in principles_of(arm, cases)}


def test_principles_are_put_to_the_numbers():
    assert answers(study()) == {
        "No harm": "holds",
        "No bias": "holds",
        "Positive utility": "not distinguishable",  # the mismatch: 7.9 beside 8.0
        "Broad adaptability": "not distinguishable",
    }
    assert answers(study(), "sda") == {
        "No harm": "does not hold",
        "No bias": "does not hold",
        "Positive utility": "does not hold",
        "Broad adaptability": "does not hold",
    }
    sizes = [row for row in study() if "mismatch" not in row.settings["casd"]["designs"]]
    assert answers(sizes) == {
        "No harm": "holds",
        "Positive utility": "holds",
        "Broad adaptability": "holds",
    }
    one = [row for row in sizes if row.settings["casd"]["synthetic_source"] != "edm"]
    assert answers(one)["Broad adaptability"] == "not tested"
    assert principles_of("casd", []) == []


@pytest.mark.parametrize(
    ("frechet", "half", "expected"),
    [
        (5.0, 0.5, "better"),
        (9.4, 0.5, "not distinguishable"),  # 9.4 + 0.5 > 10 - 0.5, and squared they overlap
        (11.0, 0.5, "worse"),
        (5.0, 9.0, "not distinguishable"),
    ],
)
def test_a_model_is_better_where_the_interval_lies_clear_of_dm(frechet, half, expected):
    rows = rows_of(told("dm", 100), 10.0) + rows_of(told("casd", 100, 9, "edm"), frechet, half)
    [case] = cases_of("sizes", numbers(rows, "sizes"))
    assert case.verdict == expected
    assert case.frechet.value == pytest.approx(frechet - 10)
    assert case.frechet.high - case.frechet.value == pytest.approx(math.hypot(half, 0.5))


def test_tables_are_in_the_order_of_arms_with_the_studys_own_distribution():
    section = casd(study())
    assert section is not None
    assert [table.name for table in section.tables] == ["sizes", "mismatch"]
    sizes, mismatch = section.tables
    assert [(line.arm, line.images) for line in sizes.lines[:4]] == [
        ("dm", "100"), ("dm", "400"), ("sda", "100"), ("sda", "100"),
    ]  # fmt: skip
    assert [title for title, _ in sizes.columns] == [
        "Fréchet distance ↓", "Recall ↑", "Copies, by SSIM ↓",
    ]  # fmt: skip
    first = sizes.lines[0].cells[0]
    assert (first.value, first.limits) == ("10.00", "9.50 to 10.50")
    assert sizes.lines[0].verdict is None
    assert {line.verdict for line in sizes.lines if line.arm == "casd"} == {"better"}
    assert mismatch.columns[-1][0] == "Of other classes than the real ones ↓"
    assert mismatch.note == "Real images of the classes 0 to 1. Synthetic ones of 1 to 2."
    assert casd([]) is None


def test_real_test_images_are_the_first_line_where_they_were_measured():
    settings = {"distribution": "inception-c0to1", "split": "train"}
    every = {"study": "transfer", "train_source": "real", "test_source": "real", "n": 90}
    real = [
        Row(metric="fid_n90", value=0.4, ci_low=0.1, ci_high=0.7, settings=settings, **every),
        Row(metric="density_k5_euclidean", value=1.0, settings=settings, **every),
        Row(metric="recall_k5_euclidean", value=0.9, settings={"distribution": "other"}, **every),
    ]
    sizes, mismatch = casd(study() + real).tables
    assert sizes.lines[0].arm == "dm"
    first = mismatch.lines[0]
    assert (first.title, first.images, first.verdict) == ("real test images", "", None)
    assert [cell and cell.value for cell in first.cells] == ["0.40", None, None, None]


def test_several_trainings_are_one_model_with_an_interval_over_them():
    rows = []
    for seed, value in enumerate((10.0, 11.0, 12.0)):
        rows += rows_of(told("dm", 100, training_seed=seed), value)
    [(model, own)] = numbers(rows, "sizes").items()
    assert model == Model("dm", 100, None, 0, None, None)
    interval = own[FRECHET].interval
    assert interval.value == pytest.approx(11)
    assert interval.high - 11 == pytest.approx(4.303 / 3**0.5, rel=1e-3)  # Student, 2 degrees


def test_shares_of_classes_are_by_class_in_their_order():
    found = shares(study(), "mismatch")
    assert [model.arm for model in found] == ["dm", "sda", "casd"]
    assert list(next(iter(found.values()))) == ["plane", "car", "bird"]


FIGURES = [casd_by_size, casd_classes]


@pytest.mark.parametrize("figure", FIGURES)
def test_figures_are_the_same_each_time_and_keep_the_conventions(figure, capfd):
    table = to_table(study())
    chart = figure.draw(table)
    assert style.svg(chart) == style.svg(figure.draw(table))
    assert charts.warnings_of(chart, capfd) == ""
    charts.check_conventions(chart)
    rows = figure.numbers(table)
    assert len(to_table(rows)) == len(rows) > 0


def test_sizes_are_drawn_a_line_for_each_arm_and_source():
    rows = study()
    chart = casd_by_size.draw(to_table(rows))
    assert charts.legend(chart) == [
        "DM", "SDA + edm", "SDA + stylegan", "CASD + edm", "CASD + stylegan",
    ]  # fmt: skip
    sizes, mismatch = charts.panels(chart)
    assert (sizes.title, mismatch.title) == ("sizes", "mismatch")
    lines = sizes.lines("series")
    for model, own in numbers(rows, "sizes").items():
        assert lines[model.title][model.images] == own[FRECHET].interval.value
    assert sum(map(len, lines.values())) == 10
    assert sizes.domain("y")[0] == 0
    axis = sizes.layers("point")[0]["encoding"]["x"]
    assert axis["scale"]["type"] == "log"
    assert axis["axis"]["values"] == [100, 400]
    assert set(mismatch.lines("series")) == {"DM", "SDA + edm", "CASD + edm"}
    shown = casd_by_size.numbers(to_table(rows))
    assert {row.metric for row in shown} == {"fid_n400"}
    assert {row.value for row in shown}.isdisjoint({99.0})


def test_lines_of_other_numbers_of_synthetic_images_are_told_apart():
    rows = []
    for n in (100, 400):
        rows += rows_of(told("dm", n), 10.0)
        for m in (100, 1000, 5000):
            rows += rows_of(told("casd", n, m, "edm"), 9.0 - m / 1000)
    chart = casd_by_size.draw(to_table(rows))
    names = charts.legend(chart)
    assert names[1:] == [f"CASD + edm, {m} of them" for m in ("100", "1,000", "5,000")]
    (panel,) = charts.panels(chart)
    (layer,) = panel.layers("point")
    strokes, fills = (layer["encoding"][name]["scale"]["range"] for name in ("stroke", "fill"))
    light = [sum(bytes.fromhex(colour[1:])) for colour in strokes[1:]]
    assert light == sorted(light, reverse=True)
    assert [fill == style.PAPER for fill in fills] == [False, True, False, False]
    # None of the lines, which are moved apart, leaves the panel.
    for x, _ in charts.drawn_points(chart):
        assert 0 <= x <= panel.told["width"]


def test_numbers_of_synthetic_images_are_across_where_only_these_vary():
    rows = rows_of(told("dm", 100), 10.0)
    for m in (100, 400, 1000):
        rows += rows_of(told("casd", 100, m, "edm"), 9.0 - m / 500)
    (panel,) = charts.panels(casd_by_size.draw(to_table(rows)))
    axis = panel.layers("point")[0]["encoding"]["x"]
    assert axis["title"] == "Synthetic images"
    assert "type" not in axis["scale"]
    assert panel.lines("series") == {
        "DM": {0: 10.0},
        "CASD + edm": {m: 9.0 - m / 500 for m in (100, 400, 1000)},
    }
    # What real images alone come to is a line through the panel, with its interval.
    (band,) = panel.rows(panel.layers("rect")[0])
    assert (band["y"], band["y_low"], band["y_high"]) == (10.0, 9.5, 10.5)
    assert panel.rows(panel.layers("rule")[0]) == [band]


def test_shares_of_classes_are_drawn_with_the_ground_of_others():
    rows = study()
    chart = casd_classes.draw(to_table(rows))
    (panel,) = charts.panels(chart)
    assert panel.title == "mismatch"
    assert panel.domain("x") == ("plane", "car", "bird")
    assert charts.legend(chart) == [
        "DM, 100 real images", "SDA + edm, 100 real images", "CASD + edm, 100 real images",
    ]  # fmt: skip
    (layer,) = panel.layers("point")
    drawn = {(row["series"], row["x"]): row for row in panel.rows(layer)}
    for model, own in shares(rows, "mismatch").items():
        for name, number in own.items():
            row = drawn.pop((f"{model.title}, 100 real images", name))
            assert (row["y"], row["y_low"], row["y_high"]) == number.interval
    assert not drawn
    assert [row["x"] for row in panel.rows(panel.layers("rect")[0])] == ["bird"]
    (even,) = panel.rows(panel.layers("rule")[0])
    assert even["y"] == 1 / 2
    # Models stand side by side, in the same order in each class.
    assert layer["encoding"]["xOffset"]["scale"]["domain"] == charts.legend(chart)
    places = [x for x, _ in charts.drawn_points(chart)]
    assert len(set(places)) == 9
    # The ground is as wide as the class's room.
    third = panel.told["width"] / 3
    assert [sorted(x // third for x in places).count(n) for n in range(3)] == [3, 3, 3]


def test_figures_without_rows_say_so():
    with pytest.raises(UserError, match="no Fréchet distances of the study casd"):
        casd_by_size.draw(to_table([]))
    with pytest.raises(UserError, match="no shares of classes"):
        casd_classes.draw(to_table([]))


def test_the_page_has_the_section_and_needs_no_accuracy():
    page = render(to_table(study()), {}, [], CONTEXT)
    assert "Do synthetic images help a diffusion model?" in page
    assert "Told where images come from, no model was made worse by synthetic ones." in page
    assert page.count("not distinguishable") >= 3
    assert "worse than DM in 3 of 5 cases: 100 real images and 1,000 of stylegan (sizes)" in page


def test_models_of_each_design_stand_around_its_classes_names():
    other = {"designs": {"other": 2}, "classes": [0], "synthetic_classes": [1]}
    rows = study() + rows_of(told("dm", 400, **other), 7.0, shares=[0.9, 0.1])
    first, second = charts.panels(chart := casd_classes.draw(to_table(rows)))
    assert [panel.domain("x") for panel in (first, second)] == [
        ("plane", "car", "bird"), ("plane", "car"),
    ]  # fmt: skip
    places = [x for x, _ in charts.drawn_points(chart)]
    # The second of three models, and one alone, stand in the middle.
    thirds, halves = ([n * first.told["width"] / 2 / k for n in range(1, 2 * k, 2)] for k in (3, 2))
    assert sorted(places[:9])[1::3] == pytest.approx(thirds)
    assert sorted(places[9:]) == pytest.approx(halves)


@pytest.mark.parametrize("figure", FIGURES)
def test_intervals_are_drawn_and_lie_within_the_panels(figure):
    shown = figure.numbers(to_table(study()))
    drawn = set()
    for panel in charts.panels(figure.draw(to_table(study()))):
        low, high = panel.domain("y")
        bars = next(x for x in panel.layers("rule") if "y2" in x["encoding"])
        for row in panel.rows(bars):
            assert low < row["y_low"] < row["y"] < row["y_high"] < high
            drawn.add((round(row["y_low"], 9), round(row["y_high"], 9)))
    assert drawn == {(round(row.ci_low, 9), round(row.ci_high, 9)) for row in shown}
