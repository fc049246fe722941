import dataclasses

import charts
import numpy as np
import pytest
from made_up_metrics import made_up_comparisons, made_up_rows, made_up_spectra

from synthgap.errors import UserError
from synthgap.figures import (
    data,
    density_coverage,
    distinguish,
    power_spectrum,
    style,
    transfer_asymmetry,
    transfer_by_generator,
    transfer_by_probe,
)
from synthgap.metrics.table import to_table

FIGURES = [
    transfer_by_generator,
    transfer_by_probe,
    density_coverage,
    transfer_asymmetry,
    distinguish,
]
CHARTS = FIGURES
PLAIN = made_up_rows()
ROWS = [*PLAIN, *made_up_comparisons(PLAIN)]
TABLE = to_table(ROWS)
NAMES = [f"flow-g{g}-{prompts}" for g in (1, 2, 4) for prompts in ("classname", "caption")]
MANY = [(f"generator-{i:02d}", 2022 + i / 5) for i in range(15)]
MANY_PLAIN = made_up_rows(MANY, "release date")
MANY_ROWS = [*MANY_PLAIN, *made_up_comparisons(MANY_PLAIN)]


def value(metric, train, test, study="transfer", probe=None):
    (found,) = [
        row.value
        for row in ROWS
        if (row.study, row.metric, row.train_source, row.test_source)
        == (study, metric, train, test)
        and (probe is None or row.settings.get("probe") == probe)
    ]
    return found


def point(axes, gid):
    (line,) = [line for line in axes.lines if line.get_gid() == gid]
    return line.get_xdata()[0], line.get_ydata()[0]


def without(keep):
    return to_table([row for row in ROWS if keep(row)])


def test_transfer_by_generator_draws_the_table():
    chart = transfer_by_generator.draw(TABLE)
    (panel,) = charts.panels(chart)
    expected = {name: value("top1_accuracy", name, "real", probe="rgb") for name in NAMES}
    places = {name: (float(name.split("-")[1][1:]), y) for name, y in expected.items()}
    assert panel.points() == places
    for prompts, title in (("classname", "class-name prompts"), ("caption", "caption prompts")):
        line = panel.lines("series")[title]
        chosen = [place for name, place in places.items() if name.endswith(prompts)]
        assert list(line.items()) == sorted(chosen)
    low, high = panel.domain("y")
    real = value("top1_accuracy", "real", "real", probe="rgb")
    assert low < min(expected.values()) < max(expected.values()) < real < high
    (reference,) = panel.rows(panel.layers("rule")[0])
    assert reference["y"] == real
    assert panel.layers("rule")[0]["encoding"]["y"]["field"] == "y"
    (band,) = panel.rows(panel.layers("rect")[0])
    found = data.synth_to_real(ROWS)["real"]
    assert (band["y_low"], band["y_high"]) == (found.ci_low, found.ci_high)
    axis = panel.layers("point")[0]["encoding"]["x"]
    assert axis["title"] == "Guidance scale of the generator"
    assert axis["axis"]["values"] == [1, 2, 4]
    assert charts.legend(chart) == ["class-name prompts", "caption prompts"]


def test_intervals_end_at_the_limits():
    (panel,) = charts.panels(transfer_by_generator.draw(TABLE))
    found = data.synth_to_real(ROWS)
    assert panel.intervals() == {name: (found[name].ci_low, found[name].ci_high) for name in NAMES}


def test_series_are_moved_apart_and_their_bars_with_them():
    (panel,) = charts.panels(transfer_by_generator.draw(TABLE))
    rows = panel.rows(panel.layers("point")[-1])
    shifts = {row["series"]: row["shift"] for row in rows}
    assert shifts["caption prompts"] - shifts["class-name prompts"] > 3
    for layer in (*panel.layers("line"), panel.layers("rule")[-1], panel.layers("point")[-1]):
        assert layer["mark"]["xOffset"] == {"expr": "datum.shift || 0"}


