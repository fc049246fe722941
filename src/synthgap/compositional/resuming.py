"""Long loops in foreign environments that go on where they were killed: lines in a file.

Standard library and Python 3.9 only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from synthgap import sealed_lines


class LineFile:
    """A file of JSON lines that grows beside its place, unit by unit, and is renamed when whole.

    Its first line holds the settings, so that a run goes on only from an attempt with the same.
    A unit (the images of a prompt, say) is written in one go and flushed to disk.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        """Open `path`'s unfinished twin, `.NAME.part`; what another run left there is dropped."""
        self.path = Path(path)
        self.part = self.path.with_name(f".{self.path.name}.part")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._head = {"settings": settings}
        self.done: set[str] = set()
        """names of the units that are there"""
        found = self._lines()
        usable = bool(found) and found[0] == self._head
        self.done.update(line["unit"] for line in found[1:] if usable)
        self._file: BinaryIO = self.part.open("ab" if usable else "wb")
        if not usable:
            self._file.write(sealed_lines.seal(json.dumps(self._head).encode()))
            self._flush()

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(content) for _, content in sealed_lines.read(self.part)]

    def add(self, unit: str, records: list[dict[str, Any]]) -> None:
        """Append the records of a unit."""
        line = json.dumps({"unit": unit, "records": records})
        self._file.write(sealed_lines.seal(line.encode()))
        self._flush()
        self.done.add(unit)

    def finish(self, order: Iterable[str]) -> None:
        """Write all records, a line each, units in the given order, under the file's own name."""
        self._file.close()
        found = {line["unit"]: line["records"] for line in self._lines() if "unit" in line}
        order = list(order)
        if missing := [name for name in order if name not in found]:
            raise SystemExit(
                f"error: {self.part} is damaged: {missing[0]} is gone; run the same command again"
            )
        whole = self.path.with_name(f".{self.path.name}.whole")
        with whole.open("w", encoding="utf-8") as file:
            for name in order:
                file.writelines(json.dumps(record) + "\n" for record in found[name])
            file.flush()
            os.fsync(file.fileno())
        whole.replace(self.path)
        self.part.unlink()

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> LineFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
