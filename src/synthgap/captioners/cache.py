"""Replies on disk: what a service was paid for once is never asked again.

A cache has a folder for each way of asking (model, prompt, settings), and in it a journal for each
process that asked: a line a reply, only ever appended. So any number of jobs on any number of
nodes write at the same time, without locks, which network file systems do not all have. A line
that a crash cut short is ignored.
"""

import errno
import hashlib
import json
import logging
import os
import platform
import re
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from synthgap import sealed_lines
from synthgap.captioners import Picture, Reply

log = logging.getLogger("synthgap")

KEY_BYTES = 64  # a SHA-256 in hex digits
FIELDS = {field.name for field in fields(Reply)}
SECONDS_BETWEEN_SYNCS = 1.0


def picture_key(picture: Picture, prompt: str) -> str:
    """Return what names a picture's reply: its hash, and its class where the prompt tells it."""
    if "{class_name}" not in prompt:
        return picture.sha256
    return hashlib.sha256(f"{picture.sha256} {picture.class_name}".encode()).hexdigest()


class ReplyCache:
    """The replies to one way of asking.

    Args:
        folder: of all caches.
        settings: all that shapes a reply but the picture: `model`, `prompt` and the rest.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        told = json.dumps(settings, sort_keys=True)
        model = re.sub(r"[^A-Za-z0-9._-]", "-", settings["model"])
        self.folder = Path(folder) / f"{model}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
        self.settings = settings
        self._journal: BinaryIO | None = None
        self._synced = 0.0

    def find(self, keys: Collection[str]) -> dict[str, Reply]:
        """Return those of the replies to `keys` that are there."""
        found: dict[str, Reply] = {}
        for key, reply in self._replies(keys):
            found.setdefault(key, reply)
        return found

    def known(self, keys: Collection[str]) -> set[str]:
        """Return those of `keys` that have a reply."""
        return {key for key, _ in self._replies(keys)}

    def add(self, key: str, reply: Reply) -> None:
        """Keep a reply; it survives the end of the process at once, a power cut a second later."""
        if self._journal is None:
            self._journal = self._open()
        line = sealed_lines.seal(f"{key}\t{json.dumps(asdict(reply), ensure_ascii=False)}".encode())
        if self._journal.write(line) != len(line):
            self._journal.close()
            self._journal = None  # what follows must not join the torn line
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
        if time.monotonic() - self._synced > SECONDS_BETWEEN_SYNCS:
            os.fsync(self._journal.fileno())
            self._synced = time.monotonic()

    def _open(self) -> BinaryIO:
        self.folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), (self.folder / "settings.json").open("x") as about:
            about.write(json.dumps(self.settings, indent=1, sort_keys=True) + "\n")
        # A file of its own, as another's may end in a torn line.
        name = f"{time.strftime('%Y%m%dT%H%M%S')}-{platform.node()}-{uuid.uuid4().hex[:8]}.replies"
        return (self.folder / name).open("xb", buffering=0)

    def _replies(self, keys: Collection[str]) -> Iterator[tuple[str, Reply]]:
        """Yield the replies to `keys`, reading all journals once."""
        wanted = {key.encode() for key in keys}
        at = slice(sealed_lines.CONTENT_AT, sealed_lines.CONTENT_AT + KEY_BYTES)
        for path in sorted(self.folder.glob("*.replies")):
            with path.open("rb") as journal:
                for line in journal:
                    if line[at] not in wanted:
                        continue
                    key, content = line[at].decode(), sealed_lines.opened(line)
                    if content is None:
                        if line.endswith(b"\n"):  # else torn, and its reply never used
                            log.warning("%s: a damaged reply to %s is ignored", path, key)
                        continue
                    told = json.loads(content[KEY_BYTES + 1 :])
                    # Fields that another version knows are no damage.
                    yield key, Reply(**{name: told[name] for name in told if name in FIELDS})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._journal is not None:
            os.fsync(self._journal.fileno())
            self._journal.close()
            self._journal = None
