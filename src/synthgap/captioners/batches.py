"""Captions by a service's batch endpoint: half the price, within a day.

Requests go out in files, cut by count and by bytes, a bounded number of them at once. What is
under way stands on disk beside the replies, so that a restarted job finds its batches again. A
request that expired or met a passing fault is sent again; one that the service rejects is noted.
"""

import itertools
import json
import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import httpx2
import openai
import tenacity

from synthgap import stopping
from synthgap.atomic import write_text
from synthgap.captioners import Picture, Reply
from synthgap.captioners.cache import ReplyCache, picture_key
from synthgap.captioners.pace import pause
from synthgap.captioners.requests import (
    ENDPOINT,
    PASSING,
    QUOTA,
    REFUSED,
    MalformedReplyError,
    quiet_clients,
    read_completion,
    read_key,
    reason,
    request_body,
    require_model,
    without,
)
from synthgap.errors import UserError
from synthgap.progress import Progress

log = logging.getLogger("synthgap")

Answer = TypeVar("Answer")

# Pictures that are looked up in the cache together: each look reads all of it.
LOOKED_UP = 65_536
# Of the service's batches, where one whose name was lost is looked for.
LOOKED_THROUGH = 1000
TAG = "synthgap"
ENDED = ("completed", "expired", "cancelled", "failed")
FULL = "token_limit_exceeded"
# Polls, one after the other, that may fail.
MOST_AWAY = 30
_QUOTA_GONE = "the quota of your account at the captioning service is used up"
_KEPT = "Replies so far are kept; the same command goes on"


@dataclass
class Batch:
    """A batch as its state file has it.

    Attributes:
        tag: our own name for it, which it carries at the service too.
        base_url: of the service.
        requests: their number.
        id: the service's name for it; empty until it has told it.
        input_file: the service's name for the requests.
        ended: its last status, empty while it is under way.
    """

    tag: str
    base_url: str
    requests: int = 0
    id: str = ""
    input_file: str = ""
    ended: str = ""


@dataclass
class Tally:
    """What came of a run.

    Attributes:
        batches: that the service took.
        replies: that came, refusals included.
        sent_again: requests that had expired or met a passing fault.
        rejected: why the service rejects a request, by key.
    """

    batches: int = 0
    replies: int = 0
    sent_again: int = 0
    rejected: dict[str, str] = field(default_factory=dict)


class _AwayError(Exception):
    """The service cannot be reached, or is too busy, for now."""


