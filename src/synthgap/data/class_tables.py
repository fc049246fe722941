"""Which classes of a data set are taken, in which order, and what they are called.

Light, as the Snakefile uses it.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from synthgap.errors import UserError

BUILT_IN = Path(__file__).with_name("tables")
HELP = "docs/real-images.md says where ImageNet is from and how it is laid out"


def class_tables() -> list[str]:
    """The names of the built-in tables."""
    return sorted(path.stem for path in BUILT_IN.glob("*.csv"))


def read_class_table(table: str) -> list[tuple[str, str]]:
    """Return folder and name of each class, in order, of a built-in table or the user's CSV.

    Raises:
        UserError: no such table, other columns than `folder` and `name`, an empty cell, or a
            folder or name that comes twice.
    """
    path = BUILT_IN / f"{table}.csv" if table in class_tables() else Path(table)
    try:
        # Spreadsheets put a byte order mark first.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames, list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        known = ", ".join(class_tables())
        raise UserError(
            f"real.class_table: {table} is neither a built-in table ({known}) nor a CSV file that "
            f"can be read ({error})"
        ) from None
    if not rows or columns is None or sorted(columns) != ["folder", "name"]:
        raise UserError(f"real.class_table: {path} needs the columns folder,name and a row a class")
    for column in ("folder", "name"):
        seen: set[str] = set()
        for number, row in enumerate(rows, start=2):
            value = (row[column] or "").strip()
            problem = f"{value} comes twice in {column}" if value in seen else ""
            if None in row:
                problem = "a comma too many; put a name with a comma in double quotes"
            elif not value:
                problem = f"an empty cell in {column}"
            if problem:
                raise UserError(f"real.class_table: {path}, row {number}: {problem}")
            seen.add(value)
    return [(row["folder"].strip(), row["name"].strip()) for row in rows]


def table_digest(table: str | None) -> str:
    """Return a digest of what a class table says, so that editing it lists the images anew."""
    rows = read_class_table(table) if table else None
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]


def is_synset(label: str) -> bool:
    """Whether a label is a WordNet number, such as n01443537."""
    return len(label) == 9 and label[0] == "n" and label[1:].isdecimal()


@dataclass(frozen=True)
class Classes:
    """The classes that are taken.

    Args:
        table: folder (or label) and name of each, in order; all that there are if None.
        names: what they are called where that is not their folder's name; with no table.
    """

    table: Sequence[tuple[str, str]] | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def are_synsets(self) -> bool:
        """Whether the table names its classes by WordNet's numbers, as ImageNet does."""
        return bool(self.table) and all(is_synset(label) for label, _ in self.table or ())

    def of(self, labels: Iterable[str], where: str) -> dict[str, str]:
        """Return the names of the classes to take by label, in order.

        Args:
            labels: those of the data set, in its own order.
            where: the data set, for errors.

        Raises:
            UserError: a class of the table or of `names` is not there, or two have one name.
        """
        present = list(dict.fromkeys(labels))
        if self.table is not None:
            known = set(present)
            help_ = f"; {HELP}" if self.are_synsets else ""
            if missing := [label for label, _ in self.table if label not in known]:
                raise UserError(
                    f"{where} lacks {len(missing)} of the {len(self.table)} classes of "
                    f"real.class_table: {', '.join(missing[:3])}"
                    f"{', ...' if len(missing) > 3 else ''}{help_}"
                )
            return dict(self.table)
        if unknown := sorted(set(self.names) - set(present)):
            raise UserError(f"real.class_names: no folder {unknown[0]} in {where}")
        named = {label: self.names.get(label, label) for label in present}
        by_name: dict[str, str] = {}
        for label, name in named.items():
            if (other := by_name.setdefault(name, label)) != label:
                raise UserError(f"real.class_names: {other} and {label} have one name, {name}")
        return named
