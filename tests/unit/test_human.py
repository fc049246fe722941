"""Answers of people: reading their files, and what is measured of them."""

import itertools
import json
import math
import statistics

import numpy as np
import pytest

import measure_people
from synthgap.data.quiz import Pair, Quiz
from synthgap.errors import UserError
from synthgap.metrics.human import Answer, accuracy_over_people, read_answers
from synthgap.metrics.human import measure_people as measure
from synthgap.metrics.intervals import bootstrap_accuracy_over_seeds, wilson
from synthgap.metrics.measures import read_measures

PAIRS = tuple(
    Pair(n, f"l{n}", f"r{n}", "left" if n % 2 else "right", "owl", "owl") for n in range(1, 5)
)
QUIZ = Quiz("q1", "Which?", "real", "fake", PAIRS)
HEADER = "quiz,participant,pair,left,right,chosen,correct,seconds\n"


def line(participant="ada", pair=1, chosen="left", **changes):
    fields = {
        "quiz": "q1",
        "participant": participant,
        "pair": pair,
        "left": f"l{pair}",
        "right": f"r{pair}",
        "chosen": chosen,
        "correct": 1,
        "seconds": "2.5",
    }
    return ",".join(str(value) for value in (fields | changes).values()) + "\n"


def write(path, *lines, header=HEADER):
    path.write_text(header + "".join(lines), encoding="utf-8")
    return path


def test_who_is_right_is_told_by_the_key_alone(tmp_path):
    one = write(tmp_path / "1.csv", *(line("bo", pair, "left", correct=1) for pair in (1, 2, 3, 4)))
    two = write(tmp_path / "2.csv", line(" ada ", 4, "right", correct=0, seconds=7))
    found = read_answers([one, two], QUIZ)
    assert list(found) == ["ada", "bo"]
    assert found["ada"] == {4: Answer(True, 7.0)}
    assert [answer.right for answer in found["bo"].values()] == [True, False, True, False]


def test_a_file_saved_anew_by_a_spreadsheet_is_read(tmp_path):
    path = tmp_path / "1.csv"
    text = HEADER + line('"Zoë, 7"', 2, "right") + line('"Zoë, 7"', 1, "right")
    path.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    found = read_answers([path], QUIZ)
    assert {pair: answer.right for pair, answer in found["Zoë, 7"].items()} == {2: True, 1: False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.csv has no column quiz, participant, .*the CSV files that the quiz's page saved"),
        (HEADER.replace(",chosen", ""), r"a\.csv has no column chosen; "),
        (HEADER, r"a\.csv holds no answers"),
        (b"\x89PNG\r\n\x1a\n\xff", r"a\.csv is no CSV that can be read \('utf-8'"),
        (HEADER + "\x00,\n", r"a\.csv is no CSV that can be read|not as many fields"),
        (HEADER + '"q1,ada\n', r"a\.csv is no CSV that can be read \(unexpected end"),
        (HEADER + "q1,ada,1\n", r"a\.csv, line 2 has not as many fields"),
        (HEADER + line().replace("\n", ",more\n"), r"line 2 has not as many fields"),
        (HEADER + line() + line(pair=2, quiz="q2"), r"a\.csv, line 3 is of the quiz q2, and .* q1"),
        (HEADER + line(participant=" "), "line 2 names no participant"),
        (HEADER + line(pair=5), "line 2: the quiz has no pair '5', but 1 to 4"),
        (HEADER + line(pair="one"), "no pair 'one'"),
        (HEADER + line(left="l2"), "pair 1 shows l2 and r1, and in the key l1 and r1"),
        (HEADER + line(chosen="both"), "chosen is 'both', not left or right"),
        (HEADER + line(seconds="-1"), "seconds is '-1'"),
        (HEADER + line(seconds="nan"), "seconds is 'nan'"),
        (HEADER + line() + line(chosen="right"), "line 3: ada answered pair 1 twice"),
    ],
)
def test_files_that_cannot_be_used_are_told(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message):
        read_answers([path], QUIZ)


def test_one_participant_in_two_files_is_told(tmp_path):
    paths = [write(tmp_path / name, line("ada", 2)) for name in ("a.csv", "b.csv")]
    with pytest.raises(UserError, match=r"b\.csv, line 2: ada answered pair 2 in .*a\.csv already"):
        read_answers(paths, QUIZ)
    # Different pairs are one participant's answers in two parts.
    write(paths[1], line("ada", 3))
    assert sorted(read_answers(paths, QUIZ)["ada"]) == [2, 3]
    with pytest.raises(UserError, match=r"is no CSV that can be read .*directory"):
        read_answers([tmp_path], QUIZ)
    with pytest.raises(UserError, match="no files of answers"):
        read_answers([], QUIZ)


def answers(*rows):
    """Answers by rows of 1, 0 and None, a row a participant."""
    return {
        f"p{i}": {n: Answer(bool(v), 2.0 * n) for n, v in enumerate(row, 1) if v is not None}
        for i, row in enumerate(rows)
    }


