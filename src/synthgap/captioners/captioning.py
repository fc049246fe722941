"""From replies to captions: clean-up, refusals, and a shard's captions that survive a kill."""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from synthgap import sealed_lines
from synthgap.captioners import Captioner, Picture, Reply
from synthgap.errors import UserError

# A sentence ends at a stop that stands before a space or the end, with what may close behind it.
_END = re.compile(r"[.!?][\"'”’)\]]*(?=\s|$)|。")
# What some models think aloud before they answer.
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
# How models begin when they decline: with an apology or "I", and then that they can't. It is looked
# for at the start only, so that a sign in the image that says so does no harm; one who cannot tell
# a thing, "but the image shows" others, has answered.
_CANNOT = (
    r"(can['’]?t|cannot|can not|am unable|['’]m unable|unable|am not able|['’]m not able|not able"
    r"|won['’]?t|must decline)"
)
_REFUSAL = re.compile(
    r"[\"'*_“‘]*(("
    r"((i['’]m|i am)( \w+)? sorry|sorry|i apologi[sz]e|unfortunately|as an? (ai|language model)\b)"
    rf"[^!?]{{0,60}}?\b{_CANNOT}\b|i\s*{_CANNOT}\b"
    r")[^.!?;,]{0,30}?\b(assist|help|describe|provide|identify|fulfil|comply|view|see|process|analy)"
    r"(?![^.!?]*(;|\b(but|however)\b[^.!?]*\b(image|picture|photo|it) (shows|depicts|features)))"
    r"|i (must|have to) decline"
    r"|((i['’]m|i am)( \w+)? sorry, but )?(i (do not|don['’]t) see (an|any)|no) "
    r"(image|picture|photo)\b[^.!?]{0,10}\b(attached|provided|given|uploaded))",
    re.IGNORECASE,
)


def clean(text: str, cut_off: bool) -> str:
    """Return a reply as one line of text, without what a model thought aloud in `<think>`.

    Args:
        cut_off: whether the model was stopped by its limit. Then the broken sentence at the end
            goes (paper B, appendix D), unless there is no other.
    """
    text = " ".join(_THOUGHT.sub(" ", text).split())
    if cut_off and (ends := list(_END.finditer(text))):
        text = text[: ends[-1].end()]
    return text


def judge(reply: Reply) -> tuple[str, str]:
    """Return the caption and its status: "ok", "refused", "empty" or "failed: ...".

    The caption is empty unless the status is "ok".
    """
    if reply.finish == "failed":
        return "", f"failed: {reply.error}"
    caption = clean(reply.text, reply.finish == "length")
    if reply.finish == "refused" or _REFUSAL.match(caption):
        return "", "refused"
    return (caption, "ok") if any(map(str.isalnum, caption)) else ("", "empty")


def caption_resumably(
    pictures: Iterable[Picture],
    load: Callable[[], Captioner],
    *,
    folder: Path,
    at_once: int | None = None,
) -> Iterator[tuple[Picture, Reply]]:
    """Yield each picture with its reply, asking only for those that are not there yet.

    Calls are cut at the same places in every run, as the pictures of a batch move each other's
    last digits: a resumed run gives the same replies as an undisturbed one.

    Args:
        load: called once, and only if replies are missing.
        folder: keeps the replies of finished calls between attempts of the job.
        at_once: pictures a call; the captioner's own number by default, which loads it.
    """
    captioner = None
    if at_once is None:
        captioner = load()
        at_once = captioner.at_once
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / "calls.jsonl"
    places = _places(journal)
    pictures = iter(pictures)
    for number in itertools.count():
        call = list(itertools.islice(pictures, at_once))
        if not call:
            return
        if number in places:
            replies = _read(journal, places[number])
        else:
            captioner = captioner or load()
            replies = captioner.caption(call)
            # Failures are no result: another attempt is to ask again.
            if all(reply.finish != "failed" for reply in replies):
                _append(journal, number, replies)
        yield from zip(call, replies, strict=True)


def _places(journal: Path) -> dict[int, int]:
    """Return where the finished calls lie in a journal, in bytes."""
    return {int(content.split(b"\t", 1)[0]): place for place, content in sealed_lines.read(journal)}


def _read(journal: Path, place: int) -> list[Reply]:
    with journal.open("rb") as file:
        file.seek(place)
        content = sealed_lines.opened(file.readline())
    if content is None:  # and it was whole when the job began
        raise UserError(f"{journal} was damaged while it was read; run the same command again")
    return [Reply(**reply) for reply in json.loads(content.split(b"\t", 1)[1])]


def _append(journal: Path, number: int, replies: Sequence[Reply]) -> None:
    line = f"{number}\t{json.dumps([asdict(reply) for reply in replies])}"
    with journal.open("ab") as file:
        file.write(sealed_lines.seal(line.encode()))
