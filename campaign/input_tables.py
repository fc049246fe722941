"""Tables that are not what a command expects: each made right, then changed, then read by it."""

import io
import json
import math
import random
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from campaign.forked import LIGHT, Ended, listing, run_command
from campaign.input_files import PLAIN, _class_folders, prepared
from campaign.rows import REFUSED, RIGHT

MEGABYTES = 1500
WITH_TORCH = (*LIGHT, "torch", "scipy", "sklearn.metrics")

Made = Callable[[random.Random, pa.Table], tuple[str, bytes]]


def trial(rng: random.Random, number: int, folder: Path) -> tuple[str, str, str]:
    """Return fault, what was given and outcome."""
    work = folder / "work"
    work.mkdir()
    (folder / "canary").write_text("untouched")
    target = rng.choice(list(_TARGETS))
    change = rng.choice(list(_CHANGES))
    make, command = _TARGETS[target]
    path, table = make(work)
    note, content = _CHANGES[change](rng, table)
    path.write_bytes(content)
    before = listing(folder, ("work/results",))
    ended = command(work)
    outcome = ended.outcome()
    if listing(folder, ("work/results",)) != before:
        outcome = "DEFECT wrote outside the results"
    needed = change in ("no column", "no parquet", "a tail cut off")
    if not outcome.startswith("DEFECT") and needed and outcome == RIGHT and target not in LENIENT:
        outcome = f"DEFECT {outcome}, and should be {REFUSED}"
    return f"{target}, {change}", note, outcome


# What is changed.


def _bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _column(rng: random.Random, table: pa.Table) -> int:
    return rng.randrange(table.num_columns)


def _drop(rng: random.Random, table: pa.Table) -> tuple[str, bytes]:
    at = _column(rng, table)
    return table.column_names[at], _bytes(table.remove_column(at))


def _rename(rng: random.Random, table: pa.Table) -> tuple[str, bytes]:
    at = _column(rng, table)
    names = list(table.column_names)
    names[at] = rng.choice([names[at].upper(), f"{names[at]}.x", "", "é", names[0]])
    return f"{table.column_names[at]} to {names[at]!r}", _bytes(table.rename_columns(names))


def _retype(rng: random.Random, table: pa.Table) -> tuple[str, bytes]:
    at, n = _column(rng, table), table.num_rows
    values: dict[str, list[Any]] = {
        "text": ["x"] * n,
        "numbers": list(range(n)),
        "negative": [-1 - i for i in range(n)],
        "floats": [0.5] * n,
        "NaN": [math.nan] * n,
        "infinity": [math.inf] * n,
        "lists": [[1, 2]] * n,
        "lists of no length": [[]] * n,
        "mappings": [{"a": {"b": [1]}}] * n,
        "bytes": [b"\xff\xfe"] * n,
        "booleans": [True] * n,
        "nothing": [None] * n,
        "large numbers": [2**62 + i for i in range(n)],
        "long texts": ["x" * 3_000_000] * n,
        "texts of lines": ['a\nb\t"{}"\\'] * n,
        "paths": ["../../outside"] * n,
        "one text": ["same"] * n,
        "deep lists": [[[[[[[[1]]]]]]]] * n,
    }
    kind = rng.choice(list(values))
    name = table.column_names[at]
    return f"{name}: {kind}", _bytes(table.set_column(at, name, pa.array(values[kind])))


def _nulls(rng: random.Random, table: pa.Table) -> tuple[str, bytes]:
    at = _column(rng, table)
    kept = pa.array([i != 1 for i in range(table.num_rows)])
    column = pa.compute.if_else(kept, table.column(at).combine_chunks(), None)
    return table.column_names[at], _bytes(table.set_column(at, table.column_names[at], column))


def _one_value(rng: random.Random, table: pa.Table) -> tuple[str, bytes]:
    """One row's value is odd, of the right type."""
    at = _column(rng, table)
    field = table.schema.field(at)
    values = table.column(at).to_pylist()
    if pa.types.is_string(field.type):
        values[1] = rng.choice(["", "x" * 5_000_000, "a\nb", "../../x", "{", "null", values[0]])
    elif pa.types.is_integer(field.type):
        values[1] = rng.choice([-1, 2**31 - 1, 0, values[0], 10**6])
    elif pa.types.is_floating(field.type):
        values[1] = rng.choice([math.nan, math.inf, -math.inf, -1.0, 1e300])
    elif pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type):
        values[1] = [rng.choice([math.nan, math.inf, -1.0])] * len(values[1])
    told = repr(values[1])[:40]
    column = pa.array(values).cast(field.type)
    return f"{field.name}: {told}", _bytes(table.set_column(at, field, column))


