"""What the page says of mixtures of real and generated images."""

import pytest

from synthgap.metrics.table import Row
from synthgap.report.headlines import headlines
from synthgap.report.mixing import mixed

# That there is such a source is known from study A or C.
KNOWN = Row(
    "transfer",
    "top1_accuracy",
    0.9,
    500,
    train_source="flow-g4-classname",
    test_source="real",
    view="rgb",
    architecture="resnet",
    settings={"generator": "flow-g4", "prompts": "classname", "x": 4.0, "x_name": "guidance scale"},
)


def row(ratio, value, mode="replace", study="mixing", half=0.01, source="flow-g4-classname"):
    settings = {"mixing": mode, "synthetic_ratio": ratio, "x": 4.0, "x_name": "guidance scale"}
    settings |= {"generator": "flow-g4", "prompts": "classname"}
    limits = {} if half is None else {"ci_low": value - half, "ci_high": value + half}
    about = {"train_source": source, "test_source": "real", "view": "rgb", "architecture": "resnet"}
    return Row(study, "top1_accuracy", value, 500, **limits, **about, settings=settings)


def test_each_mixture_stands_beside_real_images_alone():
    rows = [row(0.0, 0.98), row(0.5, 0.975), row(0.9, 0.9), row(0.0, 0.98, "augment")]
    (study,) = mixed([KNOWN, *rows, row(0.5, 0.999, "augment", half=0.001)])
    told = [(line.mode, line.ratio, line.verdict) for line in study.lines]
    assert told == [
        ("replace", 0.5, "not shown"),
        ("replace", 0.9, "worse"),
        ("augment", 0.5, "better"),
    ]
    assert study.lines[0].difference == pytest.approx(-0.005)
    assert study.lines[0].low == pytest.approx(-0.005 - 0.01 * 2**0.5)
    assert study.headline == (
        "No loss is shown with 50\N{NO-BREAK SPACE}% of the real images replaced, a loss with "
        "90\N{NO-BREAK SPACE}%; adding generated images helps."
    )


def test_a_loss_at_a_smaller_share_makes_larger_ones_unsafe():
    (study,) = mixed([KNOWN, row(0.0, 0.98), row(0.5, 0.9), row(0.9, 0.975)])
    assert study.headline == ("Replacing 50\N{NO-BREAK SPACE}% of the real images costs accuracy.")


def test_without_intervals_nothing_is_claimed():
    (study,) = mixed(
        [KNOWN, row(0.0, 0.98, "augment", half=None), row(0.5, 0.5, "augment", half=None)]
    )
    assert study.lines[0].verdict == "no interval"
    assert study.headline == "Adding generated images is not shown to help or harm."


def test_few_labels_are_a_study_of_their_own():
    rows = [row(0.0, 0.8), row(0.5, 0.8)]
    few = [row(ratio, 0.5, study="semi_supervised") for ratio in (0.0, 0.5)]
    assert [one.study for one in mixed([KNOWN, *rows, *few])] == ["mixing", "semi_supervised"]
    assert mixed([]) == []
    assert [one.anchor for one in headlines([KNOWN, *rows, *few])] == ["mixing", "semi_supervised"]
