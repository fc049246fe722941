"""Captions by a service, in batches and by a model, on the real Snakefile."""

import json
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import yaml

from fake_service import KEY, MODEL, error, serving
from tiny_llava import build

pytestmark = pytest.mark.slow

REAL = "results/captions/real/train"


@pytest.fixture
def server():
    with serving() as service:
        yield service


def write(checkout, captioner, **changes):
    raw = yaml.safe_load((checkout / "tiny.yaml").read_text()) | changes
    raw["captioner"] = captioner
    (checkout / "captions.yaml").write_text(yaml.safe_dump(raw))


def service(server, **settings):
    return {
        "kind": "service",
        "model": MODEL,
        "base_url": server.url,
        "prompt": "paper-a",
    } | settings


def run(checkout, *options, key=KEY):
    environment = checkout.environment() | {"SYNTHGAP_ON_CPU": "1", "OPENAI_API_KEY": key}
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *options]
    return subprocess.run(
        [*command, "--configfile", "captions.yaml"], cwd=checkout.folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
    )  # fmt: skip


def tables(checkout, folder=REAL):
    return [row for path in sorted((checkout / folder).glob("*.parquet"))
            for row in pq.read_table(path).to_pylist()]  # fmt: skip


def real_rows(checkout, split):
    folder = checkout / f"results/images/real/{split}/rgb"
    shards = sorted(folder.glob("0*.parquet"))
    return [row for path in shards for row in pq.read_table(path).to_pylist()]


def test_a_service_is_asked_once_an_image_whatever_happens(checkout, server):
    images = [row for split in ("train", "val", "test") for row in real_rows(checkout, split)]
    write(checkout, service(server, price={"input": 1.0, "output": 2.0}))
    for _ in range(len(images) // 2 + 5):
        server.faults.put(None)
    server.faults.put((429, error("insufficient_quota", "pay"), {}))
    broken = run(checkout, "captions", "--keep-going")
    assert broken.returncode == 1
    assert "quota of your account at 127.0.0.1 is used up" in broken.stdout
    assert "Traceback" not in broken.stdout
    done = run(checkout, "captions", "--retries", "0")
    assert done.returncode == 0, done.stdout
    assert sorted(server.answered) == sorted({row["sha256"] for row in images})
    rows = tables(checkout)
    assert [row["key"] for row in rows] == [row["key"] for row in real_rows(checkout, "train")]
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["model"] for row in rows} == {f"{MODEL}-2026-01-01"}
    assert {row["prompt"] for row in rows} == {"paper-a"}
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(len(rows) * 140 / 1e6)
    assert all(row["caption"].startswith("A picture with the number") for row in rows)

    # How it is reached shapes nothing; what it is asked does.
    write(checkout, service(server, concurrency=3, attempts=2, max_failed=0.5))
    assert "Nothing to be done" in run(checkout, "captions", "--dry-run").stdout
    write(checkout, service(server, prompt="paper-b"))
    assert "rule caption_images" in run(checkout, "captions", "--dry-run").stdout

    # Replies outlive the results.
    shutil.rmtree(checkout / "results/captions")
    write(checkout, service(server))
    again = run(checkout, "captions", "results/prompts/flow-g2-caption/train.parquet")
    assert again.returncode == 0, again.stdout
    assert [row["caption"] for row in tables(checkout)] == [row["caption"] for row in rows]
    assert len(server.answered) == len(images)
    prompts = pq.read_table(checkout / "results/prompts/flow-g2-caption/train.parquet")
    assert all(
        prompt.startswith(f"{name}, A picture with")
        for prompt, name in zip(
            prompts["prompt"].to_pylist(), prompts["class_name"].to_pylist(), strict=True
        )
    )
    for path in checkout.folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_a_wrong_key_and_no_key_are_told_in_one_line(checkout, server):
    write(checkout, service(server))
    wrong = run(checkout, f"{REAL}/00000.parquet", key="sk-wrong-key")
    assert "refuses the key in OPENAI_API_KEY (401)" in wrong.stdout
    assert "sk-wrong" not in wrong.stdout
    none = run(checkout, f"{REAL}/00000.parquet", key="")
    assert "OPENAI_API_KEY is not set" in none.stdout
    assert "Traceback" not in wrong.stdout + none.stdout


