"""The captioner that asks a service: its faults, its cache, its pace, its secrets."""

import email.utils
import hashlib
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fake_service import KEY, MODEL, error, serving
from synthgap import stopping
from synthgap.captioners import Picture, Reply, load_captioner
from synthgap.captioners.cache import ReplyCache, picture_key
from synthgap.captioners.pace import duration, pause, retry_after, used_up
from synthgap.captioners.requests import read_completion, reason, request_body, require_model
from synthgap.captioners.service import cache_settings
from synthgap.config.captioners import ServiceCaptioner
from synthgap.data.images import decode, encode
from synthgap.errors import UserError
from synthgap.sealed_lines import seal


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def server():
    with serving() as service:
        yield service


def picture(number, class_name="dog"):
    rng = np.random.default_rng(number)
    content = encode(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), "png")
    digest = hashlib.sha256(content).hexdigest()
    return Picture(f"{number:04d}", class_name, digest, lambda: content)


def pictures(count):
    return [picture(number) for number in range(count)]


def captioner(server, cache, max_failed=0.0, **settings):
    settings = {"base_url": server.url, "model": MODEL, "prompt": "paper-b", **settings}
    config = ServiceCaptioner(kind="service", **settings)
    transport = json.loads(config.transport) | {"max_failed": max_failed}
    return load_captioner(config.options() | {"transport": transport}, cache=cache)


@pytest.fixture
def quick(monkeypatch):
    """Tries follow one another at once."""
    monkeypatch.setattr("synthgap.captioners.service.pause", lambda attempt: 0.0)


def test_replies_tell_model_tokens_cost_and_time(server, tmp_path):
    server.latency = 0.05
    price = {"input": 1.0, "output": 10.0}
    replies = captioner(server, tmp_path, price=price).caption(pictures(3))
    assert len({reply.text for reply in replies}) == 3
    for reply in replies:
        assert reply.model == f"{MODEL}-2026-01-01"
        assert (reply.input_tokens, reply.output_tokens) == (100, 20)
        assert reply.cost_usd == pytest.approx((100 * 1 + 20 * 10) / 1e6)
        assert 0.05 <= reply.seconds < 5
        assert (reply.finish, reply.attempts) == ("stop", 1)


def test_a_request_says_what_the_settings_say(server, tmp_path):
    captioner(
        server, tmp_path, prompt="What is this {class_name}?", detail="high", max_tokens=77,
        token_argument="max_tokens", temperature=0.5, arguments={"seed": 7}, image_size=16,
    ).caption([picture(1, "tench")])  # fmt: skip
    [body] = server.bodies
    text, image = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is this tench?"}
    assert image["image_url"]["detail"] == "high"
    assert (body["max_tokens"], body["temperature"], body["seed"]) == (77, 0.5, 7)
    assert "max_completion_tokens" not in body


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_an_image_is_sent_as_it_is_or_at_the_size_asked_for(image_format):
    import base64

    content = encode(np.arange(192, dtype=np.uint8).reshape(8, 8, 3), image_format)
    one = Picture("0", "dog", "", lambda: content)
    spec = ServiceCaptioner(kind="service", model="m", prompt="paper-b").options()
    for size, side in ((None, 8), (8, 8), (32, 32)):
        body = request_body(spec | {"image_size": size}, one)
        head, _, data = body["messages"][0]["content"][1]["image_url"]["url"].partition(",")
        assert head == f"data:image/{image_format};base64"
        assert decode(base64.b64decode(data)).shape == (side, side, 3)
        if side == 8:
            assert base64.b64decode(data) == content


def test_what_is_no_image_is_not_sent(server, tmp_path):
    broken = Picture("0007", "dog", "0" * 64, lambda: b"no image")
    with pytest.raises(UserError, match=r"0007.*PNG"):
        captioner(server, tmp_path).caption([broken])
    assert not server.asked


def test_no_reply_is_asked_for_twice(server, tmp_path):
    first = captioner(server, tmp_path).caption(pictures(5))
    again = captioner(server, tmp_path).caption(pictures(8))
    assert again[:5] == first
    assert len(server.asked) == len(set(server.asked)) == 8


def test_identical_pictures_are_asked_for_once(server, tmp_path):
    replies = captioner(server, tmp_path).caption([picture(1)] * 10 + [picture(2)])
    assert len(server.asked) == 2
    assert len({reply.text for reply in replies}) == 2


