"""Long loops in foreign environments that go on where they were killed: lines in a file.

Standard library and Python 3.9 only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO


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
        lines = self._usable_lines()
        self._file: TextIO = self.part.open("w", encoding="utf-8")
        self._file.writelines(f"{line}\n" for line in lines or [json.dumps(self._head)])
        self._flush()

    def _usable_lines(self) -> list[str]:
        if not self.part.exists():
            return []
        # A kill may cut the last line short, and with it its unit.
        whole = self.part.read_bytes().decode("utf-8", "replace").split("\n")[:-1]
        try:
            if not whole or json.loads(whole[0]) != self._head:
                return []
            for line in whole[1:]:
                self.done.add(json.loads(line)["unit"])
        except (KeyError, TypeError, ValueError):
            self.done.clear()
            return []
        return whole

    def add(self, unit: str, records: list[dict[str, Any]]) -> None:
        """Append the records of a unit."""
        self._file.write(json.dumps({"unit": unit, "records": records}) + "\n")
        self._flush()
        self.done.add(unit)

    def finish(self, order: Iterable[str]) -> None:
        """Write all records, a line each, units in the given order, under the file's own name."""
        self._file.close()
        found = {}
        with self.part.open(encoding="utf-8") as lines:
            next(lines)
            for line in lines:
                unit = json.loads(line)
                found[unit["unit"]] = unit["records"]
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
