import dataclasses

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
PLAIN = made_up_rows()
ROWS = [*PLAIN, *made_up_comparisons(PLAIN)]
TABLE = to_table(ROWS)
NAMES = [f"flow-g{g}-{prompts}" for g in (1, 2, 4) for prompts in ("classname", "caption")]
MANY = [(f"generator-{i:02d}", 2022 + i / 5) for i in range(15)]


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
    axes = transfer_by_generator.draw(TABLE).axes[0]
    for prompts in ("classname", "caption"):
        (line,) = [line for line in axes.lines if line.get_gid() == f"prompts-{prompts}"]
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 4])
        expected = [
            value("top1_accuracy", f"flow-g{g}-{prompts}", "real", probe="rgb") for g in (1, 2, 4)
        ]
        np.testing.assert_array_equal(line.get_ydata(), expected)
        low, high = axes.get_ylim()
        assert low < min(expected) < max(expected) < high
    (real,) = [line for line in axes.lines if line.get_gid() == "real"]
    assert real.get_ydata()[0] == value("top1_accuracy", "real", "real", probe="rgb")
    assert axes.get_xlabel() == "Guidance scale of the generator"


def test_error_bars_end_at_the_limits():
    axes = transfer_by_generator.draw(TABLE).axes[0]
    segments = axes.collections[0].get_segments()
    for name, segment in zip(("1", "2", "4"), segments, strict=True):
        found = data.synth_to_real(ROWS)[f"flow-g{name}-classname"]
        np.testing.assert_allclose(sorted(segment[:, 1]), [found.ci_low, found.ci_high])


def test_transfer_by_probe_draws_the_table():
    left, right = transfer_by_probe.draw(TABLE).axes
    for name in NAMES:
        for axes, probe in [
            (left, "structure"),
            (left, "texture"),
            (right, "low"),
            (right, "high"),
        ]:
            assert point(axes, f"{probe}-{name}") == (
                value("accuracy_relative_to_real", name, "real", probe="rgb"),
                value("accuracy_relative_to_real", name, "real", probe=probe),
            )


def test_transfer_by_probe_draws_the_probes_there_are():
    figure = transfer_by_probe.draw(
        without(lambda r: r.settings.get("probe") not in ("low", "high"))
    )
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Structure and texture"]


def test_density_coverage_draws_the_table():
    figure = density_coverage.draw(TABLE)
    for name in [*NAMES, "real"]:
        assert point(figure.axes[0], name) == (
            value("density_k5_euclidean", "real", name),
            value("coverage_k5_euclidean", "real", name),
        )


def test_transfer_asymmetry_draws_the_table():
    axes = transfer_asymmetry.draw(TABLE).axes[0]
    for name in NAMES:
        assert point(axes, name) == (
            value("top1_accuracy", "real", name),
            value("top1_accuracy", name, "real", probe="rgb"),
        )
    assert axes.get_xlim() == axes.get_ylim()


def test_distinguish_draws_the_table():
    axes = distinguish.draw(TABLE).axes[0]
    for name in [*NAMES, "real"]:
        drawn = point(axes, f"resnet-tiny real+{name}")[0]
        assert drawn == value("top1_accuracy", "real", name, study="distinguish")
        assert point(axes, f"chance real+{name}")[0] == 0.5


def spectrum_of(rows, source, metric="radial_power_db"):
    found = {
        row.settings["frequency"]: row
        for row in rows
        if (row.metric, row.test_source) == (metric, source)
    }
    return np.array([found[k].value for k in sorted(found)])


