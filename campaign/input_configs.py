"""Fuzzed configs: mutations of the real ones, some made from the schema, and oddities of YAML."""

import copy
import datetime
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from campaign.forked import ROOT, Ended, listing, run_command
from campaign.rows import OPEN, REFUSED, RIGHT

SECONDS = 20
DRY_RUN_SECONDS = 120
DRY_RUN_EVERY = 50  # of the trials of all inputs; half of those numbers are configs
# Put in as text, as no library would write them.
DEEP = {depth: b"[{a: " * (depth // 2) + b"1" + b"}]" * (depth // 2) for depth in (50, 300, 3000)}
NASTY: list[Any] = [
    None, True, False, -1, 0, 2**31, 2**63, 10**30, -(2**70), 0.5, -0.0, 1e308, math.nan, math.inf,
    -math.inf, "", " ", "no-such-thing", "../..", "/etc/passwd", "a\nb", "a b", "'; touch canary; '",
    "$(touch canary)", "{wildcard}", "é", "🐍", "\x00", "x" * 100_000, "null", "1", "1e3", [], {},
    [[]], [{}], {"": ""}, {"kind": "no"}, {"kind": ["x"]}, {1: 2}, {None: 1}, [1, "a", None],
    datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1, 1), b"\xff\x00",
]  # fmt: skip


def trial(rng: random.Random, number: int, folder: Path) -> tuple[str, str, str]:
    """Return fault, what was given and outcome."""
    work = folder / "work"
    work.mkdir()
    kind = rng.choice(list(_KINDS))
    name, content = _KINDS[kind](rng)
    (work / "study.yaml").write_bytes(content)
    before = listing(folder)
    if number % DRY_RUN_EVERY == 0:
        ended = _dry_run(work)
        left = listing(folder, ("work/.snakemake",))
        outcome = _judged_dry_run(ended)
        kind = f"{kind}, dry run"
    else:
        ended = run_command(
            "campaign.input_configs:check", ["study.yaml"], work, seconds=SECONDS, megabytes=1000
        )
        left = listing(folder)
        outcome = ended.outcome(ended.out.strip())
        if not ended.fault() and ended.status:
            outcome = REFUSED
        elif ended.fault().startswith("DEFECT ") and " lines:" in ended.fault():
            outcome = ended.fault()
    if left != before and not outcome.startswith("DEFECT"):
        outcome = "DEFECT wrote outside the results"
    return kind, name, outcome


def check() -> None:
    """In a trial's process: parse a file as the library does, and print what is wrong of it."""
    from synthgap.config import load
    from synthgap.errors import UserError

    try:
        config = load(Path(sys.argv[1]))
    except UserError as error:
        sys.exit(str(error))
    import yaml

    raw = yaml.safe_load(Path(sys.argv[1]).read_bytes())
    told = config.model_dump(mode="json")
    if found := next(_infinite(told, ""), None):
        print(f"takes {found}")
    elif found := next(_infinite(raw, ""), None):
        print(f"takes {found} and drops it")
    else:
        json.dumps(told, allow_nan=False)
        _compare_with_schema(raw)


def _compare_with_schema(raw: dict[str, Any]) -> None:
    import jsonschema

    schema = json.loads((ROOT / "workflow/schemas/config.schema.json").read_text())
    for error in jsonschema.Draft202012Validator(schema).iter_errors(raw):
        # The schema knows no YAML dates; all else must agree.
        print(f"takes what the schema refuses: {error.json_path}: {error.message[:100]}")
        return


def _infinite(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _infinite(one, f"{where}.{key}")
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from _infinite(one, f"{where}[{place}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{value} as {where[1:]}"


def _dry_run(work: Path) -> Ended:
    """`snakemake -n` in a folder of its own, with the real Snakefile."""
    for name in ("Snakefile", "workflow", "config", "profiles", "src", "envs"):
        (work / name).symlink_to(ROOT / name)
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "-n", "--configfile", "study.yaml"],
        cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True, env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    late = False
    try:
        error, _ = process.communicate(timeout=DRY_RUN_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        error, _ = process.communicate()
        late = True
    for name in ("Snakefile", "workflow", "config", "profiles", "src", "envs"):
        (work / name).unlink()
    shutil.rmtree(work / ".snakemake", ignore_errors=True)
    return Ended(process.returncode, "", error, DRY_RUN_SECONDS if late else 0, late, 0)


def _judged_dry_run(ended: Ended) -> str:
    fault = ended.fault()
    # Snakemake reads the file first, and by itself.
    where = "snakemake/common/configfile.py"
    if "traceback" in fault and where in ended.error and "/workflow/" not in ended.error:
        return f"{OPEN}: Snakemake's own reader of configs"
    if fault and " lines: " not in fault:  # Snakemake tells of YAML in several lines
        return fault
    told = [line for line in ended.lines if not line.startswith("Using workflow specific profile")]
    if ended.status and not told:
        return "DEFECT refused without a line"
    return REFUSED if ended.status else RIGHT


# What is given.


@cache
def _bases() -> list[tuple[str, dict[str, Any]]]:
    import yaml

    files = [*ROOT.glob("config/*.yaml"), *ROOT.glob("config/studies/*.yaml")]
    files += ROOT.glob("tests/workflow/tiny*.yaml")
    found = [(path.name, yaml.safe_load(path.read_text())) for path in sorted(files)]
    return [(name, raw) for name, raw in found if raw and "real" in raw]


def _base(rng: random.Random) -> tuple[str, dict[str, Any]]:
    name, raw = rng.choice(_bases())
    return name, copy.deepcopy(raw)


def _dumped(raw: Any) -> bytes:
    import yaml

    content: bytes = yaml.dump(raw, encoding="utf-8", allow_unicode=True, sort_keys=False)
    for depth, value in DEEP.items():
        content = content.replace(b"deep%d\n" % depth, value + b"\n")
    return content


def _places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where the values of a config are, its own keys first."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in items:
        yield (*where, key)
        if isinstance(one, dict | list):
            yield from _places(one, (*where, key))


def _mutated(
    change: Callable[[random.Random, Any, Any], str],
) -> Callable[[random.Random], tuple[str, bytes]]:
    def made(rng: random.Random) -> tuple[str, bytes]:
        name, raw = _base(rng)
        notes = []
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            places = list(_places(raw))
            if not places:
                break
            *path, key = rng.choice(places)
            parent: Any = raw
            for part in path:
                parent = parent[part]
            notes.append(f"{'.'.join(map(str, [*path, key]))}: {change(rng, parent, key)}")
        return f"{name}, {'; '.join(notes)}", _dumped(raw)

    return made


def _put_nasty(rng: random.Random, parent: Any, key: Any) -> str:
    parent[key] = copy.deepcopy(rng.choice(NASTY))
    return repr(parent[key])[:40]


def _misspell(rng: random.Random, parent: Any, key: Any) -> str:
    if isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
        return "twice"
    text = str(key)
    at = rng.randrange(len(text) + 1)
    new = rng.choice([text[:at] + text[at + 1 :], text[:at] + "x" + text[at:], text.upper(), " "])
    parent[new] = parent.pop(key)
    return f"called {new!r}"


def _leave_out(rng: random.Random, parent: Any, key: Any) -> str:
    del parent[key]
    return "left out"


def _scale(rng: random.Random, parent: Any, key: Any) -> str:
    value = parent[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _put_nasty(rng, parent, key)
    parent[key] = rng.choice([-value, value * 1000, value * 10**9, value / 2, str(value), [value]])
    return repr(parent[key])[:40]


def _point_nowhere(rng: random.Random, parent: Any, key: Any) -> str:
    value = parent[key]
    if not isinstance(value, str):
        return _scale(rng, parent, key)
    parent[key] = rng.choice([f"{value}x", value[:-1], f"{value}@3", f"{value}~1", f"./{value}"])
    return repr(parent[key])[:40]


def _swap(rng: random.Random, parent: Any, key: Any) -> str:
    _, other = _base(rng)
    places = [place for place in _places(other) if place[-1] == key]
    if not places:
        return _put_nasty(rng, parent, key)
    value: Any = other
    for part in rng.choice(places):
        value = value[part]
    parent[key] = value
    return "another config's"


def _deep(rng: random.Random, parent: Any, key: Any) -> str:
    depth = rng.choice(list(DEEP))
    parent[key] = f"deep{depth}"
    return f"{depth} deep"


def _by_schema(rng: random.Random) -> tuple[str, bytes]:
    schema = json.loads((ROOT / "workflow/schemas/config.schema.json").read_text())
    return "made from the schema", _dumped(_made(rng, schema, schema, 0))


def _made(rng: random.Random, node: dict[str, Any], schema: dict[str, Any], depth: int) -> Any:
    if rng.random() < 0.01:
        return copy.deepcopy(rng.choice(NASTY))
    if "$ref" in node:
        return _made(rng, schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], schema, depth)
    for several in ("anyOf", "oneOf"):
        if several in node:
            return _made(rng, rng.choice(node[several]), schema, depth)
    if "const" in node or "enum" in node:
        return node.get("const", rng.choice(node.get("enum", [None])))
    kind = node.get("type")
    if kind == "object" or "properties" in node:
        needed = set(node.get("required", ()))
        fields = {
            key: _made(rng, one, schema, depth + 1)
            for key, one in node.get("properties", {}).items()
            if key in needed or rng.random() < 0.3
        }
        values = next(iter(node.get("patternProperties", {}).values()), None)
        if values and depth < 8:
            for name in ("one", "two")[: rng.randrange(3)]:
                fields[name] = _made(rng, values, schema, depth + 1)
        return fields
    if kind == "array":
        one = node.get("items", {})
        return [_made(rng, one, schema, depth + 1) for _ in range(rng.randrange(3))]
    if kind in ("integer", "number"):
        least = node.get("minimum", node.get("exclusiveMinimum", 0))
        number = least + rng.choice([0, 1, 2, 10, -1])
        return number if kind == "integer" else number + rng.random()
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "null":
        return None
    return rng.choice(["one", "two", "small", "rgb", "real", "train", "digits", "classname"])


def _oddity(rng: random.Random) -> tuple[str, bytes]:
    name, raw = _base(rng)
    text = _dumped(raw).decode()
    lines = text.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    laughs = ["a0: &a0 [lol]\n"]
    laughs += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)]
    odd: dict[str, str | bytes] = {
        "empty": b"",
        "one comment": "# nothing\n",
        "a list": "[1, 2]\n",
        "a number": "7\n",
        "a text": "hello\n",
        "null": "null\n",
        "two documents": f"{text}---\n{text}",
        "a tab": "".join([*lines[:at], "\tx: 1\n", *lines[at:]]),
        "a key twice": text + lines[0],
        "cut off": text[: rng.randrange(len(text))],
        "a python object": text + "x: !!python/object/apply:os.system ['touch canary']\n",
        "a python name": f"!!python/name:os.system\n{text}",
        "an unknown tag": text + "x: !mine {a: 1}\n",
        "billion laughs": "".join(laughs) + text + "captioner: *a29\n",
        "billion laughs of names": "".join(laughs) + text + "composites: *a29\n",
        "laughs by merging": "a: &a {b: &b {c: 1, <<: {d: 1}}}\n"
        + "".join(f"m{i}: {{<<: [{', '.join(['*a', '*b'] * 200)}]}}\n" for i in range(30)),
        "a list in itself": text + "composites: &c [*c]\n",
        "a mapping in itself": text + "views: &v {a: *v}\n",
        "an anchor that is not there": text + "x: *nowhere\n",
        "a date as seed": text + "seed: 2020-01-01\n",
        "sexagesimal": text + "seed: 1:30:00\n",
        "octal": text + "seed: 0777\n",
        "a huge number": text + f"seed: {'9' * 5000}\n",
        "a large number": text + f"seed: {'9' * 400}\n",
        "exponent": text + "checkpoint_seconds: 1e999\n",
        "NaN": text + "checkpoint_seconds: .nan\n",
        "a mapping as key": text + "? {a: 1}\n: 2\n",
        "a list as key": text + "? [a, [b]]\n: 2\n",
        "a null key": text + "~: 2\n",
        "a number as key": text + "1: 2\n",
        "yes as a name": text + "views: {yes: {kind: lowpass, sigma: 1}}\n",
        "binary": rng.randbytes(2000),
        "zero bytes": bytes(1000),
        "UTF-16": text.encode("utf-16"),
        "Latin-1": b"results: r\xe9sultats\n" + text.encode(),
        "a byte order mark": b"\xef\xbb\xbf" + text.encode(),
        "CRLF": text.replace("\n", "\r\n"),
        "flipped bits": _flipped(rng, text.encode()),
        "a set": text + "composites: !!set {half, ninth}\n",
        "pairs": text + "views: !!pairs [a: 1, a: 2]\n",
        "binary tag": text + "results: !!binary aGVsbG8=\n",
        "wrong binary tag": text + "results: !!binary '*'\n",
        "wrong int tag": text + "seed: !!int x\n",
        "wrong timestamp": text + "seed: 2020-13-45\n",
        "wrong float tag": text + "checkpoint_seconds: !!float x\n",
        "deep flow lists": text + "x: " + "[" * 5000 + "]" * 5000 + "\n",
        "deep mappings": "".join(f"{' ' * i}a:\n" for i in range(2000)),
        "a long line": text + f"x: '{'y' * 1_000_000}'\n",
        "a million keys": "".join(f"k{i}: 1\n" for i in range(20_000)) + text,
        "control characters": text + 'results: "a\\x01b"\n',
        "raw control characters": text + "results: a\x01b\n",
        "directive": f"%YAML 9.9\n---\n{text}",
    }
    kind = rng.choice(list(odd))
    content = odd[kind]
    return f"{name}, {kind}", content if isinstance(content, bytes) else content.encode()


def _flipped(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 20)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


_KINDS: dict[str, Callable[[random.Random], tuple[str, bytes]]] = {
    "wrong value": _mutated(_put_nasty),
    "misspelt key": _mutated(_misspell),
    "missing part": _mutated(_leave_out),
    "out of range": _mutated(_scale),
    "unknown reference": _mutated(_point_nowhere),
    "part of another": _mutated(_swap),
    "deep nesting": _mutated(_deep),
    "from the schema": _by_schema,
    "YAML": _oddity,
    "more YAML": _oddity,
}
