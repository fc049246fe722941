"""A finding of the config's validation, in one line that a user can act on."""

import reprlib
from typing import Any

from synthgap.errors import suggest

# A value may be a whole section, or a megabyte.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


def explain(problem: dict[str, Any], raw: dict[str, Any], schema: dict[str, Any]) -> str:
    """Turn one of pydantic's findings into a line that names the key and what would be right."""
    # Tags of discriminated unions (`depth`, `timm`) are in pydantic's path but not in the file.
    keys: list[str] = []
    value: Any = raw
    for part in problem["loc"]:
        if isinstance(value, dict) and part in (value.get("kind"), value.get("family")):
            continue
        keys.append(str(part).replace("[key]", "(key)"))
        value = value.get(part) if isinstance(value, dict) else _item(value, part)
    key = ".".join(keys) or "the file"
    kind, message = problem["type"], problem["msg"]
    if kind == "extra_forbidden":
        of_real = schema.get("$defs", {}).get("Real", {}).get("properties", {})
        if len(keys) == 1 and key in of_real:
            return f"  {key}: unknown key; did you mean `real.{key}`?"
        return f"  {key}: unknown key{suggest(keys[-1], _fields_at(problem['loc'][:-1], schema))}"
    if kind == "union_tag_invalid":
        tag = problem["ctx"]["tag"]
        known = problem["ctx"]["expected_tags"].replace("'", "").split(", ")
        field = problem["ctx"]["discriminator"].strip("'")
        return f"  {key}.{field}: no `{tag}`{suggest(tag, known)}"
    if kind == "union_tag_not_found":
        field = problem["ctx"]["discriminator"].strip("'")
        return f"  {key}.{field}: missing"
    if kind == "missing":
        return f"  {key}: missing"
    if kind == "value_error":
        return f"  {key}: {problem['ctx']['error']}" if keys else f"  {problem['ctx']['error']}"
    return f"  {key}: {message[0].lower()}{message[1:]}, not {_SHORT.repr(problem['input'])}"


def _item(value: Any, part: Any) -> Any:
    return value[part] if isinstance(value, list) and isinstance(part, int) else None


def _fields_at(location: tuple[Any, ...], schema: dict[str, Any]) -> list[str]:
    """Return the fields that are known at a place of the config, for suggestions."""
    node: dict[str, Any] = schema
    for part in location:
        options = [node, *node.get("anyOf", []), *node.get("oneOf", [])]
        found: dict[str, Any] = {}
        for option in options:
            option = _resolve(option, schema)
            # A mapping with checked keys has its values' schema under the keys' pattern.
            values: dict[str, Any] = next(iter(option.get("patternProperties", {}).values()), {})
            found = option.get("properties", {}).get(part) or values
            if not found and part in _tags(option):
                found = option
            if found:
                break
        node = _resolve(found, schema)
    if "oneOf" in node or "anyOf" in node:
        options = [_resolve(o, schema) for o in node.get("oneOf", []) + node.get("anyOf", [])]
        return sorted({name for option in options for name in option.get("properties", {})})
    return list(node.get("properties", {}))


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        found: dict[str, Any] = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        return found
    return node


def _tags(option: dict[str, Any]) -> list[str]:
    fields = option.get("properties", {})
    tag = fields.get("kind") or fields.get("family") or {}
    return list(tag.get("enum", [tag.get("const")]))
