"""Keys in the environment: found nowhere after runs with failures, and in no command line.

A trial captions by a service that refuses, breaks off and quotes the key back, or asks a hub for a
model with a token; then all that the run left and said is searched for the key. One in twenty runs
the whole study so, which fails first and then goes on to its report.
"""

import base64
import json
import os
import random
import re
import sys
import threading
import urllib.parse
from pathlib import Path
from typing import Any

from campaign import rows, study
from campaign.forked import ROOT, Ended, run_command
from campaign.rows import REFUSED, RIGHT, Row

PART = "secrets"
WHOLE_EVERY = 20


class Watch:
    """Look at the command lines of all processes until told to stop."""

    def __init__(self, secrets: list[bytes]) -> None:
        self.secrets, self.found, self._end = secrets, "", threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._end.wait(0.02):
            for entry in Path("/proc").iterdir():
                if not entry.name.isdecimal() or entry.name == str(os.getpid()):
                    continue
                try:
                    told = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if any(secret in told for secret in self.secrets):
                    self.found = told[:200].decode(errors="replace")

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def written_as(key: str) -> list[bytes]:
    """Return the key as it may stand in a file: as it is, encoded, and in part."""
    plain = key.encode()
    return [plain, base64.b64encode(plain)[:-4], urllib.parse.quote(key).encode(), plain[-20:]]


def found_in(folder: Path, secrets: list[bytes]) -> str:
    """Return the first file below a folder with one of the secrets in its bytes or name; or ""."""
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        if any(secret in content or secret in os.fsencode(path) for secret in secrets):
            return str(path.relative_to(folder))
    return ""


def prepare() -> None:
    """Make the study once without disturbance."""
    study.reference()


def trial(seed: int, number: int, folder: Path) -> Row:
    """Run one trial in an empty folder of its own; return its row."""
    sys.path[:0] = [str(ROOT / "tests")]
    rng = rows.chance(seed, PART, number)
    work = folder / "work"
    work.mkdir()
    kind = rng.choice(["service", "service", "hub"])
    if number % WHOLE_EVERY == 0:
        return _whole_study(rng, seed, number)
    with_key = _service if kind == "service" else _hub
    fault, key, ended, watch = with_key(rng, work)
    secrets = written_as(key)
    told = (ended.out + ended.error).encode()
    if watch.found:
        outcome = f"DEFECT in a command line: {watch.found}"
    elif any(secret in told for secret in secrets):
        outcome = f"DEFECT told: {re.sub(re.escape(key), '<key>', ended.error)[:200]}"
    elif where := found_in(folder, secrets):
        outcome = f"DEFECT in {where}"
    else:
        outcome = ended.fault() or (REFUSED if ended.status else RIGHT)
    told_by = "a service" if kind == "service" else "a hub"
    return rows.row(
        PART, seed, number, fault=f"a key, and failures of {told_by}", hit=fault, outcome=outcome
    )


trials = rows.in_folder(trial)


def _whole_study(rng: random.Random, seed: int, number: int) -> Row:
    """Caption the study's images by a service, with failures first, and make all that depends."""
    import fake_service

    key = f"sk-canary-{rng.randbytes(16).hex()}"
    secrets, accepted = written_as(key), fake_service.KEY
    quoted = fake_service.error("insufficient_quota", f"pay, {key}, Bearer {key}")
    with study.copy_of_study() as tree, fake_service.serving() as server, Watch(secrets) as watch:
        fake_service.KEY = key
        tree.further |= {"OPENAI_API_KEY": key, "SYNTHGAP_ON_CPU": "1"}
        file = tree.folder / "study.yaml"
        captioner = json.dumps(
            {"kind": "service", "model": fake_service.MODEL, "base_url": server.url,
             "prompt": "paper-a", "composites": True, "attempts": 3}
        )  # fmt: skip
        lines = file.read_text().splitlines()
        told = [f"captioner: {captioner}" if x.startswith("captioner:") else x for x in lines]
        file.write_text("\n".join(told))
        for fault in ("malformed", (500, quoted, {"x-key": key}), (429, quoted, {})):
            server.faults.put(fault)
        try:
            failed = tree.snakemake("--cores", "2", *study.TARGETS)
            done = tree.snakemake("--cores", "2", *study.TARGETS)
        finally:
            fake_service.KEY = accepted
        said = failed.stdout + done.stdout
        if watch.found:
            outcome = f"DEFECT in a command line: {watch.found}"
        elif any(secret in said.encode() for secret in secrets):
            outcome = "DEFECT told"
        elif where := found_in(tree.folder, secrets):
            outcome = f"DEFECT in {where}"
        elif not failed.returncode or done.returncode:
            outcome = f"DEFECT of the campaign itself: {done.stdout[-500:]}"
        else:
            outcome = RIGHT
    return rows.row(
        PART, seed, number, fault="a key, and failures of a whole study", hit="all", outcome=outcome
    )


def _service(rng: random.Random, work: Path) -> tuple[str, str, Ended, Watch]:
    import fake_service
    from campaign.services import captioned, shard

    key = f"sk-canary-{rng.randbytes(16).hex()}"
    tar = shard(work, rng, 20)
    quoted = fake_service.error("invalid_request", f"bad key {key}, Bearer {key}")
    kinds: dict[str, Any] = {
        "quoted in a refusal": (401, quoted, {}),
        "quoted in a fault": (500, quoted, {"x-key": key}),
        "quoted in a bad request": (400, quoted, {}),
        "quoted in a limit": (429, quoted | {"key": key}, {"retry-after-ms": "1"}),
        "quoted as no JSON": (200, f"<html>{key}</html>", {}),
        "no account": (429, fake_service.error("insufficient_quota", f"pay, {key}"), {}),
        "cut": "cut",
        "malformed": "malformed",
        "wrong key": None,
    }
    fault = rng.choice(list(kinds))
    accepted = fake_service.KEY
    with fake_service.serving() as server, Watch(written_as(key)) as watch:
        fake_service.KEY = "another" if fault == "wrong key" else key
        try:
            times = rng.choice([1, 3, 200])
            for _ in range(times):
                server.faults.put(kinds[fault])
            ended = captioned(work, tar, server.url, environment={"OPENAI_API_KEY": key},
                              settings={"attempts": 3})  # fmt: skip
        finally:
            fake_service.KEY = accepted
    return fault, key, ended, watch


def _hub(rng: random.Random, work: Path) -> tuple[str, str, Ended, Watch]:
    token = f"hf_canary{rng.randbytes(16).hex()}"
    fault = rng.choice(["no connection", "token in the address"])
    endpoint = "http://127.0.0.1:9"
    if fault == "token in the address":
        endpoint = f"http://user:{token}@127.0.0.1:9"
    environment = {"HF_TOKEN": token, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0",
                   "HF_HOME": str(work / "home")}  # fmt: skip
    with Watch(written_as(token)) as watch:
        ended = run_command(
            "check_access",
            ["--model", "a/b", "--layout", "pipeline", "--access", "results/access.json", "--log",
             "results/logs/access.log"],
            work, environment=environment,
        )  # fmt: skip
    return fault, token, ended, watch
