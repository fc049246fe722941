"""Progress of long work: a bar on a terminal, a plain line every half minute in the log."""

import logging
import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Count `unit`s up to `total`; `done` were already there when the work (re)started."""

    def __init__(self, total: int, unit: str, done: int = 0) -> None:
        self.total, self.unit, self.count, self.resumed_at = total, unit, done, done
        self.log = logging.getLogger("synthgap")
        self.started = self.last_line = time.monotonic()
        self.bar = tqdm(
            total=total,
            initial=done,
            unit=f" {unit}",
            disable=not sys.stderr.isatty(),
            leave=False,
        )
        if done:
            self.log.info("going on after %d of %d %s", done, total, unit)

    def update(self, n: int = 1, note: str = "") -> None:
        """Add `n` finished units; `note` (a loss, say) is shown behind the count."""
        self.count += n
        self.bar.set_postfix_str(note, refresh=False)
        self.bar.update(n)
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            rate = (self.count - self.resumed_at) / (now - self.started)
            left = (self.total - self.count) / rate if rate else float("inf")
            self.log.info(
                "%d of %d %s, %.1f a second, %.0f s left%s",
                self.count,
                self.total,
                self.unit,
                rate,
                left,
                f", {note}" if note else "",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.close()