def _rows(rng: random.Random, table: pa.Table) -> tuple[str, bytes]:
    kind = rng.choice(["no rows", "one row", "all twice", "backwards"])
    changed = {
        "no rows": lambda: table.slice(0, 0),
        "one row": lambda: table.slice(0, 1),
        "all twice": lambda: pa.concat_tables([table, table]),
        "backwards": lambda: table.take(list(range(table.num_rows))[::-1]),
    }[kind]()
    return kind, _bytes(changed)


def _columns(rng: random.Random, table: pa.Table) -> tuple[str, bytes]:
    kind = rng.choice(["more", "shuffled", "none", "dictionaries", "large types", "many"])
    if kind == "more":
        table = table.append_column("more", pa.array([{"a": [1]}] * table.num_rows))
    elif kind == "shuffled":
        table = table.select(rng.sample(table.column_names, table.num_columns))
    elif kind == "none":
        table = pa.table({})
    elif kind == "many":
        for i in range(300):
            table = table.append_column(f"c{i}", pa.array(range(table.num_rows)))
    else:
        for at, field in enumerate(table.schema):
            if pa.types.is_string(field.type):
                column = table.column(at)
                made = (
                    column.dictionary_encode()
                    if kind == "dictionaries"
                    else column.cast("large_string")
                )
                table = table.set_column(at, field.name, made)
    return kind, _bytes(table)


def _metadata(rng: random.Random, table: pa.Table) -> tuple[str, bytes]:
    told = dict(table.schema.metadata or {})
    if not told or rng.random() < 0.4:
        return "none", _bytes(table.replace_schema_metadata(None))
    key = rng.choice(list(told))
    told[key] = rng.choice(
        [b"", b"{", b"null", b"[]", b"{}", b"7", b"\xff", b'["a"]', b"[1, 2, 3]"]
    )
    return f"{key!r}: {told[key]!r}", _bytes(table.replace_schema_metadata(told))


def _no_parquet(rng: random.Random, table: pa.Table) -> tuple[str, bytes]:
    content = rng.choice(
        [
            b"",
            b"PAR1",
            b"PAR1PAR1",
            b"PAR1" + bytes(100) + b"PAR1",
            b"key,prompt\n",
            rng.randbytes(5000),
            b"PAR1" + b"\xff" * 100 + b"\xff\xff\xff\x7fPAR1",
        ]
    )
    return f"{content[:12]!r}, {len(content)} bytes", content


def _cut(rng: random.Random, table: pa.Table) -> tuple[str, bytes]:
    content = _bytes(table)
    end = rng.randrange(len(content))
    return f"{end} of {len(content)} bytes", content[:end]


def _mutated(rng: random.Random, table: pa.Table) -> tuple[str, bytes]:
    content = bytearray(_bytes(table))
    changes = rng.choice([1, 5, 50])
    for _ in range(changes):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return f"{changes} bits", bytes(content)


_CHANGES: dict[str, Made] = {
    "no column": _drop,
    "another name": _rename,
    "another type": _retype,
    "other types": _retype,
    "nulls": _nulls,
    "odd value": _one_value,
    "odd values": _one_value,
    "rows": _rows,
    "columns": _columns,
    "metadata": _metadata,
    "no parquet": _no_parquet,
    "a tail cut off": _cut,
    "bits flipped": _mutated,
}

# What is read, and by what.


