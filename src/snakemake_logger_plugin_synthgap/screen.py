"""A terminal with a line that stays at its foot, whoever else writes to it."""

from __future__ import annotations

import atexit
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

NARROWEST = 20
BYTES_AT_ONCE = 65536


class Screen:
    """Where a run is shown.

    Jobs write to standard error themselves, and Snakemake knows nothing of it. On a terminal they
    get a pipe for it, from `begin` to `end`, and what comes out of that is shown above the line. As
    it is no terminal, jobs show no bars of their own.
    """

    def __init__(self, stream: TextIO, live: bool) -> None:
        self.live = live
        self._stream = stream
        self._bar: Any = None
        self._guard = threading.RLock()
        self._saved: dict[int, int] = {}
        self._pipe: tuple[int, int] | None = None
        self._reader: threading.Thread | None = None
        self._ended = threading.Event()
        self._partial = b""

    def begin(self) -> None:
        """Take the terminal over, if there is one."""
        if not self.live:
            return
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # a thread that a single bar has no need of
        taken = [fd for fd in (1, 2) if _is_terminal(fd)]
        if self._stream.fileno() in taken:
            encoding = self._stream.encoding or "utf-8"
            own = os.dup(self._stream.fileno())
            # What a terminal cannot show must not end the run.
            self._stream = open(own, "w", encoding=encoding, errors="replace")  # noqa: SIM115, PTH123
            sys.stdout.flush()
            sys.stderr.flush()
            self._pipe = os.pipe()
            for fd in taken:
                self._saved[fd] = os.dup(fd)
                os.dup2(self._pipe[1], fd)
            self._reader = threading.Thread(target=self._relay, name="relay", daemon=True)
            self._reader.start()
            atexit.register(self.end)
        self._bar = tqdm(
            bar_format="{desc}", file=self._stream, dynamic_ncols=True, leave=False, mininterval=0
        )

    def end(self) -> None:
        """Give the terminal back, without the line."""
        with self._guard:
            saved, self._saved = self._saved, {}
        if saved:
            sys.stdout.flush()
            sys.stderr.flush()
            for fd, terminal in saved.items():
                os.dup2(terminal, fd)
                os.close(terminal)
            self._ended.set()
            if self._reader is not None:
                self._reader.join(timeout=2)
            atexit.unregister(self.end)
        with self._guard:
            if self._bar is not None:
                with suppress(OSError):
                    self._bar.close()
                self._bar = None
            if self._partial:
                self._write(self._partial + b"\n")
                self._partial = b""

    def draw(self, line: Callable[[int], str] | str) -> None:
        """Show a line in place of the one before; a function gets the number of columns."""
        with self._guard:
            if self._bar is None:
                return
            text = line if isinstance(line, str) else line(self._width())
            if text != self._bar.desc:
                with suppress(OSError):
                    self._bar.set_description_str(text, refresh=True)

    @contextmanager
    def above(self) -> Iterator[TextIO]:
        """A stream whose text stays, above the line."""
        with self._guard:
            if self._bar is not None:
                self._bar.clear()
            try:
                yield self._stream
            finally:
                with suppress(OSError, ValueError):
                    self._stream.flush()
                if self._bar is not None:
                    self._bar.refresh()

    def _width(self) -> int:
        """Columns that can be filled: one less than there are, where a line would wrap."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except OSError:
            columns = 80
        # A terminal that knows no size, as of a serial line, has 0.
        return max(NARROWEST, (columns or 80) - 1)

    def _relay(self) -> None:
        """Show what comes out of the pipe. It must be read whatever happens, or jobs would wait."""
        assert self._pipe is not None
        out = self._pipe[0]
        while True:
            ready, _, _ = select.select([out], [], [], 0 if self._ended.is_set() else 0.2)
            if not ready:
                if self._ended.is_set():
                    return
                continue
            got = os.read(out, BYTES_AT_ONCE)
            if not got:
                return
            with suppress(Exception), self._guard:
                whole, newline, self._partial = (self._partial + got).rpartition(b"\n")
                if newline:
                    self._write(whole + newline)

    def _write(self, text: bytes) -> None:
        with self.above() as stream, suppress(OSError):
            stream.flush()
            stream.buffer.write(text)


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False