def test_tooltips_tell_values_as_the_page_does():
    (panel,) = charts.panels(transfer_by_generator.draw(TABLE))
    layer = panel.layers("point")[-1]
    told = {tip["title"]: tip["field"] for tip in layer["encoding"]["tooltip"]}
    (row,) = [row for row in panel.rows(layer) if row["source"] == NAMES[0]]
    found = data.synth_to_real(ROWS)[NAMES[0]]
    assert row[told["Synth→Real top-1 accuracy"]] == (
        f"{100 * found.value:.1f}\N{NO-BREAK SPACE}% "
        f"[{100 * found.ci_low:.1f}, {100 * found.ci_high:.1f}]"
    )
    assert row[told["Source"]] == NAMES[0]
    assert row[told["n"]] == found.n
    assert row[told["Guidance scale of the generator"]] == "1"
    (panel,) = charts.panels(transfer_by_generator.draw(to_table(MANY_ROWS)))
    rows = panel.rows(panel.layers("point")[-1])
    assert {row["x_text"] for row in rows if row["label"] == "generator-05"} == {"2023-01-01"}


def test_transfer_by_probe_draws_the_table():
    chart = transfer_by_probe.draw(TABLE)
    left, right = charts.panels(chart)
    for panel, probes in ((left, ("structure", "texture")), (right, ("low", "high"))):
        (layer,) = panel.layers("point")
        rows = {(row["series"], row["source"]): row for row in panel.rows(layer)}
        assert len(rows) == len(probes) * len(NAMES)
        for name in NAMES:
            for probe in probes:
                row = rows[data.PROBES[probe], name]
                assert (row["x"], row["y"]) == (
                    value("accuracy_relative_to_real", name, "real", probe="rgb"),
                    value("accuracy_relative_to_real", name, "real", probe=probe),
                )
                assert row["y_low"] < row["y"] < row["y_high"]
                assert row["x_low"] < row["x"] < row["x_high"]
        assert panel.domain("x") == panel.domain("y")
        ends = panel.rows(panel.layers("line")[0])
        assert [(end["x"], end["y"]) for end in ends] == [(at, at) for at in panel.domain("x")]
    assert charts.legend(chart) == ["structure", "texture", "low frequencies", "high frequencies"]
    assert charts.legend(chart, "prompts") == ["class-name prompts", "caption prompts"]
    # Nothing by colour alone: of the probes in one panel, one is hollow.
    fills = left.layers("point")[0]["encoding"]["fill"]["scale"]["range"]
    assert [fill == style.PAPER for fill in fills] == [False, True, False, True]


def test_transfer_by_probe_draws_the_probes_there_are():
    chart = transfer_by_probe.draw(
        without(lambda r: r.settings.get("probe") not in ("low", "high"))
    )
    assert [panel.title for panel in charts.panels(chart)] == ["Structure and texture"]


def test_density_coverage_draws_the_table():
    chart = density_coverage.draw(TABLE)
    (panel,) = charts.panels(chart)
    points = panel.points()
    assert points.pop("real test images") == (
        value("density_k5_euclidean", "real", "real"),
        value("coverage_k5_euclidean", "real", "real"),
    )
    assert points == {
        name: (
            value("density_k5_euclidean", "real", name),
            value("coverage_k5_euclidean", "real", name),
        )
        for name in NAMES
    }
    for along, at in (("x", 0), ("y", 1)):
        for name, (low, high) in panel.intervals(along).items():
            middle = panel.points()[name][at]
            np.testing.assert_allclose((low, high), (middle - 0.03, middle + 0.03))
        assert len(panel.intervals(along)) == len(NAMES) + 1
    layer = panel.layers("point")[0]
    assert layer["encoding"]["color"]["field"] == "accuracy"
    for row in panel.rows(layer):
        assert row["accuracy"] == value("top1_accuracy", row["source"], "real", probe="rgb")
    assert charts.legend(chart)[-1] == "real test images"
    assert panel.labels() == ["flow-g1", "flow-g2", "flow-g4"]


