"""Captions by a service's batch endpoint: half the price, within a day.

Requests go out in files, cut by count and by bytes, a bounded number of them at once. What is
under way stands on disk beside the replies, so that a restarted job finds its batches again. A
request that expired or met a passing fault is sent again; one that the service rejects is noted.
"""

import itertools
import json
import logging
import os
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from synthgap import sealed_lines, stopping
from synthgap.atomic import write_bytes
from synthgap.captioners import Picture, Reply
from synthgap.captioners.batch_endpoint import KEPT, QUOTA_GONE, AwayError, BatchEndpoint
from synthgap.captioners.cache import ReplyCache, picture_key
from synthgap.captioners.requests import (
    ENDPOINT,
    PASSING,
    QUOTA,
    REFUSED,
    MalformedReplyError,
    quiet_clients,
    read_completion,
    reason,
    request_body,
    require_model,
    without,
)
from synthgap.errors import UserError
from synthgap.progress import Progress

log = logging.getLogger("synthgap")

# Pictures that are looked up in the cache together: each look reads all of it.
LOOKED_UP = 32_768
KEY = re.compile(rb"[0-9a-f]{64}")
ENDED = ("completed", "expired", "cancelled", "failed")
FULL = "token_limit_exceeded"
# Polls, one after the other, that may fail.
MOST_AWAY = 30


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
        self.service = BatchEndpoint(transport)
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
        except AwayError as error:
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
            keys.flush()
            os.fsync(keys.fileno())
        if batch.requests:
            log.info("a batch of %d requests, %.1f MB", batch.requests, size / 1e6)
            return batch
        self._file(batch).unlink()
        self._keys(batch).unlink()
        return None

    def _lines(self, missing: Iterator[tuple[str, Picture]]) -> Iterator[tuple[str, bytes]]:
        if carried := self._carried:
            self._carried = None
            yield carried
        for key, picture in missing:
            body = request_body(self.spec, picture)
            request = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}
            yield key, json.dumps(request).encode() + b"\n"

    def _submit(self, batch: Batch) -> None:
        # Whatever happens from here on, the state tells of it, so that nothing is sent twice.
        with stopping.deferred():
            self._note(batch)
            path = self._file(batch)
            batch.input_file = self.service.upload(path)
            path.unlink()
            self._note(batch)
            batch.id = self.service.create(batch.input_file, self.settings["window"], batch.tag)
            self._note(batch)
            self.open.append(batch)
            self.tally.batches += 1
            log.info("batch %s is with the service", batch.id)

    def _find_again(self) -> list[Batch]:
        """Return the batches that an earlier run of this job left with the service."""
        found = []
        for keys in self.folder.glob("batch-*.keys"):
            if not keys.with_suffix(".state").exists():
                keys.unlink()  # of a file that was not whole
        for path in sorted(self.folder.glob("batch-*.state")):
            batch = _read(path)
            if batch is None:  # damaged, and of one that has ended
                path.unlink()
                continue
            if batch.ended:
                continue
            if batch.base_url != self.transport["base_url"]:
                raise UserError(
                    f"{path} tells of a batch that is with {batch.base_url}, and "
                    "captioner.base_url is another; set it back, or delete that file to have it "
                    "captioned anew"
                )
            if not batch.id:
                batch.id = self.service.known_as(batch.tag) or ""
            if batch.id:
                log.info("batch %s is still to be collected", batch.id)
                self._note(batch)
                found.append(batch)
                self.taken.update(_read_keys(self._keys(batch)))
            else:
                path.unlink()  # it never got there
                self._keys(batch).unlink()
        return found

    def _wait(self, enough: Callable[[], bool]) -> None:
        """Watch the batches, and collect those that end, until it is enough."""
        away = 0
        while not enough():
            try:
                for batch in list(self.open):
                    self._look_after(batch)
                away = 0
            except AwayError as error:
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
        found = self.service.look(batch.id)
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
            self.taken.difference_update(_read_keys(self._keys(batch)))
            self._keys(batch).unlink()
            for name in [*files, batch.input_file]:
                self.service.delete(name)
        log.info("batch %s: %s", batch.id, found.status)
        if found.status == "failed":
            errors = (found.errors.data if found.errors else None) or []
            self._explain_failure(batch, [(e.code or "", e.message or "") for e in errors])
        if out_of_quota:
            raise UserError(f"{QUOTA_GONE} (batch {batch.id}). {KEPT}")
        if found.status == "cancelled":
            raise UserError(
                f"batch {batch.id} was cancelled at the service. {KEPT} and sends the rest again"
            )
        require_model(self.answered.values(), self.spec["model"], self.transport["answers_as"])

    def _explain_failure(self, batch: Batch, errors: list[tuple[str, str]]) -> None:
        """Go on with fewer batches where there were too many; anything else fails them all."""
        codes = {code for code, _ in errors}
        told = "; ".join(f"{code}: {without(text, self.service.key)}" for code, text in errors[:3])
        if FULL in codes and self.open:
            self.slots = len(self.open)
            log.info("the service takes no more than %d of these batches at once", self.slots)
        elif FULL in codes:
            raise UserError(
                f"captioner.batch: {batch.requests} requests are more than the service takes from "
                f"your account at once; lower `requests` ({told})"
            )
        elif codes & QUOTA:
            raise UserError(f"{QUOTA_GONE} ({told}). {KEPT}")
        else:
            raise UserError(f"the service rejects batch {batch.id}: {told or 'no reason given'}")

    def _collect(self, name: str) -> bool:
        """Keep the replies of a file; return whether any tells that the quota is used up."""
        out_of_quota = False
        with tempfile.TemporaryFile(dir=self.scratch) as file:
            self.service.download(name, file)
            for line in file:
                out_of_quota |= self._keep(line)
        return out_of_quota

    def _keep(self, line: bytes) -> bool:
        """Keep one request's reply or verdict; return whether it tells that the quota is gone."""
        try:
            told = json.loads(line)
            key, response = str(told["custom_id"]), told.get("response") or {}
            status, body = response.get("status_code"), json.dumps(response.get("body") or told)
        except (ValueError, KeyError, AttributeError, TypeError):
            log.warning("a line of a batch's replies is damaged, and its request is sent again")
            return False
        code, message = reason(body, self.service.key)
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

    def _file(self, batch: Batch) -> Path:
        return self.scratch / f"requests-{batch.tag}.jsonl"

    def _keys(self, batch: Batch) -> Path:
        return self.folder / f"batch-{batch.tag}.keys"

    def _note(self, batch: Batch) -> None:
        told = sealed_lines.seal(json.dumps(asdict(batch)).encode())
        write_bytes(self.folder / f"batch-{batch.tag}.state", told)


def _short(key: str) -> bytes:
    """Half of a key, which is as good as unique and takes a third of the memory."""
    return bytes.fromhex(key[:32])


def _read_keys(path: Path) -> Iterator[bytes]:
    for line in path.read_bytes().splitlines():
        if KEY.fullmatch(line):
            yield _short(line.decode())
        else:
            log.warning("%s: a damaged key is ignored; its image may be asked for twice", path)


def _read(path: Path) -> Batch | None:
    content = sealed_lines.opened(path.read_bytes())
    if content is None:
        if not path.with_suffix(".keys").exists():
            return None
        raise UserError(
            f"{path} is damaged, and tells of a batch that is with the service; delete it to have "
            "its images captioned, and paid for, anew"
        )
    return Batch(**json.loads(content))
