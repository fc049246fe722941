"""Numbers of captions, against what plain counting gives."""

import itertools
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgap.errors import UserError
from synthgap.metrics.captions import (
    CaptionTally,
    distinct_words,
    measure_truncation,
    names_class,
)
from synthgap.metrics.intervals import wilson


def row(caption="", **more):
    """A row of a caption table; without a caption it was refused."""
    told = {
        "key": "k", "class_index": 0, "class_name": "hen", "caption": caption,
        "status": "ok" if caption else "refused", "captioner": "asked", "model": "answered",
        "prompt": "paper-a", "finish": "stop" if caption else "refused", "input_tokens": None,
        "output_tokens": None, "cost_usd": None, "seconds": None, "attempts": 1,
    }  # fmt: skip
    return told | more


def tallied(rows, **options):
    tally = CaptionTally()
    for one in rows:
        tally.add(one)
    return tally.measure(**options)


def values(rows, **options):
    """Values by metric, and by number of captions where there are several."""
    found = {}
    for measure in tallied(rows, **options):
        captions = measure.settings.get("captions")
        name = measure.metric if captions is None else f"{measure.metric}_{captions}"
        assert name not in found
        found[name] = measure.interval.value
    return found


CAPTIONS = [
    "A small hen, on grass.",
    "a  SMALL hen,\non grass. ",
    "Two hens; one isn't white.",
    "An owl.",
]


def test_numbers_of_a_few_captions():
    rows = [row(caption, output_tokens=10 + i) for i, caption in enumerate(CAPTIONS)]
    rows[2] |= {"finish": "length", "input_tokens": 7, "cost_usd": 0.25}
    rows += [
        row(input_tokens=5, cost_usd=0.5, output_tokens=1),
        row(status="empty", finish="stop"),
        row(status="failed: no: answer", finish="failed"),
        row(status="refused"),
    ]
    found = values(rows, vocabulary_of=4)
    assert found == {
        "words_mean": (5 + 5 + 5 + 2) / 4,
        "tokens_mean": 11.5,
        "distinct_words_4": 12,  # a small hen on grass; two hens one isn't white; an owl
        "share_naming_class": 0.75,
        "share_duplicate": 0.25,
        "share_refused": 2 / 8,
        "share_empty": 1 / 8,
        "share_failed": 1 / 8,
        "share_cut_off": 1 / 8,
        "input_tokens_total": 12,
        "output_tokens_total": 10 + 11 + 12 + 13 + 1,
        "cost_usd_total": 0.75,
    }


def test_vocabulary_is_of_as_many_captions_as_asked_for_and_of_all():
    found = values([row(caption) for caption in CAPTIONS], vocabulary_of=1)
    assert found["distinct_words_1"] == pytest.approx((5 + 5 + 5 + 2) / 4)
    assert found["distinct_words_4"] == 12
    assert "distinct_words_4" in values([row(caption) for caption in CAPTIONS])


def test_intervals_and_what_they_are_of():
    rows = [row(caption) for caption in CAPTIONS] + [row()] * 4
    found = {measure.metric: measure for measure in tallied(rows)}
    assert found["share_naming_class"].interval == wilson(3, 4)
    assert found["share_refused"].interval == wilson(4, 8)
    mean = found["words_mean"].interval
    assert 2 <= mean.low < mean.value < mean.high <= 5
    for name in ("distinct_words", "share_duplicate"):
        assert math.isnan(found[name].interval.low)
        assert math.isnan(found[name].interval.high)
    assert {name: measure.n for name, measure in found.items()} == {
        "words_mean": 4, "distinct_words": 4, "share_naming_class": 4, "share_duplicate": 4,
        "share_refused": 8, "share_empty": 8, "share_failed": 8, "share_cut_off": 8,
    }  # fmt: skip


def test_who_made_them_is_said_and_nothing_else():
    rows = [row("x"), row("y", model="later"), row("z", prompt=None, model="")]
    for measure in tallied(rows):
        about = {"captioner": "asked", "model": "answered, later", "prompt": "paper-a"}
        more = {"captions": 3} if measure.metric == "distinct_words" else {}
        assert measure.settings == about | more
    assert "prompt" not in tallied([row("x", prompt=None)])[0].settings


def test_no_captions_at_all_leave_the_shares():
    assert set(values([row()])) == {
        "share_refused", "share_empty", "share_failed", "share_cut_off",
    }  # fmt: skip
    with pytest.raises(UserError, match="no rows"):
        tallied([])
    with pytest.raises(UserError, match="vocabulary_of"):
        tallied([row("x")], vocabulary_of=0)


