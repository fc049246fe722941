"""How fast a service may be asked: limits that its replies tell, and pauses between tries."""

import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime

log = logging.getLogger("synthgap")

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST_PAUSE = 60.0
LONGEST_LIMIT = 2 * 86400.0


def duration(text: str | None) -> float | None:
    """Return the seconds of "20ms", "1m30s" or "7.5"; None for another text."""
    if text is None:
        return None
    with suppress(ValueError):
        seconds = float(text)
        # Some services tell the time of day instead.
        return seconds if 0 <= seconds <= LONGEST_LIMIT else None
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a service asks to wait for, if it does."""
    exact = duration(headers.get("retry-after-ms"))
    if exact is not None:
        return exact / 1000
    told = headers.get("retry-after")
    if told is None or (seconds := duration(told)) is not None:
        return None if told is None else seconds
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    except ValueError:
        return None


def used_up(headers: Mapping[str, str], tokens: int) -> float | None:
    """Return the seconds until a limit is lifted that the next request would hit, if any.

    Args:
        tokens: what a request takes.
    """
    waits = []
    for kind, needed in (("requests", 1), ("tokens", tokens)):
        remaining = _number(headers.get(f"x-ratelimit-remaining-{kind}"))
        reset = duration(headers.get(f"x-ratelimit-reset-{kind}"))
        if remaining is not None and reset is not None and remaining < needed:
            waits.append(reset)
    return max(waits, default=None)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def pause(attempt: int) -> float:
    """Return the seconds to wait after the nth try: random up to a bound that doubles."""
    return random.uniform(0.5, 1.0) * min(2.0 ** (attempt - 1), LONGEST_PAUSE)


class Gate:
    """All requests pass here; a limit that one of them meets holds back all."""

    def __init__(self) -> None:
        self.opens = 0.0

    def hold(self, seconds: float) -> None:
        """Let none pass for so long."""
        opens = time.monotonic() + seconds
        if seconds > 5 and opens > self.opens + 1:
            log.info("the service's rate limit is reached; waiting %.0f s", seconds)
        self.opens = max(self.opens, opens)

    async def passed(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Wait until it is open, or until `sleep` returns before its time."""
        while (left := self.opens - time.monotonic()) > 0:
            # Not all at the same moment.
            wait = left + random.uniform(0, min(left, 1.0) / 4)
            started = time.monotonic()
            await sleep(wait)
            if time.monotonic() - started < wait / 2:
                return