def test_transfer_asymmetry_draws_the_table():
    chart = transfer_asymmetry.draw(TABLE)
    (panel,) = charts.panels(chart)
    assert panel.points() == {
        name: (
            value("top1_accuracy", "real", name),
            value("top1_accuracy", name, "real", probe="rgb"),
        )
        for name in NAMES
    }
    forth, back = data.real_to_synth(ROWS), data.synth_to_real(ROWS)
    for along, found in (("x", forth), ("y", back)):
        limits = {name: (found[name].ci_low, found[name].ci_high) for name in NAMES}
        assert panel.intervals(along) == limits
    # A square with its diagonal; a line joins the kinds of prompt of one generator.
    assert panel.domain("x") == panel.domain("y")
    assert panel.told["width"] == panel.told["height"]
    diagonal, pairs = (panel.rows(layer) for layer in panel.layers("line"))
    assert [(end["x"], end["y"]) for end in diagonal] == [(at, at) for at in panel.domain("x")]
    points = panel.points()
    joined = [(row["pair"], (row["x"], row["y"])) for row in pairs]
    assert joined == [(place // 2, points[name]) for place, name in enumerate(NAMES)]
    assert charts.legend(chart) == ["class-name prompts", "caption prompts"]
    assert panel.labels() == ["flow-g1", "flow-g2", "flow-g4"]


def test_distinguish_draws_the_table():
    chart = distinguish.draw(TABLE)
    (panel,) = charts.panels(chart)
    expected = {f"real | {name}": name for name in NAMES}
    expected["real against itself (control)"] = "real"
    order = sorted(expected, key=lambda label: (expected[label] == "real", label))
    assert list(panel.domain("y")) == order
    points = panel.points(by="y")
    assert set(points) == set(expected)
    (chance,) = (x for x in panel.layers("rule") if "y2" in x["encoding"])
    assert {row["y"]: row["x"] for row in panel.rows(chance)} == dict.fromkeys(expected, 0.5)
    found = {row.test_source: row for row in ROWS if row.study == "distinguish"}
    for label, name in expected.items():
        assert points[label][0] == value("top1_accuracy", "real", name, study="distinguish")
        row = found[name]
        assert panel.intervals("x", by="y")[label] == (row.ci_low, row.ci_high)
    assert charts.legend(chart) == ["resnet-tiny"]


def spectrum_of(rows, source, metric="radial_power_db"):
    found = {
        row.settings["frequency"]: row
        for row in rows
        if (row.metric, row.test_source) == (metric, source)
    }
    return np.array([found[k].value for k in sorted(found)])


def test_power_spectrum_draws_the_table():
    rows = made_up_spectra()
    chart = power_spectrum.draw(to_table([*ROWS, *rows]))
    left, right = charts.panels(chart)
    real = spectrum_of(rows, "real")
    power, less = left.lines(), right.lines()
    assert set(power) == set(less) == {*NAMES, "real images"}
    for name, line in power.items():
        expected = spectrum_of(rows, "real" if name == "real images" else name)
        for drawn, values in ((line, expected), (less[name], expected - real)):
            assert list(drawn) == list(range(1, 17))
            # Drawn to hundredths of a decibel.
            np.testing.assert_allclose(list(drawn.values()), values, atol=0.0051)
    (band,) = left.layers("area")
    spread = spectrum_of(rows, "real", "radial_power_db_sd")
    ends = [(row["y_low"], row["y_high"]) for row in left.rows(band)]
    np.testing.assert_allclose(ends, np.array([real - spread, real + spread]).T, atol=0.0051)
    # Half-widths of 0.2 on either side add in quadrature.
    (bands,) = right.layers("area")
    found = right.rows(bands)
    assert len(found) == 16 * len(NAMES)
    for row in found:
        middle = less[row["source"]][row["x"]]
        half = 0.2 * 2**0.5
        limits = (middle - half, middle + half)
        np.testing.assert_allclose((row["y_low"], row["y_high"]), limits, atol=0.0101)
    assert charts.legend(chart) == ["class-name prompts", "caption prompts", "real images"]
    assert charts.legend(chart, "label") == ["flow-g1", "flow-g2", "flow-g4"]
    assert charts.legend(chart, "band") == ["± 1 SD over images"]
    dashes = left.layers("line")[-1]["encoding"]["strokeDash"]["scale"]["range"]
    assert len({tuple(one) for one in dashes}) == 3


def test_power_spectrum_shows_the_frequencies_there_are():
    (left, _) = charts.panels(power_spectrum.draw(to_table([*ROWS, *made_up_spectra()])))
    encoding = left.layers("line")[0]["encoding"]["x"]
    assert left.domain("x") == (1, 16)
    assert encoding["scale"]["type"] == "log"
    assert encoding["axis"]["values"] == [1, 2, 5, 10]
    one = [row for row in made_up_spectra() if row.settings["frequency"] == 3]
    (left, _) = charts.panels(power_spectrum.draw(to_table([*ROWS, *one])))
    low, high = left.domain("x")
    assert low < 3 < high


def test_power_spectrum_of_many_generators_is_told_by_name_and_shade():
    spectra = made_up_spectra(MANY, "release date", frequencies=128)
    table = to_table([*made_up_rows(MANY, "release date"), *spectra])
    chart = power_spectrum.draw(table)
    left, *differences = charts.panels(chart)
    assert [panel.title for panel in differences] == ["Class-name prompts", "Caption prompts"]
    names = [name for name, _ in MANY]
    assert len(left.lines()) == 2 * len(MANY) + 1
    colours = set()
    for panel, prompts in zip(differences, ("classname", "caption"), strict=True):
        assert set(panel.lines()) == {*(f"{name}-{prompts}" for name in names), "real images"}
        assert sorted(panel.labels()) == [*names, "real images"]
        assert {row["prompts"] for row in panel.rows(panel.layers("area")[0])} == {prompts}
        of_sources = panel.rows(panel.layers("line")[-1])
        colours |= {row["colour"] for row in of_sources}
    assert len(colours) == 2 * len(MANY)
    assert left.labels() == ["real images"]
    texts = charts.drawn_texts(chart)
    assert len(texts) == 2 * (len(MANY) + 1) + 1
    for place, (_, box) in enumerate(texts):
        assert not any(charts.overlap(box, other) for _, other in texts[:place])
    values = charts.read(chart)["usermeta"]["series"]["values"]
    assert values == [*names, "real images"]


def test_specs_of_spectra_compile_and_keep_the_conventions(capfd):
    many = made_up_spectra(MANY, "release date", frequencies=128)
    for rows in ([*ROWS, *made_up_spectra()], [*MANY_ROWS, *many]):
        chart = power_spectrum.draw(to_table(rows))
        assert style.spec(chart) == style.spec(power_spectrum.draw(to_table(rows[::-1])))
        assert style.svg(chart) == style.svg(power_spectrum.draw(to_table(rows)))
        assert charts.warnings_of(chart, capfd) == ""
        charts.check_conventions(chart, ("line", "area"))
        assert len(style.spec(chart)) < 150_000


def test_power_spectrum_names_what_is_missing():
    rows = made_up_spectra()
    for gone in ("real", "flow-g2-caption"):
        left = [r for r in rows if r.test_source != gone or r.settings["frequency"] != 3]
        with pytest.raises(UserError, match=f"no power at frequency 3.*{gone}"):
            power_spectrum.draw(to_table([*ROWS, *left]))
    with pytest.raises(UserError, match="metrics table: no power spectrum"):
        power_spectrum.draw(TABLE)
    fewer = [dataclasses.replace(r, settings={**r.settings, "samples": 899}) for r in rows]
    with pytest.raises(UserError, match=r"two rows for radial_power_db of .* at frequency 1"):
        power_spectrum.draw(to_table([*ROWS, *rows, *fewer]))


def test_power_spectrum_without_limits_has_no_band():
    rows = [dataclasses.replace(row, ci_low=None, ci_high=None) for row in made_up_spectra()]
    chart = power_spectrum.draw(to_table([*ROWS, *rows]))
    left, right = charts.panels(chart)
    assert left.layers("area")
    assert not right.layers("area")
    assert right.lines()
    assert style.svg(chart) == style.svg(power_spectrum.draw(to_table([*rows, *ROWS])))
    # Only where there are some.
    some = [row for row in made_up_spectra() if row.test_source != NAMES[0]]
    some += [row for row in rows if row.test_source == NAMES[0]]
    _, right = charts.panels(power_spectrum.draw(to_table([*ROWS, *some])))
    (bands,) = right.layers("area")
    assert {row["source"] for row in right.rows(bands)} == set(NAMES[1:])


@pytest.mark.parametrize("figure", FIGURES)
def test_the_same_table_gives_the_same_bytes(figure):
    first = style.svg(figure.draw(TABLE))
    assert first == style.svg(figure.draw(TABLE))
    assert "<dc:date>" not in first


@pytest.mark.parametrize("figure", CHARTS)
def test_specs_compile_without_warnings_and_keep_the_conventions(figure, capfd):
    for rows in (ROWS, MANY_ROWS):
        chart = figure.draw(to_table(rows))
        assert style.spec(chart) == style.spec(figure.draw(to_table(rows[::-1])))
        assert charts.warnings_of(chart, capfd) == ""
        charts.check_conventions(chart)
        # As one file among sixteen on a page.
        assert len(style.spec(chart)) < 100_000


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("missing", ["top1_accuracy of one source", "real", "everything"])
def test_missing_rows_are_named(figure, missing):
    tables = {
        "top1_accuracy of one source": without(
            lambda r: (
                not (
                    r.metric in ("top1_accuracy", "accuracy_relative_to_real")
                    and r.train_source == "flow-g2-caption"
                )
            )
        ),
        "real": without(lambda r: (r.train_source, r.test_source) != ("real", "real")),
        "everything": to_table([]),
    }
    optional = {
        "top1_accuracy of one source": [distinguish],
        "real": [transfer_by_probe, transfer_asymmetry, distinguish],
    }
    if figure in optional.get(missing, []):
        figure.draw(tables[missing])
        return
    with pytest.raises(UserError, match="metrics table: no "):
        figure.draw(tables[missing])


@pytest.mark.parametrize("figure", [transfer_by_generator, density_coverage, transfer_asymmetry])
def test_labels_of_many_generators_do_not_overlap(figure):
    chart = figure.draw(to_table(MANY_ROWS))
    (panel,) = charts.panels(chart)
    assert sorted(panel.labels()) == [name for name, _ in MANY]
    texts = charts.drawn_texts(chart)
    marks = charts.drawn_points(chart)
    assert len(marks) == len(panel.points()) >= 30
    for place, (_, box) in enumerate(texts):
        assert not any(charts.overlap(box, other) for _, other in texts[:place])
        assert not any(box[0] < x < box[2] and box[1] < y < box[3] for x, y in marks)
        assert box[0] >= 0
        assert box[2] <= panel.told["width"]


def test_several_architectures_need_a_choice():
    second = [
        dataclasses.replace(row, architecture="vit-tiny", value=row.value / 2)
        for row in PLAIN
        if row.architecture == "resnet-tiny"
    ]
    table = to_table([*PLAIN, *second])
    with pytest.raises(UserError, match="choose one"):
        transfer_by_generator.draw(table)
    (panel,) = charts.panels(transfer_by_generator.draw(table, architecture="vit-tiny"))
    (real,) = panel.rows(panel.layers("rule")[0])
    assert real["y"] == value("top1_accuracy", "real", "real", probe="rgb") / 2


def test_rows_of_single_seeds_are_not_drawn():
    seeds = [dataclasses.replace(row, seed=0, value=0.1) for row in ROWS]
    assert style.svg(transfer_by_generator.draw(to_table([*ROWS, *seeds]))) == style.svg(
        transfer_by_generator.draw(TABLE)
    )


def test_a_row_without_limits_has_no_bar():
    bare = to_table([dataclasses.replace(row, ci_low=None, ci_high=None) for row in ROWS])
    for figure in FIGURES:
        style.svg(figure.draw(bare))
    for figure in CHARTS:
        for panel in charts.panels(figure.draw(bare)):
            assert panel.points(by="y" if figure is distinguish else "source")
            assert panel.intervals("x") == panel.intervals("y") == {}
            assert not panel.layers("rect")


def test_sources_must_agree_on_their_x():
    with pytest.raises(UserError, match="disagree"):
        data.sources(
            [
                *ROWS,
                dataclasses.replace(ROWS[-1], settings={**ROWS[-1].settings, "x": 9.0}),
            ]
        )
    with pytest.raises(UserError, match="lack"):
        data.sources([dataclasses.replace(ROWS[-1], settings={})])
