"""Study D in the report: tables, verdicts and figures of rows whose answer is known."""

import math

import pytest
from made_up_casd import rows_of, study, told

from synthgap.errors import UserError
from synthgap.figures import casd_by_size, casd_classes
from synthgap.figures.casd import FRECHET, Model, designs, numbers, shares
from synthgap.figures.matplotlib_style import svg
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


def test_figures_show_each_model_once_and_the_same_each_time():
    table = to_table(study())
    for figure, lines in ((casd_by_size, ("dm", "sda edm", "casd stylegan")),
                          (casd_classes, ("mismatch CASD + edm 100", "not real"))):  # fmt: skip
        drawn = svg(figure.draw(table))
        for line in lines:
            assert f'id="{line}"' in drawn
        assert drawn == svg(figure.draw(table))
        rows = figure.numbers(table)
        assert len(to_table(rows)) == len(rows) > 0
    assert {row.metric for row in casd_by_size.numbers(table)} == {"fid_n400"}
    assert {row.value for row in casd_by_size.numbers(table)}.isdisjoint({99.0})


def test_numbers_of_synthetic_images_are_across_where_only_these_vary():
    rows = rows_of(told("dm", 100), 10.0)
    for m in (100, 400, 1000):
        rows += rows_of(told("casd", 100, m, "edm"), 9.0 - m / 500)
    figure = casd_by_size.draw(to_table(rows))
    assert figure.axes[0].get_xlabel() == "Synthetic images"
    assert 'id="DM"' in svg(figure)


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


@pytest.mark.parametrize("figure", [casd_by_size, casd_classes])
def test_intervals_lie_within_the_axes(figure):
    table = to_table(study())
    drawn = figure.draw(table)
    low, high = (min(a.get_ylim()[0] for a in drawn.axes), max(a.get_ylim()[1] for a in drawn.axes))
    shown = figure.numbers(table)
    assert low <= min(row.ci_low for row in shown)
    assert high >= max(row.ci_high for row in shown)