def line_of(axes, gid):
    (line,) = [line for line in axes.lines if line.get_gid() == gid]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def test_power_spectrum_draws_the_table():
    rows = made_up_spectra()
    left, right = power_spectrum.draw(to_table([*ROWS, *rows])).axes
    real = spectrum_of(rows, "real")
    for name in {row.test_source for row in rows} - {"real"}:
        frequencies, power = line_of(left, name)
        np.testing.assert_array_equal(frequencies, np.arange(1, 17))
        np.testing.assert_array_equal(power, spectrum_of(rows, name))
        np.testing.assert_allclose(line_of(right, name)[1], spectrum_of(rows, name) - real)
    np.testing.assert_array_equal(line_of(left, "real")[1], real)
    # Half-widths of 0.2 on either side add in quadrature.
    band = right.collections[0].get_paths()[0].vertices[:, 1]
    first = line_of(right, right.lines[1].get_gid())[1]
    assert band.min() >= (first - 0.2 * 2**0.5).min() - 1e-9
    assert band.max() == pytest.approx((first + 0.2 * 2**0.5).max())


def test_power_spectrum_of_many_generators_is_told_by_shade():
    spectra = made_up_spectra(MANY, "release date", frequencies=128)
    table = to_table([*made_up_rows(MANY, "release date"), *spectra])
    figure = power_spectrum.draw(table)
    # The spectra; of each kind of prompt the differences, and then a colour bar.
    left, *differences, _, bar = figure.axes
    assert [axes.get_title(loc="left") for axes in differences] == [
        "Class-name prompts",
        "Caption prompts",
    ]
    assert bar.get_xlabel() == "Release date of the generator"
    colours = set()
    for name, _ in MANY:
        for axes, prompts in zip(differences, ("classname", "caption"), strict=True):
            (line,) = [line for line in axes.lines if line.get_gid() == f"{name}-{prompts}"]
            line_of(left, f"{name}-{prompts}")
            colours.add(line.get_color())
    assert len(colours) == 2 * len(MANY)
    assert style.svg(figure) == style.svg(power_spectrum.draw(table))


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
    figure = power_spectrum.draw(to_table([*ROWS, *rows]))
    assert not any(len(band.get_paths()) for band in figure.axes[1].collections)
    assert style.svg(figure) == style.svg(power_spectrum.draw(to_table([*rows, *ROWS])))


@pytest.mark.parametrize("figure", FIGURES)
def test_the_same_table_gives_the_same_bytes(figure):
    first = style.svg(figure.draw(TABLE))
    assert first == style.svg(figure.draw(TABLE))
    assert "<dc:date>" not in first


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
    drawn = figure.draw(to_table(made_up_rows(MANY, "release date")))
    drawn.draw_without_rendering()
    renderer = drawn.canvas.get_renderer()
    axes = drawn.axes[0]
    boxes = {
        text.get_text(): type(text).__mro__[1].get_window_extent(text, renderer)
        for text in axes.texts
    }
    assert sorted(boxes) == [name for name, _ in MANY]
    for name, box in boxes.items():
        assert axes.get_tightbbox(renderer).overlaps(box)
        assert not [other for other, b in boxes.items() if other != name and b.overlaps(box)]


def test_several_architectures_need_a_choice():
    second = [
        dataclasses.replace(row, architecture="vit-tiny", value=row.value / 2)
        for row in PLAIN
        if row.architecture == "resnet-tiny"
    ]
    table = to_table([*PLAIN, *second])
    with pytest.raises(UserError, match="choose one"):
        transfer_by_generator.draw(table)
    axes = transfer_by_generator.draw(table, architecture="vit-tiny").axes[0]
    (real,) = [line for line in axes.lines if line.get_gid() == "real"]
    assert real.get_ydata()[0] == value("top1_accuracy", "real", "real", probe="rgb") / 2


def test_rows_of_single_seeds_are_not_drawn():
    seeds = [dataclasses.replace(row, seed=0, value=0.1) for row in ROWS]
    assert style.svg(transfer_by_generator.draw(to_table([*ROWS, *seeds]))) == style.svg(
        transfer_by_generator.draw(TABLE)
    )


def test_a_row_without_limits_has_no_bar():
    bare = to_table([dataclasses.replace(row, ci_low=None, ci_high=None) for row in ROWS])
    for figure in FIGURES:
        style.svg(figure.draw(bare))


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
