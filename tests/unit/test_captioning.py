"""From replies to captions, and a shard's captions that survive a kill."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgap.captioners import Picture, Reply
from synthgap.captioners.captioning import caption_resumably, clean, judge


@pytest.mark.parametrize(
    ("text", "cut_off", "cleaned"),
    [
        ("A dog sits. It is on a", True, "A dog sits."),
        ("A dog sits. It is on a mat", False, "A dog sits. It is on a mat"),
        ("A dog on a mat in", True, "A dog on a mat in"),  # nothing whole would be left
        (" A dog\n\nsits.\t It  runs. ", False, "A dog sits. It runs."),
        ('He says "Sit!" The dog', True, 'He says "Sit!"'),
        ("It is 3.5 m tall. It has 2.", True, "It is 3.5 m tall. It has 2."),
        ("It is 3.5 m", True, "It is 3.5 m"),
        ("(A dog sits.) It", True, "(A dog sits.)"),
        ("Is it? Yes! So", True, "Is it? Yes!"),
        ("", True, ""),
        ("<think>A dog.\nOr a cat?</think>\n\nA cat sits.", False, "A cat sits."),
        ("犬がいる。猫が", True, "犬がいる。"),
    ],
)
def test_captions_end_with_a_sentence(text, cut_off, cleaned):
    assert clean(text, cut_off) == cleaned


@given(st.text(), st.booleans())
def test_cleaning_is_done_once_and_takes_only_from_the_end(text, cut_off):
    cleaned = clean(text, cut_off)
    assert clean(cleaned, cut_off) == cleaned
    if "<think>" not in text:
        assert " ".join(text.split()).startswith(cleaned)
    assert "\n" not in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I’m sorry, I can’t help with identifying people.",
        "Sorry, I am unable to describe this image.",
        "I cannot provide a description of this image.",
        "I can't view images.",
        "As an AI, I am not able to process this picture.",
        "Unfortunately, I cannot see the image.",
        "I apologize, but I won't describe it.",
        "I'm not able to describe this image.",
        "I'm really sorry, but I can't assist with that.",
        "Sorry. I can't assist with that.",
        "I don't see any image attached.",
        "I'm sorry, but no image was provided.",
        "As a language model, I cannot view images.",
        "I must decline.",
        '"I cannot help with that."',
        "**I'm sorry, I can't help with that.**",
    ],
)
def test_refusals_are_told_from_captions(text):
    assert judge(Reply(text)) == ("", "refused")


@pytest.mark.parametrize(
    "text",
    [
        "A sign says: I'm sorry, I can't help you.",
        "A sorry dog that cannot see the ball.",
        "In this image I can see a dog, and its owner who can't see it.",
        "The animal is hidden. I cannot tell its colour.",
        "I see a dog.",
        "I can't identify the person, but the image shows a man in a blue suit.",
        "I cannot see the dog's tail, which is hidden; the dog stands on grass.",
        "No picture hangs on the wall behind the dog.",
    ],
)
def test_captions_that_speak_of_such_things_are_none(text):
    assert judge(Reply(text)) == (text, "ok")


def test_verdicts():
    assert judge(Reply("A dog.")) == ("A dog.", "ok")
    assert judge(Reply("A dog.", "refused")) == ("", "refused")
    assert judge(Reply(" \n")) == ("", "empty")
    assert judge(Reply('" . "')) == ("", "empty")
    assert judge(Reply("", "failed", error="500 busy")) == ("", "failed: 500 busy")
    assert judge(Reply("A dog. It", "length")) == ("A dog.", "ok")
    assert judge(Reply("犬です")) == ("犬です", "ok")


class Numbers:
    """Numbers its pictures by their call, and can stop or fail."""

    name, at_once = "numbers", 3

    def __init__(self, stop_at=None, fail_at=None):
        self.calls, self.stop_at, self.fail_at = [], stop_at, fail_at

    def caption(self, pictures):
        keys = [picture.key for picture in pictures]
        if keys[0] == self.stop_at:
            raise KeyboardInterrupt
        self.calls.append(keys)
        finish = "failed" if keys[0] == self.fail_at else "stop"
        return [Reply(f"{key} of {keys[0]}", finish) for key in keys]


def pictures(count):
    return (Picture(str(number), "dog", "", bytes) for number in range(count))


def whole(captioner, folder, count=8, at_once=None):
    found = caption_resumably(pictures(count), lambda: captioner, folder=folder, at_once=at_once)
    return [(picture.key, reply.text) for picture, reply in found]


def test_a_killed_job_goes_on_where_it_was_with_the_same_calls(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        whole(Numbers(stop_at="3"), tmp_path / "a")
    again = Numbers()
    resumed = whole(again, tmp_path / "a")
    assert again.calls == [["3", "4", "5"], ["6", "7"]]
    assert resumed == whole(Numbers(), tmp_path / "b")


def test_a_torn_line_is_asked_for_anew(tmp_path):
    first = whole(Numbers(), tmp_path)
    journal = tmp_path / "calls.jsonl"
    journal.write_bytes(journal.read_bytes()[:-10])
    again = Numbers()
    assert whole(again, tmp_path) == first
    assert again.calls == [["6", "7"]]
    assert whole(Numbers(stop_at="6"), tmp_path) == first


def test_a_damaged_line_is_asked_for_anew(tmp_path):
    first = whole(Numbers(), tmp_path)
    journal = tmp_path / "calls.jsonl"
    content = journal.read_bytes()
    journal.write_bytes(content.replace(b"4 of 3", b"5 of 3"))
    again = Numbers()
    assert whole(again, tmp_path) == first
    assert again.calls == [["3", "4", "5"]]
    assert whole(Numbers(stop_at="3"), tmp_path) == first


def test_failures_are_no_result(tmp_path):
    whole(Numbers(fail_at="3"), tmp_path)
    again = Numbers()
    assert len(whole(again, tmp_path)) == 8
    assert again.calls == [["3", "4", "5"]]


def test_a_model_is_loaded_only_if_replies_are_missing(tmp_path):
    whole(Numbers(), tmp_path, at_once=3)
    found = caption_resumably(pictures(8), pytest.fail, folder=tmp_path, at_once=3)
    assert len(list(found)) == 8


def test_pictures_are_read_as_they_are_needed(tmp_path):
    taken = []

    def endless():
        for number in itertools.count():
            taken.append(number)
            yield Picture(str(number), "dog", "", bytes)

    found = caption_resumably(endless(), Numbers, folder=tmp_path)
    for _ in range(4):
        next(found)
    assert len(taken) == 6


def test_no_pictures(tmp_path):
    assert whole(Numbers(), tmp_path, count=0) == []
