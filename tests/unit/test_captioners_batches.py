"""The batch endpoint: files cut, faults told from verdicts, batches found again, nothing twice."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_captioners_service import captioner, picture, pictures

from fake_service import KEY, serving
from synthgap.captioners.batch_endpoint import BatchEndpoint
from synthgap.captioners.batches import BatchQueue
from synthgap.captioners.cache import ReplyCache
from synthgap.captioners.service import cache_settings
from synthgap.config.captioners import ServiceCaptioner
from synthgap.errors import UserError
from synthgap.sealed_lines import opened


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def server():
    with serving() as service:
        yield service


def config_of(server, batch, **settings):
    batch = {"poll_seconds": 0.01, **batch}
    told = {"base_url": server.url, "model": "tiny-captioner", "prompt": "paper-b", **settings}
    return ServiceCaptioner(kind="service", batch=batch, **told)


def run(server, folder, asked, batch=None, **settings):
    config = config_of(server, batch or {}, **settings)
    spec, transport = config.options(), json.loads(config.transport)
    with ReplyCache(folder / "cache", cache_settings(spec)) as cache:
        queue = BatchQueue(spec, transport, cache, "me", folder / "scratch")
        return queue.run(lambda: iter(asked), len(asked))


def collect(server, folder, asked, rejected=None):
    found = captioner(server, folder / "cache", batch={})
    found.rejected = rejected or {}
    return found.caption(asked)


def test_replies_are_the_same_as_one_by_one_at_their_price(server, tmp_path):
    asked = pictures(7)
    price = {"input": 1.0, "output": 10.0}
    tally = run(server, tmp_path, asked, {"requests": 3}, price=price)
    assert (tally.batches, tally.replies, tally.sent_again) == (3, 7, 0)
    found = collect(server, tmp_path, asked)
    alone = captioner(server, tmp_path / "alone").caption(asked)
    assert [reply.text for reply in found] == [reply.text for reply in alone]
    assert found[0].cost_usd == pytest.approx((100 * 1 + 20 * 10) / 1e6 / 2)
    assert found[0].model == "tiny-captioner-2026-01-01"


def test_one_by_one_and_batches_share_their_replies(server, tmp_path):
    captioner(server, tmp_path / "cache").caption(pictures(4))
    assert run(server, tmp_path, pictures(6)).replies == 2
    captioner(server, tmp_path / "cache").caption(pictures(6))
    assert len(server.asked) == 6


def test_files_are_cut_by_count_and_by_bytes(server, tmp_path):
    run(server, tmp_path, pictures(10), {"requests": 4})
    assert len(server.uploaded) == 3
    [whole] = {max(server.uploaded)}
    size = whole / 4 / 1e6  # of a request, in megabytes
    server.uploaded.clear()
    run(server, tmp_path / "b", pictures(10), {"megabytes": 3.5 * size})
    assert len(server.uploaded) == 4
    assert max(server.uploaded) <= 3.5e6 * size
    assert len(server.answered) == 20


def test_files_of_one_request_each(server, tmp_path):
    assert run(server, tmp_path, pictures(3), {"requests": 1, "megabytes": 1e-6}).batches == 3
    assert run(server, tmp_path / "b", pictures(3), {"megabytes": 1e-6}).batches == 3
    assert len(server.asked) == 6


def test_no_more_batches_than_allowed_are_open(server, tmp_path, monkeypatch):
    server.polls = 3
    most = []
    submit = BatchQueue._submit
    monkeypatch.setattr(
        BatchQueue, "_submit", lambda self, b: (submit(self, b), most.append(len(self.open)))
    )
    run(server, tmp_path, pictures(12), {"requests": 2, "open": 2})
    assert len(most) == 6
    assert max(most) == 2


def test_identical_pictures_are_asked_for_once(server, tmp_path):
    asked = [picture(n % 3) for n in range(12)]
    run(server, tmp_path, asked, {"requests": 2})
    assert len(server.asked) == 3
    assert len(collect(server, tmp_path, asked)) == 12


def test_a_picture_is_in_a_file_once(server, tmp_path, monkeypatch):
    monkeypatch.setattr("synthgap.captioners.batches.LOOKED_UP", 3)
    asked = [picture(n) for n in (0, 1, 2, 0, 3, 1, 4, 0)]
    assert run(server, tmp_path, asked).replies == 5
    assert len(server.asked) == 5


def test_a_picture_without_luck_does_not_stop_the_others(server, tmp_path):
    asked = pictures(4)
    server.always[asked[1].sha256] = "unlucky"
    tally = run(server, tmp_path, asked, {"resubmit": 2})
    assert tally.replies == 3
    assert list(tally.rejected.values()) == ["no reply in 2 batches"]


def test_a_batch_that_was_cancelled_is_not_sent_again_by_itself(server, tmp_path):
    server.batch_faults.put("cancelled")
    with pytest.raises(UserError, match="was cancelled at the service"):
        run(server, tmp_path, pictures(2))
    assert len(server.batches) == 1


def test_another_model_in_a_batch_is_told_and_its_replies_are_kept(server, tmp_path):
    server.batch_faults.put("other")
    with pytest.raises(UserError, match="another-model answered"):
        run(server, tmp_path, pictures(2))
    tally = run(server, tmp_path, pictures(2), answers_as="another-model")
    assert (tally.batches, len(server.batches)) == (0, 1)


def test_a_batch_elsewhere_is_not_forgotten(server, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(BatchQueue, "_wait", stop)
        with pytest.raises(KeyboardInterrupt):
            run(server, tmp_path, pictures(2))
    with (
        serving() as other,
        pytest.raises(UserError, match=r"batch-.*state tells of a batch .* set"),
    ):
        run(other, tmp_path, pictures(2))
    assert run(server, tmp_path, pictures(2)).batches == 0


def stop(self, enough):
    raise KeyboardInterrupt


def test_an_unreachable_service_is_told_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr("synthgap.captioners.batch_endpoint.pause", lambda attempt: 0.0)
    with serving() as gone:
        pass
    with pytest.raises(UserError, match="the service is away"):
        run(gone, tmp_path, pictures(1), attempts=2)


@pytest.mark.parametrize("fault", ["expires", "busy"])
def test_what_expired_or_met_a_fault_is_sent_again(server, tmp_path, fault):
    server.batch_faults.put(fault)
    tally = run(server, tmp_path, pictures(6), {"requests": 4})
    assert (tally.replies, tally.sent_again, tally.batches) == (6, 2, 3)
    assert sorted(server.answered) == sorted(one.sha256 for one in pictures(6))
    assert all(reply.finish == "stop" for reply in collect(server, tmp_path, pictures(6)))


def test_a_rejected_picture_is_told_and_not_sent_again(server, tmp_path):
    asked = pictures(4)
    server.always[asked[2].sha256] = "rejected"
    tally = run(server, tmp_path, asked)
    assert list(tally.rejected.values()) == ["400 invalid_image told so"]
    assert server.asked.count(asked[2].sha256) == 1
    replies = collect(server, tmp_path, asked, tally.rejected)
    assert [reply.finish for reply in replies] == ["stop", "stop", "failed", "stop"]
    assert replies[2].error == "400 invalid_image told so"
    assert len(server.asked) == 4


def test_too_many_tokens_at_once_slow_down_but_lose_nothing(server, tmp_path):
    server.polls = 2
    for fault in (None, "token_limit_exceeded", None):
        server.batch_faults.put(fault)
    tally = run(server, tmp_path, pictures(12), {"requests": 3})
    assert tally.replies == 12
    assert sorted(server.answered) == sorted(one.sha256 for one in pictures(12))


def test_a_file_that_alone_is_too_much_is_told(server, tmp_path):
    server.batch_faults.put("token_limit_exceeded")
    with pytest.raises(UserError, match=r"6 requests are more than .* lower `requests`"):
        run(server, tmp_path, pictures(6))


@pytest.mark.parametrize("fault", ["insufficient_quota", "quota"])
def test_a_quota_that_is_gone_ends_the_work_and_keeps_the_rest(server, tmp_path, fault):
    for one in (None, fault):
        server.batch_faults.put(one)
    with pytest.raises(UserError, match=r"quota.*kept"):
        run(server, tmp_path, pictures(8), {"requests": 4, "open": 1})
    paid = len(server.answered)
    assert paid == (4 if fault == "insufficient_quota" else 6)
    tally = run(server, tmp_path, pictures(8))
    assert tally.replies == 8 - paid
    assert sorted(server.answered) == sorted(one.sha256 for one in pictures(8))


def test_a_file_that_is_refused_ends_the_work(server, tmp_path):
    server.batch_faults.put("bad_file")
    with pytest.raises(UserError, match=r"rejects batch .*it is bad_file"):
        run(server, tmp_path, pictures(2))


def test_batches_that_bring_nothing_are_not_sent_forever(server, tmp_path):
    server.every_batch = "expires all"
    tally = run(server, tmp_path, pictures(2), {"resubmit": 3})
    assert len(server.batches) == 3
    assert set(tally.rejected.values()) == {"no reply in 3 batches"}
    assert len(tally.rejected) == 2


def test_an_answer_that_is_lost_makes_no_second_batch(server, tmp_path, monkeypatch):
    monkeypatch.setattr("synthgap.captioners.batch_endpoint.pause", lambda attempt: 0.0)
    server.batch_faults.put("lost")
    tally = run(server, tmp_path, pictures(3))
    assert tally.replies == 3
    assert len(server.batches) == 1


def test_a_batch_whose_name_was_not_noted_is_found_by_its_tag(server, tmp_path, monkeypatch):
    create = BatchEndpoint.create

    def killed_after(self, *asked):
        create(self, *asked)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BatchEndpoint, "create", killed_after)
        with pytest.raises(KeyboardInterrupt):
            run(server, tmp_path, pictures(3))
    assert run(server, tmp_path, pictures(3)).replies == 3
    assert len(server.batches) == 1


def test_a_batch_that_never_got_there_is_sent(server, tmp_path, monkeypatch):
    def killed_before(self, *asked):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BatchEndpoint, "create", killed_before)
        with pytest.raises(KeyboardInterrupt):
            run(server, tmp_path, pictures(3))
    assert run(server, tmp_path, pictures(3)).replies == 3
    assert len(server.batches) == 1


def test_a_damaged_note_of_a_batch_is_refused(server, tmp_path, monkeypatch):
    def killed_after(self, *asked):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BatchEndpoint, "create", killed_after)
        with pytest.raises(KeyboardInterrupt):
            run(server, tmp_path, pictures(3))
    [note] = tmp_path.rglob("batch-*.state")
    note.write_bytes(note.read_bytes().replace(b"file", b"fila", 1))
    with pytest.raises(UserError, match=r"batch-.*\.state is damaged"):
        run(server, tmp_path, pictures(3))
    note.unlink()
    assert run(server, tmp_path, pictures(3)).replies == 3


@pytest.mark.parametrize("damage", [b"zz", b"\xff\xff", b"0"])
def test_a_damaged_key_of_a_batch_stops_nothing(server, tmp_path, monkeypatch, damage, caplog):
    with monkeypatch.context() as patch:
        patch.setattr(BatchQueue, "_wait", stop)
        with pytest.raises(KeyboardInterrupt):
            run(server, tmp_path, pictures(3))
    [keys] = tmp_path.rglob("batch-*.keys")
    keys.write_bytes(damage + keys.read_bytes()[len(damage) + (len(damage) == 1) :])
    run(server, tmp_path, pictures(3))
    assert "a damaged key is ignored" in caplog.text
    assert not list(tmp_path.rglob("batch-*.keys"))


def test_a_damaged_note_of_a_batch_that_has_ended_stops_nothing(server, tmp_path):
    run(server, tmp_path, pictures(3))
    [note] = tmp_path.rglob("batch-*.state")
    note.write_bytes(note.read_bytes()[:-4])
    assert run(server, tmp_path, pictures(3)).replies == 0
    assert not note.exists()


CHILD = """
import sys
sys.path[:0] = [{tests!r}, {unit!r}]
from pathlib import Path
from types import SimpleNamespace
import test_captioners_batches as t
from synthgap import stopping
stopping.listen()
try:
    t.run(SimpleNamespace(url={url!r}), Path({folder!r}), t.pictures(8), {{"requests": 3}})