def test_another_prompt_model_or_setting_is_another_question(server, tmp_path):
    for settings in ({}, {"prompt": "paper-a"}, {"detail": "high"}, {"max_tokens": 5}):
        captioner(server, tmp_path, **settings).caption([picture(1)])
    assert len(server.asked) == 4
    captioner(server, tmp_path, concurrency=2, timeout=3.0).caption([picture(1)])
    assert len(server.asked) == 4  # how it is fetched says nothing


def test_a_prompt_with_the_class_asks_for_each_class(server, tmp_path):
    asked = [picture(1, "cat"), picture(1, "dog"), picture(1, "dog")]
    replies = captioner(server, tmp_path, prompt="This {class_name} is").caption(asked)
    assert len(server.asked) == 2
    assert replies[1] == replies[2] != replies[0]


@pytest.mark.parametrize(
    "fault",
    ["cut", "malformed", "page", (500, error("server_error"), {}), (503, "busy", {}),
     (429, error("rate_limit_exceeded"), {}), (408, error("timeout"), {})],
    ids=str,
)  # fmt: skip
def test_passing_faults_are_tried_again(server, tmp_path, quick, fault):
    for one in (fault, None, fault, fault):
        server.faults.put(one)
    replies = captioner(server, tmp_path, concurrency=1).caption(pictures(4))
    assert [reply.finish for reply in replies] == ["stop"] * 4
    assert sorted(reply.attempts for reply in replies) == [1, 1, 2, 3]


def test_a_reply_that_takes_too_long_is_asked_for_again(server, tmp_path, quick):
    server.faults.put("slow")
    [reply] = captioner(server, tmp_path, timeout=0.3).caption(pictures(1))
    assert (reply.finish, reply.attempts) == ("stop", 2)


@pytest.mark.parametrize("told", [{"retry-after": "0.4"}, {"retry-after-ms": "400"}])
def test_retry_after_holds_back_all_requests(server, tmp_path, quick, told):
    server.faults.put((429, error("rate_limit_exceeded"), told))
    started = time.monotonic()
    replies = captioner(server, tmp_path, concurrency=1).caption(pictures(3))
    assert time.monotonic() - started >= 0.4
    assert [reply.attempts for reply in replies] == [2, 1, 1]
    assert len(server.asked) == 4


def test_a_used_up_limit_is_waited_for_before_it_is_hit(server, tmp_path):
    server.headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "300ms",
    }
    started = time.monotonic()
    captioner(server, tmp_path, concurrency=1).caption(pictures(3))
    assert time.monotonic() - started >= 0.6
    assert len(server.asked) == 3


def test_waiting_for_a_limit_is_more_patient_than_for_a_fault(server, tmp_path, quick):
    for _ in range(4):
        server.faults.put((429, error("rate_limit_exceeded"), {}))
    [reply] = captioner(server, tmp_path, attempts=2).caption(pictures(1))
    assert (reply.finish, reply.attempts) == ("stop", 5)


def test_a_picture_that_always_fails_is_told_and_asked_for_anew_next_time(server, tmp_path, quick):
    bad = picture(1)
    server.always[bad.sha256] = (500, error("server_error", "no luck"), {})
    replies = captioner(server, tmp_path, max_failed=0.5, attempts=3).caption(pictures(2))
    assert [reply.finish for reply in replies] == ["stop", "failed"]
    assert replies[1].attempts == 3
    assert replies[1].error == "500 server_error no luck"
    server.always.clear()
    assert captioner(server, tmp_path).caption([bad])[0].finish == "stop"


def test_too_many_failures_end_the_work_early_and_lose_nothing(server, tmp_path):
    for _ in range(10):
        server.faults.put(None)
    many = pictures(200)
    for one in many[10:]:
        server.always[one.sha256] = (400, error("invalid_image", "broken"), {})
    with pytest.raises(UserError, match=r"3 images failed.*max_failed allows 2.*broken.*kept"):
        captioner(server, tmp_path, max_failed=0.01, concurrency=1).caption(many)
    assert len(server.asked) == 13
    captioner(server, tmp_path).caption(many[:10])
    assert len(server.asked) == 13