@cache
def _study() -> dict[str, bytes]:
    """The files of a right run, made once."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        work.mkdir()
        _class_folders(work, random.Random(0))
        ended, _ = prepared(work, PLAIN)
        assert not ended.status, ended.error
        ended = _caption(work)
        assert not ended.status, ended.error
        found = {}
        for path in sorted((work / "results").rglob("*")):
            if path.is_file() and "logs" not in path.parts:
                found[str(path.relative_to(work))] = path.read_bytes()
    return found


TRAIN = "results/images/real/train/00000"
CAPTIONS = "results/captions/real/train/00000.parquet"
INDEX = "results/real/index.parquet"
MANIFEST = "results/images/real/test/manifest.parquet"


def _from_study(name: str) -> Callable[[Path], tuple[Path, pa.Table]]:
    def made(work: Path) -> tuple[Path, pa.Table]:
        for other, content in _study().items():
            (work / other).parent.mkdir(parents=True, exist_ok=True)
            (work / other).write_bytes(content)
        _class_folders(work, random.Random(0))
        return work / name, pq.read_table(work / name)

    return made


def _caption(work: Path) -> Ended:
    return run_command(
        "caption_images",
        ["--tar", f"{TRAIN}.tar", "--captioner", json.dumps({"kind": "colours"}), "--max-failed", 0,
         "--scratch", "results/.scratch/c", "--captions", CAPTIONS],
        work, megabytes=MEGABYTES,
    )  # fmt: skip


def _prepare(work: Path) -> Ended:
    return run_command(
        "prepare_real",
        ["--index", INDEX, "--dataset", json.dumps(PLAIN), "--split", "train", "--shard", 0,
         "--shards", 1, "--tar", "results/new/00000.tar"],
        work, megabytes=MEGABYTES,
    )  # fmt: skip


def _prompts(kind: str) -> Callable[[Path], Ended]:
    def run(work: Path) -> Ended:
        captions = ["--captions", CAPTIONS] if kind == "caption" else []
        return run_command(
            "write_prompts",
            ["--kind", kind, "--index", INDEX, *captions, "--source", "a", "--split", "train",
             "--samples-per-class", 2, "--seed", 0, "--prompts", "results/prompts.parquet"],
            work, megabytes=MEGABYTES,
        )  # fmt: skip

    return run


def _gather(work: Path) -> Ended:
    return run_command(
        "gather_shards",
        ["--tars", f"{TRAIN}.tar", "--max-failed", 0, "--manifest", "results/new.parquet"],
        work, megabytes=MEGABYTES,
    )  # fmt: skip


def _derive(work: Path) -> Ended:
    view = {"kind": "lowpass", "sigma": 1.0}
    return run_command(
        "derive_view",
        ["--images", f"{TRAIN}.tar", "--view", json.dumps(view), "--tar", "results/new/00000.tar"],
        work, megabytes=MEGABYTES,
    )  # fmt: skip


def _measure_captions(work: Path) -> Ended:
    return run_command(
        "measure_captions",
        ["--captions", CAPTIONS, "--images", f"{TRAIN}.tar", "--samples", 3, "--seed", 0,
         "--metrics", "results/new.parquet", "--sample", "results/sample.parquet"],
        work, megabytes=MEGABYTES,
    )  # fmt: skip


def _real_parquet(work: Path) -> tuple[Path, pa.Table]:
    from campaign.input_files import _packed

    _class_folders(work, random.Random(0))
    _packed(work, "parquet")
    names = {"info": {"features": {"label": {"names": ["cat", "dog"]}}}}
    table = pq.read_table(work / "packed/a.parquet")
    return work / "packed/a.parquet", table.replace_schema_metadata(
        {"huggingface": json.dumps(names)}
    )


def _read_real(work: Path) -> Ended:
    return prepared(work, PLAIN | {"dataset": "parquet", "folder": "packed"})[0]


def _features(work: Path) -> tuple[Path, pa.Table]:
    values = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    table = pa.table(
        {
            "key": [f"{i:03d}" for i in range(30)],
            "class_index": pa.array([i % 2 for i in range(30)], pa.int32()),
            "class_name": [str(i % 2) for i in range(30)],
            "sha256": ["0"] * 30,
            "features": pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 4),
        }
    ).replace_schema_metadata({"encoder": '{"family": "a"}'})
    pq.write_table(table, work / "real.parquet")
    return work / "made.parquet", table


def _distribution(work: Path) -> Ended:
    return run_command(
        "measure_distribution",
        ["--real", "real.parquet", "--generated", "made.parquet", "--gpus", 0, "--threads", 1,
         "--output", "results/new.json"],
        work, megabytes=MEGABYTES, modules=WITH_TORCH,
    )  # fmt: skip


def _prompt_table(work: Path) -> tuple[Path, pa.Table]:
    (work / "pipeline").mkdir()
    rows = [
        {"key": f"{i:03d}", "class_index": i % 2, "class_name": "cat", "prompt": "a cat", "seed": i,
         "details": "{}"}
        for i in range(6)
    ]  # fmt: skip
    return work / "prompts.parquet", pa.Table.from_pylist(rows)


def _read_prompts(work: Path) -> Ended:
    return run_command("campaign.input_tables:read_prompts", ["prompts.parquet"], work,
                       megabytes=MEGABYTES, modules=(*WITH_TORCH, "generate_images"))  # fmt: skip


def read_prompts() -> None:
    """In a trial's process: what `generate_images` reads."""
    from generate_images import read_prompts as own
    from synthgap.errors import UserError

    try:
        rows = own(Path(sys.argv[1]), 0, 1)
    except UserError as error:
        sys.exit(f"error: {error}")
    for row in rows:
        json.loads(row["details"]), row["prompt"].encode(), range(row["seed"])
        assert row["class_index"] >= 0 and row["key"] and row["class_name"]