TEXTS = st.text("ab -.A\n", min_size=1, max_size=6).filter(lambda text: text.strip())
ROWS = st.lists(
    st.builds(
        row,
        st.one_of(st.just(""), TEXTS),
        cost_usd=st.one_of(st.none(), st.floats(0, 1)),
        output_tokens=st.one_of(st.none(), st.integers(0, 50)),
        finish=st.sampled_from(["stop", "length"]),
        class_name=st.sampled_from(["a", "b, ab"]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, random=st.randoms())
def test_order_of_the_rows_does_not_matter(rows, random):
    mixed = random.sample(rows, len(rows))
    assert repr(tallied(mixed, vocabulary_of=2)) == repr(tallied(rows, vocabulary_of=2))


@settings(max_examples=100, deadline=None)
@given(captions=st.lists(TEXTS, min_size=1, max_size=10))
def test_duplicates_are_those_with_an_equal_before_them(captions):
    def same(a, b):
        return re.sub(r"\s+", " ", a).strip().lower() == re.sub(r"\s+", " ", b).strip().lower()

    repeated = [
        any(same(caption, other) for other in captions[:i]) for i, caption in enumerate(captions)
    ]
    found = values([row(caption) for caption in captions])
    assert found["share_duplicate"] == sum(repeated) / len(captions)


@settings(max_examples=60, deadline=None)
@given(
    captions=st.lists(st.lists(st.sampled_from("abcdef")), min_size=1, max_size=7),
    data=st.data(),
)
def test_distinct_words_are_the_mean_over_all_choices(captions, data):
    chosen = data.draw(st.integers(1, len(captions)))
    choices = list(itertools.combinations(captions, chosen))
    mean = sum(len(set(itertools.chain(*choice))) for choice in choices) / len(choices)
    frequencies = [sum(word in caption for caption in captions) for word in "abcdef"]
    frequencies = [number for number in frequencies if number]
    assert distinct_words(frequencies, len(captions), chosen) == pytest.approx(mean, abs=1e-12)


def test_distinct_words_of_many_captions():
    """A word in d of n captions is missed with probability C(n - d, N) / C(n, N)."""
    n, chosen = 1_281_167, 1000
    for d in (1, 1000, n - chosen, n):
        missed = math.comb(n - d, chosen) / math.comb(n, chosen) if d < n - 1 else 0
        assert distinct_words([d], n, chosen) == pytest.approx(1 - missed, rel=1e-9)
    for bad in ((5, 0), (5, 6)):
        with pytest.raises(UserError, match=r"lie in 1\.\.5"):
            distinct_words([1], *bad)
    with pytest.raises(UserError, match=r"lie in 1\.\.5"):
        distinct_words([6], 5, 2)


@pytest.mark.parametrize(
    ("caption", "class_name", "named"),
    [
        ("A hen.", "hen", True),
        ("Two HENS on grass", "hen", True),
        ("A henhouse", "hen", False),
        ("then", "hen", False),
        ("hen_2", "hen", False),
        ("Three churches", "church", True),
        ("A golf ball", "golf ball", True),
        ("A golf\nball", "golf ball", True),
        ("golf-balls", "golf ball", True),
        ("a ball of golf", "golf ball", False),
        ("a golfball", "golf ball", False),
        ("a white  shark", "great white shark, white shark", True),
        ("a great shark", "great white shark, white shark", False),
        ("a golden retriever", "golden_retriever", True),
        ("a jack-o'-lantern", "jack-o’-lantern", True),
        ("a jack o’ lantern", "jack-o'-lantern", True),
        ("we write C++ here", "C++", True),
        ("anything", "", False),
        ("anything", " , ", False),
    ],
)
def test_class_names_are_found(caption, class_name, named):
    assert names_class(caption, class_name) is named


PROMPTS = [
    ("short", {}),
    ("long", {"tokenizer": 5}),
    ("longer", {"tokenizer": 9, "tokenizer_2": 20}),
    ("long", {"tokenizer": 5}),
    ("brief", {}),
]


def truncated(prompts):
    return {
        (measure.metric, measure.settings["text_encoder"]): measure
        for measure in measure_truncation(prompts)
    }


def test_tokens_cut_are_counted_a_prompt_and_encoder():
    found = truncated(PROMPTS)
    values = {key: (measure.interval.value, measure.n) for key, measure in found.items()}
    assert values == {
        ("share_prompts_cut", "any"): (2 / 4, 4),
        ("tokens_cut_mean", "any"): (12.5, 2),
        ("share_prompts_cut", "tokenizer"): (2 / 4, 4),
        ("tokens_cut_mean", "tokenizer"): (7, 2),
        ("share_prompts_cut", "tokenizer_2"): (1 / 4, 4),
        ("tokens_cut_mean", "tokenizer_2"): (20, 1),
    }
    assert found["share_prompts_cut", "tokenizer"].interval == wilson(2, 4)
    assert found["tokens_cut_mean", "tokenizer"].interval.low == 5
    assert math.isnan(found["tokens_cut_mean", "tokenizer_2"].interval.low)
    for prompts in itertools.permutations(PROMPTS):
        assert repr(truncated(prompts)) == repr(found)


def test_where_nothing_was_cut_that_is_said():
    (only,) = measure_truncation([("a", {}), ("b", {})])
    assert (only.metric, only.interval) == ("share_prompts_cut", wilson(0, 2))
    with pytest.raises(UserError, match="no prompts"):
        measure_truncation([])