class BatchQueue:
    """All batches of one way of asking.

    Args:
        spec, transport: as of `synthgap.captioners.service.ServiceCaptioner`.
        cache: where the replies go.
        owner: name of the job, for the state of its batches, which lies beside the replies: jobs
            that run at the same time must have different ones.
        scratch: folder of a file of requests on its way.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        transport: dict[str, Any],
        cache: ReplyCache,
        owner: str,
        scratch: Path,
    ) -> None:
        self.spec, self.transport, self.cache = spec, transport, cache
        self.settings: dict[str, Any] = transport["batch"]
        self.folder, self.scratch = cache.folder / f"batches-{owner}", Path(scratch)
        self.key = read_key(transport["key_variable"])
        self.client = openai.OpenAI(
            api_key=self.key,
            base_url=transport["base_url"],
            timeout=transport["timeout"],
            max_retries=0,
        )
        self.tally, self.open = Tally(), list[Batch]()
        # Of the requests that are with the service, half of their keys' bytes.
        self.taken: set[bytes] = set()
        self.answered: dict[str, Reply] = {}  # one reply of each model
        self.slots: int = self.settings["open"]
        self._carried: tuple[str, bytes] | None = None  # did not fit into the last file

    def run(self, pictures: Callable[[], Iterable[Picture]], total: int) -> Tally:
        """Get a reply for every picture that has none.

        Args:
            pictures: called anew for each pass over them.
            total: their number.

        Raises:
            UserError: the service is away or refuses key, model, quota or file, or another model
                answers.
        """
        try:
            return self._run(pictures, total)
        except _AwayError as error:
            raise UserError(
                f"the service is away ({error}); what is with it is noted, the same command goes on"
            ) from None

    def _run(self, pictures: Callable[[], Iterable[Picture]], total: int) -> Tally:
        quiet_clients()
        for folder in (self.folder, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)
        self.open = self._find_again()
        fruitless = 0
        with Progress(total, "replies") as self.progress:
            for number in itertools.count():
                before, sent = self.tally.replies, 0
                missing = self._missing(pictures(), first=number == 0)
                while batch := self._fill(missing):
                    self._submit(batch)
                    sent += batch.requests
                    self._wait(lambda: len(self.open) < self.slots)
                self._wait(lambda: not self.open)
                gained = self.tally.replies > before
                if not sent and not gained:
                    return self.tally
                self.tally.sent_again += sent if number else 0
                fruitless = 0 if gained else fruitless + 1
                if fruitless >= self.settings["resubmit"]:
                    for key, _ in self._missing(pictures(), first=False):
                        self.tally.rejected[key] = f"no reply in {fruitless} batches"
                    return self.tally
        raise AssertionError  # the loop has no other end

    def _missing(self, pictures: Iterable[Picture], first: bool) -> Iterator[tuple[str, Picture]]:
        """Yield the pictures, with their keys, that have no reply, no verdict and no batch."""
        pictures = iter(pictures)
        while chunk := list(itertools.islice(pictures, LOOKED_UP)):
            keyed = {picture_key(picture, self.spec["prompt"]): picture for picture in chunk}
            # What is with the service now may be there in a moment; the next pass will see.
            done = {key for key in keyed if _short(key) in self.taken}
            known = self.cache.known(keyed.keys())
            if first:
                self.progress.update(len(known))
            done |= known
            for key, picture in keyed.items():
                if not (key in done or key in self.tally.rejected or _short(key) in self.taken):
                    self.taken.add(_short(key))
                    yield key, picture

    def _fill(self, missing: Iterator[tuple[str, Picture]]) -> Batch | None:
        """Write the next file of requests; None where there are no more."""
        batch, size = Batch(uuid.uuid4().hex, self.transport["base_url"]), 0
        most = int(self.settings["megabytes"] * 1e6)
        with self._file(batch).open("wb") as file, self._keys(batch).open("w") as keys:
            for key, line in self._lines(missing):
                if batch.requests and size + len(line) > most:
                    self._carried = key, line
                    break
                file.write(line)
                keys.write(f"{key}\n")
                batch.requests += 1
                size += len(line)
                if batch.requests == self.settings["requests"]:
                    break
        if batch.requests:
            log.info("a batch of %d requests, %.1f MB", batch.requests, size / 1e6)
            return batch
        self._file(batch).unlink()
        self._keys(batch).unlink()
        return None

    def _lines(self, missing: Iterator[tuple[str, Picture]]) -> Iterator[tuple[str, bytes]]:
        if self._carried:
            yield self._carried
            self._carried = None
        for key, picture in missing:
            body = request_body(self.spec, picture)
            request = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}
            yield key, json.dumps(request).encode() + b"\n"

    def _submit(self, batch: Batch) -> None:
        # Whatever happens from here on, the state tells of it, so that nothing is sent twice.
        with stopping.deferred():
            self._note(batch)
            path = self._file(batch)
            batch.input_file = self._patiently(lambda: self._upload(path))
            path.unlink()
            self._note(batch)
            batch.id = self._patiently(lambda: self._create(batch))
            self._note(batch)
            self.open.append(batch)
            self.tally.batches += 1
            log.info("batch %s is with the service", batch.id)

    def _upload(self, path: Path) -> str:
        with path.open("rb") as file:  # of a path, the client would read all of it at once
            return self.client.files.create(file=file, purpose="batch").id

    def _create(self, batch: Batch) -> str:
        """Create a batch, unless an earlier try did and its answer was lost."""
        return (
            self._known_as(batch.tag)
            or self.client.batches.create(
                input_file_id=batch.input_file,
                endpoint=ENDPOINT,
                completion_window=self.settings["window"],
                metadata={TAG: batch.tag},
            ).id
        )

    def _known_as(self, tag: str) -> str | None:
        """Return the service's name for the batch with our tag, if it is among the newest."""
        newest = itertools.islice(self.client.batches.list(limit=100), LOOKED_THROUGH)
        return next((one.id for one in newest if (one.metadata or {}).get(TAG) == tag), None)

    def _find_again(self) -> list[Batch]:
        """Return the batches that an earlier run of this job left with the service."""
        found = []
        for path in sorted(self.folder.glob("batch-*.json")):
            batch = Batch(**json.loads(path.read_text()))
            if batch.ended:
                continue
            if batch.base_url != self.transport["base_url"]:
                raise UserError(
                    f"{path} tells of a batch that is with {batch.base_url}, and "
                    "captioner.base_url is another; set it back, or delete that file to have it "
                    "captioned anew"
                )
            if not batch.id:
                batch.id = self._patiently(partial(self._known_as, batch.tag)) or ""
            if batch.id:
                log.info("batch %s is still to be collected", batch.id)
                self._note(batch)
                found.append(batch)
                self.taken.update(map(_short, self._keys(batch).read_text().split()))
            else:
                path.unlink()  # it never got there
        return found

    def _wait(self, enough: Callable[[], bool]) -> None:
        """Watch the batches, and collect those that end, until it is enough."""
        away = 0
        while not enough():
            try:
                for batch in list(self.open):
                    self._look_after(batch)
                away = 0
            except _AwayError as error:
                away += 1
                log.warning("the service is away: %s", error)
                if away >= MOST_AWAY:
                    raise UserError(
                        f"the service is away ({error}); the batches are noted, the same command "
                        "goes on with them"
                    ) from None
            if not enough():
                time.sleep(self.settings["poll_seconds"])

    def _look_after(self, batch: Batch) -> None:
        found = self._patiently(lambda: self.client.batches.retrieve(batch.id))
        counts = found.request_counts
        if counts:
            told = f"{batch.id}: {found.status}, {counts.completed} of {counts.total}"
            self.progress.update(0, told)
        if found.status not in ENDED:
            return
        with stopping.deferred():
            files = [name for name in (found.output_file_id, found.error_file_id) if name]
            out_of_quota = False
            for name in files:
                out_of_quota |= self._collect(name)
            self.open.remove(batch)
            self._note(replace(batch, ended=found.status))
            self.taken.difference_update(map(_short, self._keys(batch).read_text().split()))
            self._keys(batch).unlink()
            for name in [*files, batch.input_file]:
                with suppress(openai.OpenAIError):  # the service has room for so many files only
                    self.client.files.delete(name)
        log.info("batch %s: %s", batch.id, found.status)
        if found.status == "failed":
            errors = (found.errors.data if found.errors else None) or []
            self._explain_failure(batch, [(e.code or "", e.message or "") for e in errors])
        if out_of_quota:
            raise UserError(f"{_QUOTA_GONE} (batch {batch.id}). {_KEPT}")
        if found.status == "cancelled":
            raise UserError(
                f"batch {batch.id} was cancelled at the service. {_KEPT} and sends the rest again"
            )
        require_model(self.answered.values(), self.spec["model"], self.transport["answers_as"])

    def _explain_failure(self, batch: Batch, errors: list[tuple[str, str]]) -> None:
        """Go on with fewer batches where there were too many; anything else fails them all."""
        codes = {code for code, _ in errors}
        told = "; ".join(f"{code}: {without(text, self.key)}" for code, text in errors[:3])
        if FULL in codes and self.open:
            self.slots = len(self.open)
            log.info("the service takes no more than %d of these batches at once", self.slots)
        elif FULL in codes:
            raise UserError(
                f"captioner.batch: {batch.requests} requests are more than the service takes from "
                f"your account at once; lower `requests` ({told})"
            )
        elif codes & QUOTA:
            raise UserError(f"{_QUOTA_GONE} ({told}). {_KEPT}")
        else:
            raise UserError(f"the service rejects batch {batch.id}: {told or 'no reason given'}")

    def _collect(self, name: str) -> bool:
        """Keep the replies of a file; return whether any tells that the quota is used up."""
        out_of_quota = False
        with tempfile.TemporaryFile(dir=self.scratch) as file:
            self._patiently(lambda: self._download(name, file))
            file.seek(0)
            for line in file:
                out_of_quota |= self._keep(line)
        return out_of_quota

    def _download(self, name: str, file: BinaryIO) -> None:
        file.seek(0)
        file.truncate()
        with self.client.files.with_streaming_response.content(name) as content:
            for block in content.iter_bytes(1 << 20):
                file.write(block)

    def _keep(self, line: bytes) -> bool:
        """Keep one request's reply or verdict; return whether it tells that the quota is gone."""
        try:
            told = json.loads(line)
            key, response = str(told["custom_id"]), told.get("response") or {}
            status, body = response.get("status_code"), json.dumps(response.get("body") or told)
        except (ValueError, KeyError, AttributeError, TypeError):
            log.warning("a line of a batch's replies is damaged, and its request is sent again")
            return False
        code, message = reason(body, self.key)
        if status == 200:
            price, factor = self.transport["price"], self.settings["price_factor"]
            try:
                reply = read_completion(body, self.spec["model"], price, factor=factor)
            except MalformedReplyError as error:
                log.info("%s: a reply that is not in the protocol (%s)", key, error)
                return False
            self._add(key, reply)
        elif code in REFUSED:
            self._add(key, Reply(message, "refused", model=self.spec["model"]))
        elif code in QUOTA:
            return True
        elif status and 400 <= status < 500 and status not in PASSING:
            self.tally.rejected[key] = f"{status} {code} {message}"
            log.info("%s: rejected: %s", key, self.tally.rejected[key])
        return False

    def _add(self, key: str, reply: Reply) -> None:
        self.cache.add(key, reply)
        self.answered[reply.model] = reply
        self.tally.replies += 1
        self.progress.update()

    def _patiently(self, call: Callable[[], Answer]) -> Answer:
        """Call the service, again after passing faults, and tell others in one line."""
        tries = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_AwayError),
            stop=tenacity.stop_after_attempt(self.transport["attempts"]),
            wait=lambda state: pause(state.attempt_number),
            reraise=True,
        )
        answer: Answer = tries(self._once, call)
        return answer

    def _once(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except openai.APIStatusError as error:
            code, message = reason(error.response.text, self.key)
            told = " ".join(filter(None, (str(error.status_code), code, message)))
            if code in QUOTA or error.status_code == 402:
                raise UserError(f"{_QUOTA_GONE} ({told}). {_KEPT}") from None
            if error.status_code in PASSING or error.status_code >= 500:
                raise _AwayError(told) from None
            if error.status_code == 401:
                variable = self.transport["key_variable"]
                raise UserError(
                    f"the service refuses the key in {variable} (401); renew it"
                ) from None
            raise UserError(
                f"the service's batch endpoint answers {told}; where it does not know a batch any "
                f"more, delete its file in {self.folder} to have it captioned anew"
            ) from None
        except AttributeError:  # the client takes any text for an answer
            raise UserError(
                f"captioner.base_url: {self.transport['base_url']} has no batch endpoint"
            ) from None
        except (openai.APIConnectionError, httpx2.TransportError) as error:
            raise _AwayError(without(str(error.__cause__ or error), self.key)) from None

    def _file(self, batch: Batch) -> Path:
        return self.scratch / f"requests-{batch.tag}.jsonl"

    def _keys(self, batch: Batch) -> Path:
        return self.folder / f"batch-{batch.tag}.keys"

    def _note(self, batch: Batch) -> None:
        write_text(self.folder / f"batch-{batch.tag}.json", json.dumps(asdict(batch)) + "\n")


def _short(key: str) -> bytes:
    """Half of a key, which is as good as unique and takes a third of the memory."""
    return bytes.fromhex(key[:32])