def _predictions(work: Path) -> tuple[Path, pa.Table]:
    rows = []
    for i in range(20):
        rows.append(
            {"test_source": "real", "key": f"{i:03d}", "image": f"{i:03d}", "class_index": i % 2,
             "predicted": i % 2, "correct": True, "probability_of_class": 0.9,
             "log_likelihood": -0.1, "top_classes": [i % 2, 1 - i % 2]}
        )  # fmt: skip
    path = work / "predictions/real/rgb/small/seed-0.parquet"
    path.parent.mkdir(parents=True)
    table = pa.Table.from_pylist(rows)
    told = {"classes": '["cat", "dog"]', "train_images": "30"}
    return path, table.replace_schema_metadata(told)


def _collect(work: Path) -> Ended:
    probes = {"rgb": {"view": "rgb", "classifier": "small", "seeds": [0], "view_options": {}}}
    return run_command(
        "collect_metrics",
        ["--transfer", "predictions/real/rgb/small/seed-0.parquet", "--probes", json.dumps(probes),
         "--points", "[]", "--sources", "{}", "--seed", 0, "--metrics", "results/m.parquet",
         "--classes", "results/c.parquet"],
        work, megabytes=MEGABYTES,
    )  # fmt: skip


def _spectrum(work: Path) -> tuple[Path, pa.Table]:
    from synthgap.metrics.table import Row, to_table

    _predictions(work)
    table = to_table([Row("transfer", f"m{i}", 0.5, 10, settings={"a": i}) for i in range(5)])
    return work / "spectrum.parquet", table


def _collect_spectrum(work: Path) -> Ended:
    return run_command(
        "collect_metrics",
        ["--spectra", "spectrum.parquet", "--probes", "{}", "--points", "[]", "--sources", "{}",
         "--seed", 0, "--metrics", "results/m.parquet", "--classes", "results/c.parquet"],
        work, megabytes=MEGABYTES,
    )  # fmt: skip


_TARGETS: dict[str, tuple[Callable[[Path], tuple[Path, pa.Table]], Callable[[Path], Ended]]] = {
    "index, prepare_real": (_from_study(INDEX), _prepare),
    "index, write_prompts": (_from_study(INDEX), _prompts("classname")),
    "captions, write_prompts": (_from_study(CAPTIONS), _prompts("caption")),
    "captions, measure_captions": (_from_study(CAPTIONS), _measure_captions),
    "shard, gather_shards": (_from_study(f"{TRAIN}.parquet"), _gather),
    "shard, derive_view": (_from_study(f"{TRAIN}.parquet"), _derive),
    "shard, caption_images": (_from_study(f"{TRAIN}.parquet"), _caption),
    "real parquet": (_real_parquet, _read_real),
    "features": (_features, _distribution),
    "prompts": (_prompt_table, _read_prompts),
    "predictions": (_predictions, _collect),
    "spectrum": (_spectrum, _collect_spectrum),
}
# They do not need all of the columns.
LENIENT = ("index, prepare_real", "index, write_prompts", "features", "shard, caption_images",
           "shard, derive_view", "real parquet")  # fmt: skip
