"""The figures that only some studies have, and the numbers behind all of them."""

import csv
import dataclasses
import io
import json

import charts
import pyarrow.parquet as pq
import pytest
from made_up_metrics import (
    made_up_architectures,
    made_up_comparisons,
    made_up_rows,
    made_up_scores,
    made_up_shares,
    made_up_spectra,
)

import plot_figure
from synthgap.errors import UserError
from synthgap.figures import (
    data,
    density_coverage,
    distinguish,
    mixing,
    power_spectrum,
    semi_supervised,
    style,
    transfer_asymmetry,
    transfer_by_alignment,
    transfer_by_architecture,
    transfer_by_generator,
    transfer_by_probe,
    transfer_by_size,
)
from synthgap.figures.scores import scores
from synthgap.metrics.table import to_table

PLAIN = made_up_rows()
FURTHER = made_up_architectures(PLAIN)
ROWS = [*PLAIN, *made_up_comparisons([*PLAIN, *FURTHER])]
TABLE = to_table(ROWS)
FULL = [*ROWS, *FURTHER, *made_up_shares(PLAIN), *made_up_scores(PLAIN)]
FULL_TABLE = to_table([*FULL, *made_up_spectra()])
NAMES = [f"flow-g{g}-{prompts}" for g in (1, 2, 4) for prompts in ("classname", "caption")]
MANY = [(f"generator-{i:02d}", 2022 + i / 5) for i in range(15)]
SHARES = [transfer_by_size, mixing]
EVERY = [
    *(transfer_by_generator, transfer_by_probe, density_coverage, transfer_asymmetry),
    *(distinguish, power_spectrum, transfer_by_alignment, transfer_by_architecture, *SHARES),
]


def accuracy(train, probe="rgb"):
    (found,) = [
        row.value
        for row in FULL
        if (row.study, row.metric, row.train_source, row.test_source)
        == ("transfer", "top1_accuracy", train, "real")
        and row.settings["probe"] == probe
    ]
    return found


def test_transfer_by_alignment_draws_the_table():
    chart = transfer_by_alignment.draw(FULL_TABLE)
    panels = charts.panels(chart)
    assert [panel.title for panel in panels] == [
        "CLIPScore (hessel vit b32)",
        "PickScore (v1)",
        "Probability of the class asked for",
        "GenEval",
    ]
    assert charts.read(chart)["columns"] == 2
    score = {(row.metric, row.test_source): row for row in FULL}
    for name in NAMES:
        generator = name.rsplit("-", 1)[0]
        clip, pick, _, geneval = (panel.points()[name] for panel in panels)
        # As in the paper: the score of the generator's images from captions.
        of_clip = score["clipscore_hessel_vit_b32", f"{generator}-caption"]
        assert clip == (of_clip.value, accuracy(name))
        assert pick[0] == score["pickscore_v1", f"{generator}-caption"].value
        of_geneval = score["geneval_overall", f"{generator}-geneval"].value
        assert geneval == (of_geneval, accuracy(name))
        assert panels[0].intervals("x")[name] == (of_clip.ci_low, of_clip.ci_high)
        of_accuracy = data.synth_to_real(FULL)[name]
        for panel in panels:
            assert panel.intervals("y")[name] == (of_accuracy.ci_low, of_accuracy.ci_high)
    for panel in panels:
        assert panel.labels() == ["flow-g1", "flow-g2", "flow-g4"]
        assert panel.domain("y") == panels[0].domain("y")
        low, high = panel.domain("x")
        assert all(low < end < high for ends in panel.intervals("x").values() for end in ends)
    titles = [panel.layers("point")[0]["encoding"]["x"]["title"] for panel in panels]
    assert titles == 3 * ["Mean score of images from captions"] + [
        "Mean score of the benchmark's prompts"
    ]
    # Scores have units of their own: no two panels are zoomed together.
    zooms = [p for p in charts.read(chart)["params"] if p["name"].startswith("zoom")]
    assert [zoom["views"] for zoom in zooms] == [[f"panel_{place}"] for place in range(4)]
    assert charts.legend(chart) == ["class-name prompts", "caption prompts"]


