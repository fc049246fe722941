"""Weights that are published as a single file somewhere, and not as a model folder on a hub."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgap.errors import UserError

log = logging.getLogger("synthgap")

ATTEMPTS = 5


@dataclass(frozen=True)
class WeightFile:
    """A file to be downloaded once."""

    name: str
    """the file's name in the folder of downloads"""
    url: str
    sha256: str = ""
    """its SHA-256, or the first digits where no more is published; empty: unknown"""


def download_file(file: WeightFile, path: Path, *, pause_seconds: float = 5.0) -> dict[str, Any]:
    """Download a file to `path`, going on where an earlier attempt broke off.

    Returns:
        `url`, `bytes` and `sha256`.

    Raises:
        UserError: no network, no such file, or one with another hash than is known.
    """
    import httpx2
    import tenacity

    part = path.with_name(f".{path.name}.part")
    by_hand = f"or put the file at {path} by hand"
    try:
        tenacity.Retrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_exponential(pause_seconds),
            retry=tenacity.retry_if_exception(_may_pass),
            reraise=True,
        )(_fetch, file.url, part, resume=bool(file.sha256))
    except httpx2.HTTPStatusError as error:
        status = error.response.status_code
        raise UserError(
            f"{file.url} answers with HTTP status {status}; look at it, {by_hand}"
        ) from (error)
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise UserError(f"{file.url} is no address to download from ({error})") from error
    except httpx2.TransportError as error:
        what = str(error) or type(error).__name__
        raise UserError(
            f"no connection for {file.url} ({what}); run this where there is a network, {by_hand}"
        ) from error
    digest = _sha256(part)
    if not digest.startswith(file.sha256.lower()):
        part.unlink()
        raise UserError(
            f"{file.url} has the SHA-256 {digest}, not {file.sha256}...: it was changed there "
            f"or on the way; try again, {by_hand}"
        )
    facts = {"url": file.url, "bytes": part.stat().st_size, "sha256": digest}
    with part.open("rb+") as written:
        os.fsync(written.fileno())
    part.replace(path)
    return facts


def _may_pass(error: BaseException) -> bool:
    """Whether an error may be gone the next time."""
    import httpx2

    if isinstance(error, httpx2.HTTPStatusError):
        return error.response.status_code in (429, 500, 502, 503, 504)
    return isinstance(error, httpx2.TransportError) and not isinstance(
        error, httpx2.UnsupportedProtocol
    )


def _fetch(url: str, part: Path, resume: bool) -> None:
    """Download to `part`, after what it holds already if the server knows ranges.

    resume: only where a hash will tell whether the parts belong together.
    """
    import httpx2

    if not resume:
        part.unlink(missing_ok=True)
    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with httpx2.stream("GET", url, headers=headers, follow_redirects=True, timeout=60) as reply:
        if reply.status_code == 416:  # nothing is left to come
            return
        reply.raise_for_status()
        goes_on = reply.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        with part.open("ab" if reply.status_code == 206 and goes_on else "wb") as out:
            for chunk in reply.iter_raw():  # as it comes, so that what has come is kept
                out.write(chunk)
    log.info("%s: %.3f GB", url, part.stat().st_size / 1e9)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
