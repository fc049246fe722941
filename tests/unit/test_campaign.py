"""The campaign's rows, its rules, and that the page's table is of the file of results."""

import json
import math
import os
import random
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from campaign import PARTS, disk, injection, long_run, report, rows, study, supply


def test_page_and_results_agree():
    text = report.PAGE.read_text(encoding="utf-8")
    assert report.page(text, rows.read(report.HERE / "results.jsonl")) == text


def test_committed_results_have_no_defect_that_is_not_named():
    found = rows.read(report.HERE / "results.jsonl")
    assert {row["part"] for row in found} <= set(PARTS)


def test_choices_are_of_seed_part_and_number():
    first = rows.chance(0, "kills", 7).random()
    assert rows.chance(0, "kills", 7).random() == first
    others = [(1, "kills", 7), (0, "disk", 7), (0, "kills", 8)]
    assert all(rows.chance(*other).random() != first for other in others)


def test_rows_are_appended_and_a_torn_line_is_left_out(tmp_path):
    file = tmp_path / "rows.jsonl"
    told = {"fault": "a kill", "hit": "a stage", "outcome": rows.RECOVERED}
    for number in (1, 2):
        rows.append(file, rows.row("kills", 0, number, **told))
    with file.open("a") as torn:
        torn.write('{"part": "kil')
    assert [row["number"] for row in rows.read(file)] == [1, 2]


def test_the_table_counts_times_and_losses():
    def made(outcome, times=1, losses=0, fault="a kill"):
        more = {"times": times, "losses": losses, "stages": ["train"]}
        return rows.row("kills", 0, 1, fault=fault, hit="", outcome=outcome, **more)

    table = report.table([made(rows.RECOVERED, 3), made("DEFECT: gone", 1, 1), made("late", 0)])
    assert "| kills | a kill | 4 | 3 | 0 | 1 DEFECT: gone | 1 |" in table
    assert "**Kills**: 4 over 1 stages: `train` 4." in table


def test_times_in_facts_are_no_difference():
    one, other = b'{"seconds": 1, "of": [{"host": "a", "n": 2}]}', b'{"of": [{"n": 2}]}'
    assert study.digest("a.json", one) == study.digest("a.json", other)
    assert study.digest("a.json", one) != study.digest("a.json", one.replace(b"2", b"3"))
    assert study.digest("a.txt", one) != study.digest("a.txt", other)


def test_each_damage_changes_the_bytes():
    whole = bytes(range(1, 200)) * 100
    for number in range(50):
        how, hurt = disk.hurt_bytes(random.Random(number), whole)
        assert hurt != whole, how


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("error: a.parquet is damaged", None),
        ("error: it is damaged", "names none"),
        ("Traceback (most recent call last)\nerror: a.parquet", "traceback"),
        ("error: a.parquet\nerror: b", "2 lines"),
        ("", "0 lines"),
    ],
)
def test_a_refusal_is_one_line_that_names_the_file(said, wrong):
    found = disk.refusal(said, ["a.parquet"])
    assert found is None if wrong is None else wrong in found


def loops(memory, files=10):
    return [
        {"memory": m * 2**20, "files": files + 0 * i, "threads": 3, "temporary": 5}
        for i, m in enumerate(memory)
    ]


def test_noise_is_no_growth_and_growth_is():
    noise = random.Random(0)
    assert long_run.growth(loops([300 + noise.random() for _ in range(40)]))[0] == []
    assert long_run.growth(loops([300 + i for i in range(40)]))[0]
    late = loops([300] * 40)
    late[-1]["threads"] += 1
    assert long_run.growth(late)[0] == []
    for number, one in enumerate(late):
        one["threads"] = 3 + number
    assert long_run.growth(late)[0] == ["threads grow from 23 to 42"]
    leaking = loops([300] * 40)
    for number, one in enumerate(leaking):
        one["files"] += number // 10
    assert long_run.growth(leaking)[0] == ["files grow from 12 to 13"]


def test_models_known_by_name_are_pinned_and_the_lock_is_whole(tmp_path):
    for look in ("pinned by revision", "lock"):
        told, outcome = supply.LOOKS[look](random.Random(0), tmp_path)
        assert outcome == rows.RIGHT, (look, told)


def test_numbers_that_are_none_are_found_in_each_kind_of_file(tmp_path):
    for number, good in ((0.5, True), (math.nan, False), (math.inf, False)):
        table = pa.table({"key": ["a"], "features": [[number, 1.0]], "value": [number]})
        pq.write_table(table, tmp_path / "a.parquet")
        save_file({"a": np.array([number], np.float16)}, tmp_path / "a.safetensors")
        (tmp_path / "a.json").write_text(json.dumps({"a": [number]}))
        for suffix, read in injection.READERS.items():
            assert read(tmp_path / f"a{suffix}") is good, (suffix, number)
    pq.write_table(pa.table({"ci_low": pa.array([None], pa.float64())}), tmp_path / "a.parquet")
    assert injection.READERS[".parquet"](tmp_path / "a.parquet")


@pytest.mark.parametrize("fault", injection.FAULTS)
def test_a_fault_is_planted_once_and_where_it_says(tmp_path, fault):
    program = (
        "import random, sys, torch; from campaign.injection import plant\n"
        "plant(sys.argv[1], random.Random(3))\n"
        "net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh())\n"
        "optimizer = torch.optim.SGD(net.parameters())\n"
        "odd = []\n"
        "for step in range(3000):\n"
        "    optimizer.zero_grad()\n"
        "    out = net(torch.ones(1, 2)); odd.append(not out.isfinite().all())\n"
        "    out.sum().backward(); optimizer.step()\n"
        "    with torch.no_grad(): [p.nan_to_num_() for p in net.parameters()]\n"
        "    if sys.argv[1] == 'NaN in a gradient' and step > 50: break\n"
        "print(sum(odd))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, fault], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(study.ROOT)},
    )  # fmt: skip
    assert "of " in (tmp_path / injection.REACHED).read_text()
    if fault == "no memory":
        assert "OutOfMemoryError: CUDA out of memory" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) == (fault != "NaN in a gradient")
