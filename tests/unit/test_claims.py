import csv
import dataclasses
import io
import math

import pytest
from made_up_metrics import (
    made_up_architectures,
    made_up_comparisons,
    made_up_rows,
    made_up_scores,
)

from synthgap.errors import UserError
from synthgap.figures import data
from synthgap.metrics.estimates import signed_sum, student
from synthgap.metrics.rank_correlation import spearman
from synthgap.metrics.table import Row
from synthgap.report.claims import claims, claims_csv
from synthgap.report.findings import compared, correlated

MANY = [(f"g{i}", 2022.0 + i / 3) for i in range(8)]


def study(generators=MANY, x_name="release date", slope=-0.25):
    rows = made_up_rows(generators, x_name, slope)
    rows += made_up_architectures(rows)
    return [*rows, *made_up_comparisons(rows), *made_up_scores(rows)]


ROWS = study()


def findings(rows, name):
    (found,) = [claim.findings for claim in claims(rows) if claim.name == name]
    return found


def accuracy(value, low=None, high=None):
    return Row("transfer", "top1_accuracy", value, 100, low, high)


def relative(rows, probe):
    return data.synth_to_real(rows, probe=probe, metric=data.RELATIVE)


@pytest.mark.parametrize(("slope", "verdict"), [(-0.4, "holds"), (0.4, "does not hold")])
def test_newer_is_worse_only_if_the_numbers_say_so(slope, verdict):
    rows = study(slope=slope)
    names, captions = findings(rows, "newer-worse")
    assert (names.prompts, captions.prompts) == ("classname", "caption")
    found = data.synth_to_real(rows)
    expected = spearman([x for _, x in MANY], [found[f"{g}-classname"].value for g, _ in MANY])
    assert (names.estimate, names.low, names.high) == expected
    assert (names.n, names.verdict) == (8, verdict)
    way = "falls" if slope < 0 else "rises"
    assert names.sentence.startswith(
        f"With class-name prompts, accuracy on real images {way} with release date: "
        "rank correlation "
    )
    assert "over 8 generators (95\N{NO-BREAK SPACE}% interval " in names.sentence
    sign = "−" if slope < 0 else "+"
    assert f"rank correlation {sign}{abs(names.estimate):.2f}" in names.sentence


def test_other_claims_compare_what_they_say():
    assert [claim.name for claim in claims(ROWS)] == [
        "newer-worse",
        "alignment-worse",
        "texture-below-structure",
        "high-below-low",
        "captions-help",
        "captions-help-structure",
        "coverage-helps",
        "density-harms",
        "asymmetry",
        "architectures-agree",
    ]
    synth = data.synth_to_real(ROWS)
    ys = [synth[f"{g}-caption"].value for g, _ in MANY]

    def rank(by):
        return spearman([by[f"{g}-caption"].value for g, _ in MANY], ys).value

    (_, coverage) = findings(ROWS, "coverage-helps")
    assert coverage.estimate == rank(data.distribution(ROWS, "coverage"))
    (_, density) = findings(ROWS, "density-harms")
    assert density.estimate == rank(data.distribution(ROWS, "density"))
    assert (coverage.verdict, density.verdict) == ("holds", "holds")
    agree = findings(ROWS, "architectures-agree")[1]
    assert agree.estimate == rank(data.synth_to_real(ROWS, probe="vit"))
    assert "the accuracy of vit-ti rises with that of resnet-tiny" in agree.sentence
    scores = findings(ROWS, "alignment-worse")
    assert [f.about for f in scores[::2]] == [
        "CLIPScore (hessel vit b32)",
        "PickScore (v1)",
        "Probability of the class asked for",
        "GenEval",
    ]
    assert {f.verdict for f in scores} == {"holds"}
    (helped,) = findings(ROWS, "captions-help")
    gains = [synth[f"{g}-caption"].value - synth[f"{g}-classname"].value for g, _ in MANY]
    assert (helped.estimate, helped.low, helped.high) == pytest.approx(student(gains))
    (texture, _) = findings(ROWS, "texture-below-structure")
    structure, found = relative(ROWS, "structure"), relative(ROWS, "texture")
    gaps = [found[f"{g}-classname"].value - structure[f"{g}-classname"].value for g, _ in MANY]
    assert (texture.estimate, texture.low, texture.high) == pytest.approx(student(gaps))
    assert (texture.verdict, texture.n, texture.measure) == ("holds", 8, "mean difference")
    assert texture.sentence.endswith("below in 8 of 8 generators.")
    (asymmetry, _) = findings(ROWS, "asymmetry")
    forth = data.real_to_synth(ROWS)
    gaps = [forth[f"{g}-classname"].value - synth[f"{g}-classname"].value for g, _ in MANY]
    assert asymmetry.estimate == pytest.approx(student(gaps).value)


def test_captions_gain_is_a_difference_of_differences():
    found = findings(ROWS, "captions-help-structure")
    assert [f.about for f in found] == [
        "rgb, texture",
        "structure, texture",
        "rgb, high",
        "low, high",
    ]
    low, high = relative(ROWS, "low"), relative(ROWS, "high")
    gains = [
        (low[f"{g}-caption"].value - low[f"{g}-classname"].value)
        - (high[f"{g}-caption"].value - high[f"{g}-classname"].value)
        for g, _ in MANY
    ]
    assert (found[3].estimate, found[3].low) == pytest.approx(student(gains)[:2])


