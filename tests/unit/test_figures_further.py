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


def point(axes, gid):
    (line,) = [line for line in axes.lines if line.get_gid() == gid]
    return line.get_xdata()[0], line.get_ydata()[0]


def test_transfer_by_alignment_draws_the_table():
    figure = transfer_by_alignment.draw(FULL_TABLE)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "CLIPScore (hessel vit b32)",
        "PickScore (v1)",
        "Probability of the class asked for",
        "GenEval",
    ]
    score = {(row.metric, row.test_source): row.value for row in FULL}
    for name in NAMES:
        generator = name.rsplit("-", 1)[0]
        clip, pick, _, geneval = (point(axes, name) for axes in figure.axes)
        # As in the paper: the score of the generator's images from captions.
        assert clip == (score["clipscore_hessel_vit_b32", f"{generator}-caption"], accuracy(name))
        assert pick[0] == score["pickscore_v1", f"{generator}-caption"]
        assert geneval == (score["geneval_overall", f"{generator}-geneval"], accuracy(name))


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


def gids(axes):
    return {line.get_gid() for line in axes.lines}


def drawn_line(axes, gid):
    (line,) = [line for line in axes.lines if line.get_gid() == gid]
    return dict(zip(line.get_xdata(), line.get_ydata(), strict=True))


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


def test_specs_of_sizes_compile_and_keep_the_conventions(capfd):
    many = made_up_rows(MANY, "release date")
    for rows in (FULL, [*many, *made_up_shares(many)]):
        chart = transfer_by_size.draw(to_table(rows))
        assert charts.warnings_of(chart, capfd) == ""
        charts.check_conventions(chart)
        assert len(style.spec(chart)) < 100_000


def test_mixing_draws_the_table():
    figure = mixing.draw(FULL_TABLE)
    for place, axes in enumerate(figure.axes):
        way = ("replace", "augment")[place % 2]
        prompts = ("classname", "caption")[place // 2]
        for name in NAMES:
            if name.endswith(prompts):
                assert drawn_line(axes, name) == shares("mixing", "synthetic_ratio", name, way)
    # Real images alone are at the left of each panel.
    drawn = [drawn_line(axes, n) for axes in figure.axes for n in NAMES if n in gids(axes)]
    assert {min(line) for line in drawn} == {0}
    alone = accuracy("real")
    (line,) = [line for line in figure.axes[0].lines if line.get_gid() == "real"]
    assert line.get_ydata()[0] == alone
    added = [row for row in FULL if row.settings.get("mixing") != "replace"]
    assert len(mixing.draw(to_table(added)).axes) == 2


def test_each_classifier_of_a_mixture_has_rows_of_its_own():
    other = [
        dataclasses.replace(row, architecture="vit", value=row.value / 2, ci_low=None, ci_high=None)
        for row in FULL
        if row.study == "mixing"
    ]
    plain, both = (mixing.draw(to_table(rows)).axes for rows in (FULL, [*FULL, *other]))
    assert len(both) == 2 * len(plain)
    for place, axes in enumerate(plain):
        for name in NAMES:
            if name in gids(axes):
                drawn = drawn_line(axes, name)
                assert drawn_line(both[place], name) == drawn
                halved = drawn_line(both[len(plain) + place], name)
                assert halved == {at: value / 2 for at, value in drawn.items()}
    assert both[-1].get_title("left").endswith("added to all real images, vit")


def test_figures_of_shares_name_what_is_wrong():
    for figure, study in zip(SHARES, ("scaling", "mixing"), strict=True):
        with pytest.raises(UserError, match=f"no rows of the study {study}"):
            figure.draw(TABLE)
        (one, *_) = [row for row in FULL if row.study == study]
        again = dataclasses.replace(one, settings={**one.settings, "more": 1})
        with pytest.raises(UserError, match="two rows for"):
            figure.draw(to_table([*FULL, again]))


def test_transfer_by_architecture_draws_the_table():
    first, second = transfer_by_architecture.draw(FULL_TABLE).axes
    for axes, prompts in ((first, "classname"), (second, "caption")):
        for architecture, probe in (("resnet-tiny", "rgb"), ("vit-ti", "vit")):
            line = drawn_line(axes, f"{architecture}-{prompts}")
            names = [name for name in NAMES if name.endswith(prompts)]
            assert list(line) == [accuracy(name, probe) for name in names]
    assert [t.get_text() for t in first.get_yticklabels()] == [
        "real images",
        "flow-g1",
        "flow-g2",
        "flow-g4",
    ]
    with pytest.raises(UserError, match="no accuracy of a further architecture"):
        transfer_by_architecture.draw(TABLE)


def test_further_architectures_do_not_make_rgb_ambiguous():
    assert charts.svg(transfer_by_generator.draw(FULL_TABLE)) == charts.svg(
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
    assert charts.svg(figure.draw(alone)) == charts.svg(figure.draw(FULL_TABLE))


def is_of_source(line):
    return line["train_source"] in NAMES


def test_names_at_the_ends_of_lines_keep_apart():
    many = made_up_rows(MANY, "release date")
    chart = transfer_by_size.draw(to_table([*many, *made_up_shares(many)]))
    texts = charts.drawn_texts(chart)
    assert len(texts) == 2 * (len(MANY) + 1)
    marks = charts.drawn_points(chart)
    for place, (_, box) in enumerate(texts):
        assert not any(charts.overlap(box, other) for _, other in texts[:place])
        assert not any(box[0] < x < box[2] and box[1] < y < box[3] for x, y in marks)
    left, _ = charts.panels(chart)
    of_left = [box for _, box in texts if box[0] < 2 * left.told["width"]][: len(MANY) + 1]
    assert all(box[0] > left.told["width"] for box in of_left)
    assert all(box[1] > -10 and box[3] < left.told["height"] + 10 for _, box in texts)


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


def test_a_figure_of_matplotlib_has_no_spec_yet(tmp_path):
    spec, figure, numbers = written(tmp_path, "mixing")
    assert json.loads(spec) is None
    assert figure == charts.svg(mixing.draw(FULL_TABLE))
    assert numbers == data.csv_text(mixing.numbers(FULL_TABLE))


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
