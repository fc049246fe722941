"""Two metrics tables side by side: what matches, what differs, and the page."""

import csv
import dataclasses
import io
import json
import sys
from html.parser import HTMLParser

import pyarrow.parquet as pq
import pytest
from made_up_metrics import made_up_rows

import compare_runs
from synthgap.errors import UserError
from synthgap.job import run
from synthgap.metrics import compare, table
from synthgap.metrics.table import Row
from synthgap.report import compare as report


def row(value=0.8, half=0.02, **columns):
    defaults = {"study": "transfer", "metric": "top1_accuracy", "n": 500, "train_source": "g"}
    defaults |= {"test_source": "real", "view": "rgb", "architecture": "resnet", "settings": {}}
    low, high = (None, None) if half is None else (value - half, value + half)
    return Row(value=value, ci_low=low, ci_high=high, **(defaults | columns))


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (row(0.80), row(0.90), "higher"),
        (row(0.90), row(0.80), "lower"),
        (row(0.80), row(0.82), "not shown"),
        (row(0.80, None), row(0.90), "no interval"),
        (row(0.80, ci_level=0.9), row(0.90), "no interval"),
    ],
)
def test_a_difference_counts_where_its_interval_is_clear_of_zero(before, after, verdict):
    pair = compare.compare([before], [after]).pairs[0]
    assert pair.verdict == verdict
    assert pair.difference.value == pytest.approx(after.value - before.value)
    if verdict in ("higher", "lower", "not shown"):
        # The two half-widths, squared and added.
        half = (pair.difference.high - pair.difference.low) / 2
        assert half == pytest.approx(0.02 * 2**0.5)


def test_rows_are_the_same_number_though_they_were_made_otherwise():
    settings = {"fraction": 0.3, "train_images": 300, "view_options": {"half_width": 3}}
    after = settings | {"train_images": 600, "view_options": {"half_width": 4}}
    found = compare.compare([row(settings=settings)], [row(settings=after, n=400)])
    assert not found.only_first + found.only_second
    assert found.pairs[0].differs == {
        "n": (500, 400),
        "train_images": (300, 600),
        "view_options": ({"half_width": 3}, {"half_width": 4}),
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"view": "low"},
        {"architecture": "bagnet"},
        {"train_source": "h"},
        {"metric": "top5_accuracy"},
        {"settings": {"fraction": 0.5}},
        {"settings": {"fraction": 0.3, "something_new": 1}},
    ],
)
def test_other_numbers_are_not_matched(changed):
    settings = {"settings": {"fraction": 0.3}}
    found = compare.compare([row(**settings)], [row(**(settings | changed))])
    assert (len(found.pairs), len(found.only_first), len(found.only_second)) == (0, 1, 1)


def test_what_cannot_be_told_apart_is_not_matched():
    """An axis that only differs in the number of images matches where that is the same."""
    before = [row(settings={"train_images": images}) for images in (100, 200)]
    after = [row(settings={"train_images": images}) for images in (200, 400)]
    found = compare.compare(before, after)
    assert [pair.first.settings["train_images"] for pair in found.pairs] == [200, 100]
    # Of which the second is the one that is left on each side, and says so.
    assert found.pairs[1].differs == {"train_images": (100, 400)}
    before.append(row(settings={"train_images": 50}))
    found = compare.compare(before, after)
    assert len(found.pairs) == 1
    assert (len(found.only_first), len(found.only_second)) == (2, 1)


def test_single_seeds_are_left_out():
    before, after = [row(), row(seed=0)], [row(), row(seed=0)]
    assert len(compare.compare(before, after).pairs) == 1
    assert len(compare.compare(before, after, single_seeds=True).pairs) == 2


def test_the_clearest_differences_come_first():
    before = [row(0.5, view=view) for view in "abcd"] + [row(0.5, None, view="e")]
    after = [row(0.52, view="a"), row(0.9, view="b"), row(0.6, view="c"), row(0.3, view="d")]
    found = compare.compare(before, [*after, row(0.5, None, view="e")])
    assert [pair.second.view for pair in found.pairs] == ["b", "d", "c", "a", "e"]
    assert compare.counts(found.pairs) == {
        "transfer": {"higher": 2, "lower": 1, "not shown": 1, "no interval": 1}
    }


def test_a_table_beside_itself_has_no_differences():
    rows = made_up_rows()
    found = compare.compare(rows, rows)
    assert not found.only_first + found.only_second
    assert {pair.verdict for pair in found.pairs} <= {"not shown", "no interval"}
    assert report.headline(found.pairs).startswith("No difference is shown")
    assert report.headline([]) == "The two runs have no number in common."


class Page(HTMLParser):
    """The cells' sort keys, and what the page would fetch."""

    def __init__(self, text):
        super().__init__()
        self.orders, self.fetched, self.tables = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tables += tag == "table"
        if "data-order" in found:
            self.orders.append(float(found["data-order"]))
        self.fetched += [found[key] for key in ("src", "href") if key in found]


@pytest.fixture
def tables(tmp_path):
    rows = made_up_rows()
    changed = [
        dataclasses.replace(
            one, value=one.value / 2, ci_low=one.ci_low / 2, ci_high=one.ci_high / 2
        )
        if one.metric == "top1_accuracy" and one.train_source == "flow-g4-caption"
        else one
        for one in rows
        if one.study != "captions"
    ]
    for name, each in (("a", rows), ("b", changed)):
        (tmp_path / name).mkdir()
        pq.write_table(table.to_table(each), tmp_path / name / "metrics.parquet")
    return tmp_path


def command(monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["compare_runs.py", *map(str, options)])
    run(compare_runs.options(), compare_runs.main)


def test_command(tables, monkeypatch, capsys):
    paths = [tables / name / "metrics.parquet" for name in "ab"]
    out = ["--comparison", tables / "c.html", "--numbers", tables / "c.csv"]
    command(monkeypatch, "--metrics", *paths, "--labels", "old <1>", "new", *out)
    assert "new beside old <1>: Of " in capsys.readouterr().out
    text = (tables / "c.html").read_text()
    page = Page(text)
    assert page.tables == 2
    assert page.orders
    assert not page.fetched
    assert "old &lt;1&gt;" in text
    assert "↓ lower" in text
    rows = list(csv.DictReader(io.StringIO((tables / "c.csv").read_text())))
    assert list(rows[0]) == list(compare.COLUMNS)
    verdicts = [one["verdict"] for one in rows]
    assert verdicts[0] == "lower"
    assert {"not shown", "only in old <1>"} <= set(verdicts) or "lower" in verdicts
    first = rows[0]
    low, high = float(first["difference_low"]), float(first["difference_high"])
    assert low < float(first["difference"]) < high < 0
    assert json.loads(first["settings"])["generator"] == "flow-g4"


def test_labels_are_the_paths_by_default_and_must_differ(tables, monkeypatch, capsys, caplog):
    path = tables / "a/metrics.parquet"
    out = ["--comparison", tables / "c.html", "--numbers", tables / "c.csv"]
    with pytest.raises(SystemExit):
        command(monkeypatch, "--metrics", path, path, *out)
    assert "two tables are compared, and both are called" in caplog.text + capsys.readouterr().err
    with pytest.raises(UserError):
        compare.check_labels(["x", "x"])
    command(monkeypatch, "--metrics", path, tables / "b/metrics.parquet", *out)
    assert str(path) in (tables / "c.html").read_text()