def test_too_many_refusals_fail_the_job_and_cost_nothing_twice(checkout, server):
    write(checkout, service(server, concurrency=1))
    for _ in range(3):
        server.faults.put("refusal")
    failed = run(checkout, f"{REAL}/00000.parquet")
    assert failed.returncode == 1
    assert "have no caption (3 refused), and captioner.max_failed allows 0.01" in failed.stdout
    asked = len(server.asked)
    write(checkout, service(server, max_failed=0.2))
    done = run(checkout, f"{REAL}/00000.parquet", "results/prompts/flow-g2-caption/train.parquet")
    assert done.returncode == 0, done.stdout
    assert len(server.asked) == asked + len(tables(checkout)) - asked
    rows = pq.read_table(checkout / f"{REAL}/00000.parquet").to_pylist()
    assert [row["status"] for row in rows].count("refused") == 3
    prompts = pq.read_table(checkout / "results/prompts/flow-g2-caption/train.parquet")
    refused = {row["key"] for row in rows if row["status"] != "ok"}
    captioned = {json.loads(text)["captioned"] for text in prompts["details"].to_pylist()}
    assert not refused & captioned


@pytest.mark.long
def test_batches_caption_real_images_and_composites(checkout, server):
    server.batch_faults.put("expires")
    batch = {"requests": 40, "poll_seconds": 0.05}
    write(checkout, service(server, batch=batch, composites=True))
    done = run(checkout, "captions")
    assert done.returncode == 0, done.stdout
    assert len(list((checkout / "results/logs/request_captions").glob("*.log"))) == 3
    asked = [body["messages"][0]["content"][0]["text"] for body in server.bodies]
    assert asked == []  # nothing one by one
    real, half = tables(checkout), tables(checkout, "results/captions/cutmix-half/train")
    assert len(real) == len(half) == len(tables(checkout, "results/captions/cutmix-all/train"))
    assert {row["status"] for row in real + half} == {"ok"}
    assert {row["prompt"] for row in half} == {"paper-b-cutmix"}
    counts = [
        json.loads((checkout / f"results/captions/{source}/batches.json").read_text())["counts"]
        for source in ("real", "cutmix-half", "cutmix-all")
    ]
    # Of all splits, as prompts of each are made from its own captions.
    folders = [f"results/captions/real/{split}" for split in ("train", "val", "test")]
    everything = [row for folder in folders for row in tables(checkout, folder)]
    assert counts[0]["replies"] == len({row["text"] for row in everything}) > len(real)
    assert sum(count["sent_again"] for count in counts) > 0


@pytest.mark.long
def test_a_model_of_ones_own_captions_composites_with_pruned_tokens(checkout, tmp_path):
    model = build(tmp_path / "llava")
    captioner = {"kind": "transformers", "model": str(model), "prompt": "paper-b", "prune": True}
    more = {"composites": True, "max_new_tokens": 4, "batch_size": 8, "threads": 1}
    write(checkout, captioner | more | {"max_failed": 1.0}, composites=["quarter"])
    table = "results/captions/cutmix-quarter/train/00000.parquet"
    made = run(checkout, f"{REAL}/00000.parquet", table)
    assert made.returncode == 0, made.stdout
    real = pq.read_table(checkout / f"{REAL}/00000.parquet").to_pylist()
    composites = pq.read_table(checkout / table).to_pylist()
    assert {row["model"] for row in real} == {str(model)}
    # The pasted image's tile is looked at too, beside the longer prompt.
    [short], [long] = ({r["input_tokens"] for r in rows} for rows in (real, composites))
    assert long > short
    assert "Nothing to be done" in run(checkout, table, "--dry-run").stdout
    write(checkout, captioner | more | {"prune": False}, composites=["quarter"])
    assert "rule caption_images" in run(checkout, table, "--dry-run").stdout


def test_what_cannot_work_is_told_before_any_job(checkout, server, tmp_path):
    for captioner, told in (
        (service(server, prompt="paper-c"), "no prompt `paper-c`; did you mean `paper-"),
        (service(server, prompt="What {name} is this?"), "`{name}` is not known in a prompt"),
        (service(server, base_url="https://me:secret@host/v1"), "no user name, key or query"),
        (service(server, base_url="http://h/v1?key=secret"), "no user name, key or query"),
        (service(server, base_url="http://localhost:80800/v1"), "is no address, such as"),
        (service(server, arguments={"top_p": float("nan")}), "numbers must be finite"),
        (service(server, arguments={"stream": True}), "`stream` is set by other keys"),
        (service(server, key="sk-1"), "captioner.key: unknown key"),
        ({"kind": "transformers", "prompt": "paper-b", "model": "llava"}, "known: llava-next"),
        ({"kind": "transformers", "model": "o/m"}, "captioner.prompt: missing"),
        ({"kind": "servce"}, "captioner.kind: no `servce`; did you mean `service`"),
        ({"kind": "attributes", "composites": True}, "captioner.composites: there are none"),
    ):
        write(checkout, captioner, composites=[])
        result = run(checkout, "captions", "--dry-run")
        assert result.returncode == 1
        assert told in result.stdout
        assert "Traceback" not in result.stdout
        assert "secret" not in result.stdout.replace("captioner.base_url", "")
