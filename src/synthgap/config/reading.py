"""A config file's content before its keys are looked at: YAML of a bearable size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synthgap.errors import UserError

# Far more than any study has: the longest of `config/studies` has some 600 values, 6 deep.
MOST_VALUES = 100_000
DEEPEST = 50


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises:
        UserError: it cannot be read, is no YAML of plain values, or is no mapping.
    """
    import yaml

    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except RecursionError:
        raise UserError(f"{path}: {_TOO_DEEP}") from None
    except (yaml.YAMLError, ValueError) as error:  # numbers and texts that are none are the latter
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as YAML: {reason}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: a config is a mapping of keys, see config/README.md")
    return raw


def require_bearable(raw: object, where: str) -> None:
    """Refuse a config that would take for ever to check: a few aliases make billions of values.

    Raises:
        UserError: it has too many values, or they are nested too deeply, in themselves say.
    """
    values, level, depth = 0, [raw], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise UserError(f"{where}: {_TOO_DEEP}")
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list | tuple | set):
                below += value
            if values + len(below) > MOST_VALUES:
                raise UserError(
                    f"{where}: more than {MOST_VALUES} values, aliases (`*name`) counted as often "
                    "as they are used; a config has some hundred"
                )
        values += len(below)
        level = below


_TOO_DEEP = f"values are nested more than {DEEPEST} deep; a config has some 6 levels"