def test_refusals_empty_and_cut_replies_are_kept_as_they_are(server, tmp_path):
    for fault in ("refusal", "empty", "length"):
        server.faults.put(fault)
    server.faults.put((400, error("content_policy_violation", "unsafe"), {}))
    replies = captioner(server, tmp_path, concurrency=1).caption(pictures(4))
    assert [reply.finish for reply in replies] == ["refused", "stop", "length", "refused"]
    again = captioner(server, tmp_path).caption(pictures(4))
    assert again == replies
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ((429, error("insufficient_quota", "pay"), {}), "quota of your account.*pay.*kept"),
        ((402, "", {}), "quota of your account"),
        ((401, error("invalid_api_key", f"Incorrect: {KEY}"), {}), "refuses the key in OPENAI"),
        ((403, error("forbidden"), {}), "refuses access to tiny-captioner .403 forbidden"),
        ((429, error("rate_limit_exceeded"), {"retry-after": "90000"}), "for 25.0 hours"),
        ("other", "asked tiny-captioner, and another-model answered"),
    ],
)
def test_what_concerns_all_ends_the_work_at_once(server, tmp_path, fault, told):
    for _ in range(4):
        server.faults.put(None)
    server.faults.put(fault)
    with pytest.raises(UserError, match=told) as raised:
        captioner(server, tmp_path, concurrency=1).caption(pictures(50))
    assert KEY not in str(raised.value)
    assert len(server.asked) == 5
    # What another model said is paid for too.
    assert len(ReplyFiles(tmp_path)) == (5 if fault == "other" else 4)
    captioner(server, tmp_path).caption(pictures(4))
    assert len(server.asked) == 5


class ReplyFiles(list):
    """The lines of a cache."""

    def __init__(self, folder):
        super().__init__(
            line for path in Path(folder).rglob("*.replies") for line in path.open()
        )  # fmt: skip


def test_an_unknown_model_is_named_with_what_there_is(server, tmp_path):
    with pytest.raises(UserError, match=f"no model `tiny-caption`; did you mean `{MODEL}`"):
        captioner(server, tmp_path, model="tiny-caption").caption(pictures(1))


def test_a_missing_key_is_told_by_its_variable(server, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UserError, match="OPENAI_API_KEY is not set"):
        captioner(server, tmp_path).caption(pictures(1))


def test_nothing_is_asked_of_an_unreachable_service_for_long(tmp_path, quick):
    with serving() as gone:
        spare = gone
    with pytest.raises(UserError, match=r"1 images failed.*connection"):
        captioner(spare, tmp_path, attempts=2).caption(pictures(2))


def test_the_key_is_nowhere(server, tmp_path, caplog, quick):
    caplog.set_level(logging.DEBUG)
    server.faults.put((500, error("server_error", f"your key {KEY} is fine"), {}))
    server.faults.put((400, error("bad", f"your key {KEY} is bad"), {}))
    asked = captioner(server, tmp_path, max_failed=1.0, concurrency=1)
    replies = asked.caption(pictures(2))
    assert KEY not in repr(replies)
    assert KEY not in caplog.text
    assert replies[0].finish == "failed"
    assert "***" in replies[0].error
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


@pytest.mark.parametrize("key", ["sk-abc\ndef", "sk-abc def", "sk-…", "sk-abc\x00"])
def test_what_is_no_key_is_not_repeated(server, tmp_path, monkeypatch, key):
    monkeypatch.setattr("os.environ", {"OPENAI_API_KEY": key})
    with pytest.raises(UserError, match="OPENAI_API_KEY holds no key") as raised:
        captioner(server, tmp_path).caption(pictures(1))
    assert "sk-" not in str(raised.value)


def test_a_key_at_the_end_of_a_long_message_is_not_told_in_part():
    told = json.dumps(error("bad", "x" * 290 + KEY))
    assert "sk-" not in reason(told, KEY)[1]


def test_an_alias_is_accepted_where_it_is_named(server, tmp_path):
    server.faults.put("other")
    asked = captioner(server, tmp_path, answers_as="another-model")
    assert asked.caption(pictures(2))[0].model in ("another-model", f"{MODEL}-2026-01-01")
    with pytest.raises(UserError, match="set `answers_as: another-model`"):
        captioner(server, tmp_path).caption(pictures(2))
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [("m", "m", True), ("m", "org/m", True), ("org/m", "m-2025-04-14", True), ("m", "m@2024", True),
     ("m", "m:7", True), ("gpt-4.1", "gpt-4.1-mini-2025-04-14", False), ("m", "mm", False)],
)  # fmt: skip
def test_a_date_tells_a_model_more_exactly_and_a_size_another(asked, answered, same):
    replies = [Reply("", model=answered)]
    if same:
        require_model(replies, asked, None)
    else:
        with pytest.raises(UserError, match="asked"):
            require_model(replies, asked, None)