def test_two_generators_are_told_one_by_one():
    rows = study([("g1", 1.0), ("g4", 4.0)], "guidance scale")
    (newer,) = findings(rows, "newer-worse")
    assert newer.verdict == "not tested"
    assert math.isnan(newer.estimate)
    assert newer.sentence == (
        "There are 2 generators to compare; a rank correlation takes at least 5, "
        "so none is claimed."
    )
    assert claims(rows)[0].title == "A higher guidance scale makes worse training data"
    found = findings(rows, "texture-below-structure")
    assert [(f.generator, f.prompts, f.n) for f in found] == [
        ("g1", "classname", 1),
        ("g4", "classname", 1),
        ("g1", "caption", 1),
        ("g4", "caption", 1),
    ]
    structure, texture = relative(rows, "structure"), relative(rows, "texture")
    difference = texture["g4-classname"].value - structure["g4-classname"].value
    assert found[1].estimate == pytest.approx(difference)
    assert found[1].high - difference == pytest.approx(0.025 * 2**0.5)
    assert found[1].sentence.startswith("With g4 and class-name prompts, accuracy relative")
    # Four numbers in each difference of gains.
    gain = findings(rows, "captions-help-structure")[0]
    assert gain.high - gain.estimate == pytest.approx(0.025 * 4**0.5)


def test_what_the_table_lacks_is_not_claimed():
    rows = [r for r in ROWS if r.study == "transfer" and r.metric == "top1_accuracy"]
    rows = [r for r in rows if r.settings["probe"] == "rgb" and r.train_source != "real"]
    assert [claim.name for claim in claims(rows)] == ["newer-worse", "captions-help"]
    assert claims([]) == []
    # A generator without a number is left out of that claim, and counted so.
    fewer = [
        r for r in ROWS if (r.metric, r.test_source) != ("coverage_k5_euclidean", "g0-caption")
    ]
    assert [f.n for f in findings(fewer, "coverage-helps")] == [8, 7]


def test_no_difference_and_no_spread_are_not_claimed():
    pair = {"what": "this", "than": "that"}
    apart = {
        g: [(1, accuracy(0.5 + d)), (-1, accuracy(0.5))]
        for g, d in zip("abc", (-1e-2, 1e-2, 1e-3), strict=True)
    }
    (found,) = compared(apart, 1, **pair)
    assert found.verdict == "not distinguishable"
    assert found.sentence.startswith("This cannot be told from that: +0.0 percentage points on ave")
    assert found.sentence.endswith("above in 2 of 3 generators.")
    same = {g: [(1, accuracy(0.75)), (-1, accuracy(0.5))] for g in "abc"}
    (found,) = compared(same, 1, **pair)
    assert (found.estimate, found.verdict) == (0.25, "not distinguishable")
    assert "(no interval)" in found.sentence
    (found,) = compared({"a": same["a"]}, 1, **pair)
    assert (found.n, found.verdict) == (1, "not distinguishable")
    found = correlated([(1.0, float(i)) for i in range(6)], 1, what="this", by="that")
    assert found.verdict == "not tested"
    assert found.sentence == "This or that is the same for all 6 generators."
    found = correlated([(0, 1), (1, 0), (2, 3), (3, 1), (4, 2)], 1, what="this", by="that")
    assert found.sentence.startswith("It cannot be told whether this rises or falls with that: ")


def test_signed_sums_take_the_near_limits():
    found = signed_sum([(1, accuracy(0.5, 0.4, 0.8)), (-1, accuracy(0.2, 0.1, 0.24))])
    assert found == pytest.approx((0.3, 0.3 - math.hypot(0.1, 0.04), 0.3 + math.hypot(0.3, 0.1)))
    assert math.isnan(signed_sum([(1, accuracy(0.5)), (1, accuracy(0.5, 0.4, 0.6))]).low)


def test_students_interval():
    # t of 2 degrees of freedom: 4.302653; standard error 1 / sqrt(3).
    assert student([1.0, 2.0, 3.0]) == pytest.approx((2, 2 - 2.484138, 2 + 2.484138))
    with pytest.raises(UserError, match="at least 3"):
        student([1.0, 2.0])


def test_claims_as_a_table():
    found = claims(study([("g1", 1.0), ("g4", 4.0)], "guidance scale"))
    lines = list(csv.DictReader(io.StringIO(claims_csv(found))))
    told = [(claim, finding) for claim in found for finding in claim.findings]
    assert len(lines) == len(told)
    for line, (claim, finding) in zip(lines, told, strict=True):
        assert (line["claim"], line["verdict"]) == (claim.name, finding.verdict)
        assert line["sentence"] == finding.sentence
        if finding.verdict == "not tested":
            assert line["estimate"] == line["ci_low"] == ""
        else:
            assert float(line["estimate"]) == finding.estimate
            assert float(line["ci_high"]) == finding.high
    assert claims_csv(found) == claims_csv(
        claims(
            [dataclasses.replace(r) for r in study([("g1", 1.0), ("g4", 4.0)], "guidance scale")][
                ::-1
            ]
        )
    )