def test_a_generator_without_the_first_kind_of_prompt_has_its_name_too():
    rows = [r for r in FULL if r.study != "alignment" or r.test_source != "flow-g2-classname"]
    rows = [r for r in rows if r.study != "alignment" or r.test_source != "flow-g1-caption"]
    for panel in charts.panels(transfer_by_alignment.draw(to_table(rows)))[:3]:
        assert set(panel.points()) == set(NAMES) - {"flow-g2-classname", "flow-g1-caption"}
        assert panel.labels() == ["flow-g1", "flow-g2", "flow-g4"]


def test_scores_are_of_own_images_unless_all_generators_have_captions():
    rows = [r for r in FULL if r.study != "alignment" or r.test_source != "flow-g2-caption"]
    clip, *_, geneval = scores(rows, data.sources(rows))
    assert clip.of == "of its own images"
    assert {name: row.test_source for name, row in clip.rows.items()} == {
        name: name for name in NAMES if name != "flow-g2-caption"
    }
    assert set(geneval.rows) == set(NAMES)
    # Two scorers of one metric stay apart.
    other = [
        dataclasses.replace(row, value=1.0, settings={**row.settings, "scorer": {"dtype": "half"}})
        for row in rows
        if row.metric.startswith("clipscore")
    ]
    assert len(scores([*rows, *other], data.sources(rows))) == 5
    with pytest.raises(UserError, match="no scores"):
        transfer_by_alignment.draw(TABLE)


def shares(study, key, name, way=None):
    return {
        row.settings[key]: row.value
        for row in FULL
        if (row.study, row.train_source) == (study, name)
        and key in row.settings
        and row.settings.get("mixing") == way
    }


def test_transfer_by_size_draws_the_table():
    chart = transfer_by_size.draw(FULL_TABLE)
    for panel, prompts in zip(charts.panels(chart), ("classname", "caption"), strict=True):
        assert panel.layers("point")[0]["encoding"]["x"]["scale"]["type"] == "log"
        chosen = [name for name in NAMES if name.endswith(prompts)]
        lines = panel.lines()
        assert set(lines) == {*chosen, "real"}
        for name, line in lines.items():
            assert line == shares("scaling", "train_images", name)
        # The lines' names, each at its end.
        (layer,) = panel.layers("text")
        ends = {row["label"]: (row["x"], row["y"]) for row in panel.rows(layer)}
        for name in chosen:
            highest = shares("scaling", "fraction", name)[1]
            assert ends[name.removesuffix(f"-{prompts}")] == (10000, highest)
        assert len(ends) == len(chosen) + 1
        low, high = panel.domain("y")
        for layer in panel.layers("rule")[1:]:
            for row in panel.rows(layer):
                assert low < row["y_low"] < row["y"] < row["y_high"] < high
    left, right = charts.panels(chart)
    assert left.domain("y") == right.domain("y")
    values = charts.read(chart)["usermeta"]["series"]["values"]
    assert values == ["flow-g1", "flow-g2", "flow-g4", "real images"]


def test_the_higher_a_generators_x_the_darker_its_line():
    (panel, _) = charts.panels(transfer_by_size.draw(FULL_TABLE))
    rows = panel.rows(panel.layers("line")[-1])
    colours = {row["series"]: row["colour"] for row in rows}
    light = [sum(bytes.fromhex(colours[name][1:])) for name in ("flow-g1", "flow-g2", "flow-g4")]
    assert light[0] > light[1] > light[2]