except stopping.Stopped:
    sys.exit(3)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_job_finds_its_batches_again(server, tmp_path, number):
    server.polls = 10**9
    unit = Path(__file__).parent
    code = CHILD.format(
        tests=str(unit.parent), unit=str(unit), url=server.url, folder=str(tmp_path)
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    while len(server.batches) < 3 or not all(b["looks"] for b in server.batches.values()):
        time.sleep(0.01)
        assert child.poll() is None
    child.send_signal(number)
    assert child.wait() == (3 if number == signal.SIGTERM else -9)
    server.polls = 0
    tally = run(server, tmp_path, pictures(8), {"requests": 3})
    assert (tally.batches, tally.replies) == (0, 8)
    assert len(server.batches) == 3
    assert sorted(server.answered) == sorted(one.sha256 for one in pictures(8))


def test_nothing_is_left_with_the_service_or_on_disk(server, tmp_path):
    run(server, tmp_path, pictures(5), {"requests": 2})
    assert not server.files
    assert not list((tmp_path / "scratch").iterdir())
    states = [json.loads(opened(p.read_bytes())) for p in tmp_path.rglob("batch-*.state")]
    assert [state["ended"] for state in states] == ["completed"] * 3
    assert not list(tmp_path.rglob("*.keys"))
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


def test_a_wrong_key_is_told_without_it(server, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-one")
    with pytest.raises(UserError, match="refuses the key in OPENAI_API_KEY") as raised:
        run(server, tmp_path, pictures(1))
    assert "sk-wrong" not in str(raised.value)


def test_a_service_that_is_away_is_waited_for_and_then_told(server, tmp_path, monkeypatch):
    monkeypatch.setattr("synthgap.captioners.batch_endpoint.pause", lambda attempt: 0.0)
    monkeypatch.setattr("synthgap.captioners.batches.MOST_AWAY", 2)
    server.away = True
    with pytest.raises(UserError, match=r"away \(503 away.*goes on"):
        run(server, tmp_path, pictures(1), attempts=2)
    server.away = False
    assert run(server, tmp_path, pictures(1)).batches == 0
    assert len(server.answered) == 1