def test_an_answer_in_parts_and_without_a_model_is_read():
    parts = [{"type": "text", "text": "A dog"}, {"type": "text", "text": " sits."}]
    told = {"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]}
    reply = read_completion(json.dumps(told), "m", None)
    assert (reply.text, reply.model, reply.input_tokens) == ("A dog sits.", "m", None)


def test_whole_answers_of_another_kind_are_paid_for_twice_at_most(server, tmp_path, quick):
    for _ in range(9):
        server.faults.put((200, {"answer": "A dog."}, {}))
    [reply] = captioner(server, tmp_path, max_failed=1.0).caption(pictures(1))
    assert (reply.finish, reply.attempts, len(server.asked)) == ("failed", 2, 2)


def test_an_unexpected_error_lets_the_others_come_to_their_ends(server, tmp_path):
    server.latency = 0.2

    def read():
        while len(server.asked) < 3:  # the others are under way
            time.sleep(0.01)
        return encode(np.zeros((8, 8, 3), np.uint8), "png")[:60]

    broken = Picture("bad", "dog", "f" * 64, read)
    asked = captioner(server, tmp_path, concurrency=4, image_size=16)
    with pytest.raises(UserError, match="bad is damaged"):
        asked.caption([*pictures(3), broken])
    assert len(ReplyFiles(tmp_path)) == 3


def test_the_cache_is_found_again_by_later_versions(tmp_path):
    spec = ServiceCaptioner(kind="service", model="m", prompt="paper-b").options()
    assert ReplyCache(tmp_path, cache_settings(spec)).folder.name == "m-0800dc7f9b432007"
    assert cache_settings(spec) == {"model": "m", "prompt": "Describe this image"}
    later = json.dumps({"text": "A dog.", "new_field": 1})
    with ReplyCache(tmp_path, cache_settings(spec)) as cache:
        cache.add("0" * 64, Reply("first"))
    [journal] = tmp_path.rglob("*.replies")
    with journal.open("ab") as file:
        file.write(seal(f"{'1' * 64}\t{later}".encode()))
    assert cache.find(["1" * 64])["1" * 64].text == "A dog."


def test_many_jobs_may_make_a_cache_at_once(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    def one(number):
        with ReplyCache(tmp_path, {"model": "m"}) as cache:
            cache.add(f"{number:064d}", Reply(str(number)))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(64)))
    keys = [f"{number:064d}" for number in range(64)]
    assert len(ReplyCache(tmp_path, {"model": "m"}).find(keys)) == 64


def test_requests_are_bounded_and_full(server, tmp_path):
    server.latency = 0.1
    captioner(server, tmp_path, concurrency=8).caption(pictures(64))
    assert server.most_in_flight == 8
    assert server.busy / (server.last - server.first) > 0.7 * 8


def stop_after(requests, server, monkeypatch):
    """Tell this process to stop, as a signal does, once the server got so many requests."""

    def stop():
        while len(server.asked) < requests:
            time.sleep(0.01)
        monkeypatch.setattr(stopping, "_asked", True)

    threading.Thread(target=stop).start()


def test_a_stopped_job_waits_for_what_it_asked_and_starts_no_more(server, tmp_path, monkeypatch):
    server.latency = 0.5
    stop_after(6, server, monkeypatch)
    with pytest.raises(stopping.Stopped):
        captioner(server, tmp_path, concurrency=4).caption(pictures(40))
    monkeypatch.setattr(stopping, "_asked", False)
    assert 6 <= len(server.asked) <= 12
    assert len(ReplyFiles(tmp_path)) == len(server.answered) == len(server.asked)
    captioner(server, tmp_path, concurrency=40).caption(pictures(40))
    assert sorted(server.asked) == sorted(one.sha256 for one in pictures(40))


def test_a_stop_does_not_wait_for_pauses(server, tmp_path, monkeypatch):
    server.faults.put((500, "", {"retry-after": "60"}))
    stop_after(1, server, monkeypatch)
    started = time.monotonic()
    with pytest.raises(stopping.Stopped):
        captioner(server, tmp_path, concurrency=1).caption(pictures(3))
    monkeypatch.setattr(stopping, "_asked", False)
    assert time.monotonic() - started < 5
    assert len(server.asked) == 1