@pytest.mark.parametrize(
    "figure", [*SHARES, semi_supervised, transfer_by_alignment, transfer_by_architecture]
)
def test_specs_compile_and_keep_the_conventions(figure, capfd):
    many = made_up_rows(MANY, "release date")
    every = [*many, *made_up_shares(many), *made_up_scores(many)]
    for rows in (FULL, [*every, *made_up_architectures(many, ("vit-ti", "convnext"))]):
        few_labels = [r for r in rows if r.study == "mixing"]
        few_labels = [dataclasses.replace(r, study="semi_supervised") for r in few_labels]
        chart = figure.draw(to_table([*rows, *few_labels]))
        same = figure.draw(to_table([*few_labels, *rows]))
        assert style.svg(chart) == style.svg(same)
        assert charts.warnings_of(chart, capfd) == ""
        charts.check_conventions(chart)
        assert len(style.spec(chart)) < 100_000


def test_mixing_draws_the_table():
    chart = mixing.draw(FULL_TABLE)
    panels = charts.panels(chart)
    assert len(panels) == 4
    assert charts.read(chart)["columns"] == 2
    alone = data.synth_to_real(FULL)["real"]
    for place, panel in enumerate(panels):
        way = ("replace", "augment")[place % 2]
        prompts = ("classname", "caption")[place // 2]
        chosen = [name for name in NAMES if name.endswith(prompts)]
        assert panel.lines() == {
            name: shares("mixing", "synthetic_ratio", name, way) for name in chosen
        }
        # Real images alone are at the left, and what they reach goes through each panel.
        assert {min(line) for line in panel.lines().values()} == {0}
        (reference,) = panel.rows(panel.layers("rule")[0])
        assert panel.layers("rule")[0]["encoding"].keys() >= {"y"}
        assert (reference["y"], reference["name"]) == (alone.value, "real images alone")
        (band,) = panel.rows(panel.layers("rect")[0])
        assert (band["y_low"], band["y_high"]) == (alone.ci_low, alone.ci_high)
        generators = [name.removesuffix(f"-{prompts}") for name in chosen]
        assert sorted(panel.labels()) == [*generators, "real images alone"]
        # Each way of mixing has a scale of its own.
        assert panel.domain("y") == panels[place % 2].domain("y")
        low, high = panel.domain("y")
        rows = panel.rows(panel.layers("point")[0])
        assert all(low < row["y_low"] < row["y"] < row["y_high"] < high for row in rows)
    assert panels[0].domain("y") != panels[1].domain("y")
    added = [row for row in FULL if row.settings.get("mixing") != "replace"]
    assert len(charts.panels(mixing.draw(to_table(added)))) == 2


def test_what_real_images_reach_stays_when_one_generator_is_chosen():
    (panel, *_) = charts.panels(mixing.draw(FULL_TABLE))
    (named,) = panel.layers("text")
    series = {row["label"]: row.get("series") for row in panel.rows(named)}
    assert series.pop("real images alone") is None
    assert series == {name: name for name in ("flow-g1", "flow-g2", "flow-g4")}
    conditions = named["encoding"]["opacity"]["condition"]
    assert {"test": "!isValid(datum.series)", "value": 1} in conditions
    assert "opacity" not in panel.layers("rule")[0]["encoding"]


def test_each_classifier_of_a_mixture_has_rows_of_its_own():
    other = [
        dataclasses.replace(row, architecture="vit", value=row.value / 2, ci_low=None, ci_high=None)
        for row in FULL
        if row.study == "mixing"
    ]
    plain, both = (charts.panels(mixing.draw(to_table(rows))) for rows in (FULL, [*FULL, *other]))
    assert len(both) == 2 * len(plain)
    for place, panel in enumerate(plain):
        assert both[place].lines() == panel.lines()
        assert both[len(plain) + place].lines() == {
            name: {at: value / 2 for at, value in line.items()}
            for name, line in panel.lines().items()
        }
        assert not both[len(plain) + place].intervals()
    assert both[-1].title.endswith("added to all real images, vit")
    # One that only replaces leaves its other places empty.
    less = [row for row in other if row.settings["mixing"] == "replace"]
    chart = mixing.draw(to_table([*FULL, *less]))
    lines = [len(panel.lines()) for panel in charts.panels(chart)]
    assert lines == [3, 3, 3, 3, 3, 0, 3, 0]
    charts.check_conventions(chart)
    style.svg(chart)


def test_few_labels_are_drawn_as_mixtures():
    rows = [dataclasses.replace(r, study="semi_supervised") for r in FULL if r.study == "mixing"]
    rows += [row for row in FULL if row.study != "mixing"]
    assert style.spec(semi_supervised.draw(to_table(rows))) == style.spec(mixing.draw(FULL_TABLE))
    with pytest.raises(UserError, match="no rows of the study semi_supervised"):
        semi_supervised.draw(FULL_TABLE)


def test_figures_of_shares_name_what_is_wrong():
    for figure, study in zip(SHARES, ("scaling", "mixing"), strict=True):
        with pytest.raises(UserError, match=f"no rows of the study {study}"):
            figure.draw(TABLE)
        (one, *_) = [row for row in FULL if row.study == study]
        again = dataclasses.replace(one, settings={**one.settings, "more": 1})
        with pytest.raises(UserError, match="two rows for"):
            figure.draw(to_table([*FULL, again]))


def test_transfer_by_architecture_draws_the_table():
    chart = transfer_by_architecture.draw(FULL_TABLE)
    panels = charts.panels(chart)
    assert [panel.title for panel in panels] == ["Class-name prompts", "Caption prompts"]
    names = ("real images", "flow-g1", "flow-g2", "flow-g4")
    probes = {"resnet-tiny": "rgb", "vit-ti": "vit"}
    for panel, prompts in zip(panels, ("classname", "caption"), strict=True):
        assert panel.domain("y") == names
        assert panel.domain("x") == panels[0].domain("x")
        real, of_sources = panel.layers("point")
        rows = {(row["series"], row["y"]): row for row in panel.rows(of_sources)}
        hollow = {(row["series"], row["y"]): row for row in panel.rows(real)}
        for architecture, probe in probes.items():
            assert hollow[architecture, names[0]]["x"] == accuracy("real", probe)
            for name in names[1:]:
                row = rows[architecture, name]
                assert row["source"] == f"{name}-{prompts}"
                assert row["x"] == accuracy(row["source"], probe)
        assert len(rows) == 2 * 3
        assert len(hollow) == 2
        assert real["mark"]["fill"] == style.PAPER
        # Lines go down the rows, without the real images.
        (line,) = panel.layers("line")
        assert panel.rows(line) == panel.rows(of_sources)
        assert line["encoding"]["order"]["field"] == "place"
        assert [row["place"] for row in panel.rows(line)] == [1, 2, 3, 1, 2, 3]
        (bars,) = panel.layers("rule")
        for row in panel.rows(bars):
            assert row["x_high"] - row["x_low"] == pytest.approx(0.04)
        assert len(panel.rows(bars)) == 2 * 4
    assert charts.legend(chart) == list(probes)
    shapes = panels[0].layers("point")[-1]["encoding"]["shape"]["scale"]["range"]
    assert len(set(shapes)) == 2
    # The names of the rows stand at the first panel.
    told = [panel.layers("point")[0]["encoding"]["y"]["axis"] for panel in panels]
    assert ["labels" in axis for axis in told] == [False, True]
    with pytest.raises(UserError, match="no accuracy of a further architecture"):
        transfer_by_architecture.draw(TABLE)


def test_further_architectures_do_not_make_rgb_ambiguous():
    assert style.svg(transfer_by_generator.draw(FULL_TABLE)) == style.svg(
        transfer_by_generator.draw(TABLE)
    )
    assert data.architectures(FULL) == ["vit"]
    assert data.architectures(ROWS) == []


@pytest.mark.parametrize("figure", EVERY)
def test_a_figure_can_be_drawn_from_its_numbers_alone(figure):
    numbers = figure.numbers(FULL_TABLE)
    # The CSV is in no order of chance, and has each row once.
    text = data.csv_text(numbers)
    assert text == data.csv_text(numbers[::-1])
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == len({id(row) for row in numbers}) > 0
    assert {float(line["value"]) for line in lines} == {row.value for row in numbers}
    assert all("x" in json.loads(line["settings"]) for line in lines if is_of_source(line))
    # Which sources there are is told by any row; all else by these.
    rest = [row for row in ROWS if row.study == "distinguish" and figure is not distinguish]
    alone = to_table([*{id(row): row for row in numbers}.values(), *rest])
    assert style.svg(figure.draw(alone)) == style.svg(figure.draw(FULL_TABLE))


def is_of_source(line):
    return line["train_source"] in NAMES


@pytest.mark.parametrize("figure", SHARES)
def test_names_at_the_ends_of_lines_keep_apart(figure):
    many = made_up_rows(MANY, "release date")
    chart = figure.draw(to_table([*many, *made_up_shares(many)]))
    texts = charts.drawn_texts(chart)
    assert len(texts) == len(charts.panels(chart)) * (len(MANY) + 1)
    marks = charts.drawn_points(chart)
    for place, (_, box) in enumerate(texts):
        assert not any(charts.overlap(box, other) for _, other in texts[:place])
        assert not any(box[0] < x < box[2] and box[1] < y < box[3] for x, y in marks)
    left = charts.panels(chart)[0]
    of_left = [box for _, box in texts if box[0] < 2 * left.told["width"]][: len(MANY) + 1]
    assert all(box[0] > left.told["width"] for box in of_left)
    of_first_row = [box for _, box in texts[: 2 * (len(MANY) + 1)]]
    assert all(box[1] > -10 and box[3] < left.told["height"] + 10 for box in of_first_row)


def test_what_a_spreadsheet_reads_is_the_table():
    row = dataclasses.replace(ROWS[0], value=1 / 3, ci_low=None, ci_high=0.5)
    header, line = data.csv_text([row, row]).splitlines()
    assert header.startswith("study,metric,value,ci_low,ci_high,ci_level,n,train_source")
    assert line.startswith("transfer,top1_accuracy,0.3333333333333333,,0.5,0.95,450,real,real,rgb")
    assert line.endswith('"{""probe"": ""rgb""}"')


def written(tmp_path, name):
    pq.write_table(FULL_TABLE, tmp_path / "metrics.parquet")
    words = ["--metrics", tmp_path / "metrics.parquet", "--name", name]
    for kind in ("spec", "figure", "numbers"):
        words += [f"--{kind}", tmp_path / kind]
    plot_figure.main(plot_figure.options().parse_args(list(map(str, words))))
    return [(tmp_path / kind).read_text() for kind in ("spec", "figure", "numbers")]


def test_command_writes_spec_figure_and_numbers(tmp_path):
    spec, figure, numbers = written(tmp_path, "transfer_by_size")
    chart = transfer_by_size.draw(FULL_TABLE)
    assert spec == style.spec(chart)
    told = json.loads(spec)
    assert spec == json.dumps(told, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    assert told["$schema"].startswith("https://vega.github.io/schema/vega-lite/v6")
    assert figure == style.svg(chart)
    assert f'fill="{style.PAPER}"' in figure
    assert numbers == data.csv_text(transfer_by_size.numbers(FULL_TABLE))


def test_two_fractions_of_as_many_images_are_one_place():
    rows = [row for row in FULL if row.study != "scaling"]
    some = next(row for row in FULL if row.study == "scaling" and row.seed is None)
    for fraction, value in ((0.9, 0.5), (1.0, 0.6)):
        settings = dict(some.settings) | {"fraction": fraction, "train_images": 20}
        rows.append(
            dataclasses.replace(some, value=value, ci_low=None, ci_high=None, settings=settings)
        )
    (shown,) = transfer_by_size.numbers(to_table(rows))
    assert (shown.value, shown.settings["fraction"]) == (0.6, 1.0)
