"""The list of classes that a source teaches worst."""

from synthgap.figures.data import Source
from synthgap.report.classes import LostClass, lost_classes

SOURCES = [Source(name, "g", "caption", 1.0, "guidance scale") for name in ("good", "bad")]


def row(train: str, name: str, accuracy: float, **changes):
    found = {
        "probe": "rgb",
        "train_source": train,
        "test_source": "real",
        "class_name": name,
        "accuracy": accuracy,
        "taken_for": "other",
        "share_taken_for": 1 - accuracy,
    }
    return found | changes


def test_the_classes_furthest_behind_real_come_first():
    table = [row("real", name, 0.9) for name in "abcde"]
    table += [
        row("bad", name, value)
        for name, value in zip("abcde", (0.5, 0.1, 0.8, 0.2, 0.95), strict=True)
    ]
    table += [row("good", name, 0.9) for name in "abcde"]
    # Other probes and test images do not enter.
    table += [row("bad", "c", 0.0, probe="texture"), row("bad", "c", 0.0, test_source="bad")]
    found = lost_classes(table, SOURCES)
    assert list(found) == ["bad"]
    assert [one.name for one in found["bad"]] == ["b", "d", "a"]
    assert found["bad"][0] == LostClass("b", 0.1, 0.9, "other", 0.9)


def test_without_a_table_there_is_no_list():
    assert lost_classes([], SOURCES) == {}