def test_participants_count_alike_however_much_they_answered():
    found = measure(answers([1, 1, 0, 0], [1, None, None, None], [1, 1, 1, 0]), QUIZ)
    by_name = {m.name: m for m in found if m.name}
    shares = [0.5, 1.0, 0.75]
    assert by_name["accuracy"].value == pytest.approx(sum(shares) / 3)
    assert by_name["accuracy"].n == by_name["participants"].value == 3
    assert by_name["accuracy_sd"].value == pytest.approx(statistics.stdev(shares)) == 0.25
    assert by_name["accuracy"].settings["answers"] == by_name["seconds"].n == 9
    assert by_name["seconds"].value == 4
    each = [m for m in found if m.metric == "human_accuracy_of_participant"]
    assert [(m.settings["participant"], m.value, m.n) for m in each] == [
        ("p0", 0.5, 4),
        ("p1", 1.0, 1),
        ("p2", 0.75, 4),
    ]
    assert (each[2].low, each[2].high) == wilson(3, 4)[1:]


def test_one_participant_gets_wilsons_interval_and_no_deviation():
    found = {m.name: m for m in measure(answers([1, 0, 1, None]), QUIZ)}
    assert "accuracy_sd" not in found
    accuracy = found["accuracy"]
    assert (accuracy.value, accuracy.low, accuracy.high) == wilson(2, 3)
    assert accuracy.settings["interval"] == "wilson"
    always = {m.name: m for m in measure(answers([1, 1, 1, 1], [1, 1, None, None]), QUIZ)}
    assert always["accuracy"].low == wilson(4, 4).low
    assert always["accuracy"].settings["interval"] == "wilson"


def exact_distribution(right):
    """All equally likely resamples of participants and pairs, by hand: means with their weights."""
    people, pairs = right.shape
    means = []
    for drawn_people in itertools.product(range(people), repeat=people):
        for drawn_pairs in itertools.product(range(pairs), repeat=pairs):
            rows = [right[p, list(drawn_pairs)] for p in drawn_people]
            rows = [row[~np.isnan(row)] for row in rows]
            shares = [row.mean() for row in rows if len(row)]
            if shares:
                means.append(np.mean(shares))
    return np.array(means)


@pytest.mark.parametrize(
    "right",
    [
        [[1, 1, 0], [1, 0, 0]],
        [[1, 1, math.nan], [1, 0, 0]],
        [[1, math.nan, math.nan], [0, math.nan, 1], [1, 1, 0]],
    ],
)
def test_the_bootstrap_draws_from_the_distribution_that_counting_gives(right):
    right = np.array(right)
    exact = exact_distribution(right)
    for level in (0.5, 0.8):
        found, kind = accuracy_over_people(right, level=level, resamples=20_000, seed=1)
        assert kind == "bootstrap over participants and pairs"
        for limit, share in ((found.low, (1 - level) / 2), (found.high, (1 + level) / 2)):
            # 20 000 resamples know a share to some 0.003; the values are few and far apart.
            below, above = np.quantile(exact, [share - 0.015, share + 0.015])
            assert below - 1e-9 <= limit <= above + 1e-9
        assert found.value == pytest.approx(np.nanmean(right, axis=1).mean())


def test_a_missing_answer_hardly_moves_the_interval():
    rng = np.random.default_rng(0)
    right = (rng.random((19, 32)) < rng.uniform(0.5, 0.9, (19, 1))).astype(float)
    whole, _ = accuracy_over_people(right)
    assert whole == bootstrap_accuracy_over_seeds(right.astype(bool))
    right[3, 5] = math.nan
    found, _ = accuracy_over_people(right)
    assert found.low == pytest.approx(whole.low, abs=0.01)
    assert found.high == pytest.approx(whole.high, abs=0.01)
    assert accuracy_over_people(right, seed=5)[0] != found == accuracy_over_people(right)[0]


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        skill, ease = rng.uniform(-0.1, 0.1, (12, 1)), rng.uniform(-0.2, 0.2, (1, 32))
        right = (rng.random((12, 32)) < 0.7 + skill + ease).astype(float)
        right[rng.random((12, 32)) < 0.2] = math.nan
        found, _ = accuracy_over_people(right, resamples=400, seed=trial)
        hits += found.low <= 0.7 <= found.high
    assert 0.9 <= hits / 200 <= 1


def test_the_command_writes_measures(tmp_path):
    (tmp_path / "key.json").write_text(QUIZ.text())
    paths = [
        write(tmp_path / f"{name}.csv", *(line(name, pair, side) for pair in (1, 2, 3, 4)))
        for name, side in (("ada", "left"), ("bo", "left"), ("cy", "right"))
    ]
    write(paths[2], line("cy", 1, "right"), line("cy", 4, "right"))
    out = tmp_path / "people.json"
    words = ["--key", tmp_path / "key.json", "--answers", *paths, "--output", out, "--seed", 0]
    words += ["--about", '{"study": "distinguish"}']
    measure_people.main(measure_people.options().parse_args([str(word) for word in words]))
    content = json.loads(out.read_text())
    assert (content["accuracy"], content["accuracy_sd"], content["participants"]) == (0.5, 0, 3)
    assert content["facts"]["answers"] == {"ada": 4, "bo": 4, "cy": 2}
    measures, about = read_measures(out)
    assert about == {"study": "distinguish"}
    assert len(measures) == 7
    assert measures[0].settings["question"] == "Which?"


def test_no_answers_are_refused():
    with pytest.raises(UserError, match="no answers"):
        measure({}, QUIZ)
    with pytest.raises(UserError, match="an answer in each row"):
        accuracy_over_people(np.array([[1.0, 0.0], [math.nan, math.nan]]))