CHILD = """
import signal, sys
sys.path[:0] = [{tests!r}, {unit!r}]
from pathlib import Path
from synthgap import stopping
from types import SimpleNamespace
import test_captioners_service as t
stopping.listen()
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
try:
    asked = t.captioner(SimpleNamespace(url={url!r}), Path({cache!r}), concurrency=4)
    asked.caption(t.pictures(60))
except (stopping.Stopped, KeyboardInterrupt):
    sys.exit(3)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_process_pays_for_no_reply_twice(server, tmp_path, number):
    server.latency = 0.2
    unit = Path(__file__).parent
    code = CHILD.format(tests=str(unit.parent), unit=str(unit), url=server.url, cache=str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", code])
    while len(server.asked) < 12 and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(number)
    status = child.wait()
    kept = len(ReplyFiles(tmp_path))
    time.sleep(0.3)
    if number == signal.SIGKILL:  # what was under way nobody could keep
        assert kept >= len(server.answered) - 8
    else:
        assert status == 3
        assert kept == len(server.asked)
    before = len(server.asked)
    whole = captioner(server, tmp_path, concurrency=30).caption(pictures(60))
    assert len(server.asked) - before == 60 - kept
    with serving() as other:
        undisturbed = captioner(other, tmp_path / "other").caption(pictures(60))
    assert [reply.text for reply in whole] == [reply.text for reply in undisturbed]


def test_a_torn_line_of_the_cache_is_ignored(server, tmp_path):
    first = captioner(server, tmp_path, concurrency=1).caption(pictures(3))
    [path] = tmp_path.rglob("*.replies")
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    assert captioner(server, tmp_path).caption(pictures(3))[:2] == first[:2]
    assert len(server.asked) == 4
    path.write_bytes(b"\x00" * 100 + b"\n" + content)
    captioner(server, tmp_path).caption(pictures(3))
    assert len(server.asked) == 4


def test_a_damaged_reply_of_the_cache_is_asked_for_anew(server, tmp_path, caplog):
    first = captioner(server, tmp_path, concurrency=1).caption(pictures(3))
    [path] = tmp_path.rglob("*.replies")
    path.write_bytes(path.read_bytes().replace(first[1].text.encode(), first[2].text.encode()))
    again = captioner(server, tmp_path).caption(pictures(3))
    assert [reply.text for reply in again] == [reply.text for reply in first]
    assert len(server.asked) == 4
    assert "a damaged reply" in caplog.text


def test_the_cache_tells_what_it_is_of(tmp_path):
    spec = ServiceCaptioner(kind="service", model="org/m:1", prompt="paper-b").options()
    one = picture(1)
    with ReplyCache(tmp_path, cache_settings(spec)) as cache:
        cache.add(picture_key(one, spec["prompt"]), Reply("ein Satz: “é”"))
    assert cache.folder.name.startswith("org-m-1-")
    told = json.loads((cache.folder / "settings.json").read_text())
    assert told["prompt"] == "Describe this image"
    assert cache.find([one.sha256])[one.sha256].text == "ein Satz: “é”"
    assert cache.known([one.sha256, "0" * 64]) == {one.sha256}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20ms", 0.02), ("1s", 1), ("6m0s", 360), ("1h2m3s", 3723), ("7.66s", 7.66), ("12", 12),
     ("-3", None), ("inf", None), ("1795000000", None), ("1.5", 1.5), ("soon", None), ("", None),
     (None, None), ("3 s", None)],
)  # fmt: skip
def test_durations(text, seconds):
    assert (
        duration(text) == seconds if seconds is None else duration(text) == pytest.approx(seconds)
    )


def test_retry_after_is_read_in_all_its_forms():
    later = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 90 < retry_after({"retry-after": later}) <= 100
    assert retry_after({"retry-after": "3"}) == 3
    assert retry_after({"retry-after": "3", "retry-after-ms": "250"}) == 0.25
    assert retry_after({"retry-after": "nonsense"}) is None
    assert retry_after({}) is None


def test_limits_are_read_from_headers():
    def headers(requests, tokens):
        return {
            "x-ratelimit-remaining-requests": requests, "x-ratelimit-reset-requests": "2s",
            "x-ratelimit-remaining-tokens": tokens, "x-ratelimit-reset-tokens": "5s",
        }  # fmt: skip

    assert used_up(headers("1", "100"), tokens=100) is None
    assert used_up(headers("0", "100"), tokens=100) == 2
    assert used_up(headers("0", "99"), tokens=100) == 5
    assert used_up({}, tokens=100) is None


def test_pauses_grow_have_jitter_and_an_end():
    assert all(0.5 <= pause(1) <= 1 for _ in range(100))
    assert all(4 <= pause(4) <= 8 for _ in range(100))
    assert all(30 <= pause(50) <= 60 for _ in range(100))
    assert len({pause(3) for _ in range(10)}) == 10


def test_reasons_are_read_from_any_answer():
    assert reason(json.dumps(error("a", "b"))) == ("a", "b")
    assert reason(b"<html>") == ("", "")
    assert reason('{"error": "gone"}') == ("", "gone")
    assert reason("[1]") == ("", "")
    assert reason('{"message": "m", "type": "t"}') == ("t", "m")
