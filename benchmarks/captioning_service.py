"""How full a service's captioner keeps its requests, and how much memory it takes.

python benchmarks/captioning_service.py --output benchmarks/results/captioning_service.json

A server with a fixed latency runs in a process of its own and counts the requests that are under
way. The peer is the obvious way: the official client in as many threads, every image read before.
Memory is that of `caption_images` on one shard of so many images, all of which are asked for.
"""

import argparse
import json
import os
import platform
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
LATENCY = 1.0
KEY, MODEL = "sk-secret-of-the-tests", "tiny-captioner"
SERVER = """
import json, sys
from fake_service import Handler, Service

class Counting(Handler):
    def do_GET(self):
        if self.path != "/counts":
            return super().do_GET()
        server = self.server
        self._send(200, {"busy": server.busy, "seconds": server.last - (server.first or 0),
                         "asked": len(server.asked), "most": server.most_in_flight})
        server.busy, server.first, server.most_in_flight = 0.0, None, 0
        server.asked.clear(); server.answered.clear(); server.bodies.clear()

class Server(Service):
    def __init__(self, *args):
        super().__init__(*args)
        self.RequestHandlerClass = Counting
        self.bodies = type("Nothing", (list,), {"append": lambda *_: None})()

Server(int(sys.argv[1]), float(sys.argv[2])).serve_forever()
"""
PEER = """
import base64, sys, concurrent.futures, openai
url, count, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
from captioning_service import image
client = openai.OpenAI(base_url=url, api_key="sk-secret-of-the-tests")
bodies = [base64.b64encode(image(i)).decode() for i in range(count)]

def ask(data):
    content = [{"type": "text", "text": "Describe this image"},
               {"type": "image_url", "image_url": {"url": "data:image/png;base64," + data}}]
    return client.chat.completions.create(
        model="tiny-captioner", messages=[{"role": "user", "content": content}], max_tokens=200)

with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    list(pool.map(ask, bodies))
"""


def image(number: int) -> bytes:
    """A distinct PNG of some 20 kB."""
    from synthgap.data.images import encode

    rng = np.random.default_rng(number)
    return encode(rng.integers(0, 256, (84, 84, 3), dtype=np.uint8), "png")


@contextmanager
def server(latency: float) -> Iterator[int]:
    """Run the server; yields its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    command = [sys.executable, "-c", SERVER, str(port), str(latency)]
    process = subprocess.Popen(command, env=environment)
    while True:
        try:
            counts(port)
            break
        except OSError:
            time.sleep(0.1)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def counts(port: int) -> dict[str, Any]:
    """What the server counted since the last time."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts") as answer:
        told: dict[str, Any] = json.load(answer)
    return told


def shard(folder: Path, images: int) -> Path:
    """Write a shard of so many images."""
    from synthgap.data.shards import Sample, ShardWriter

    tar = folder / "00000.tar"
    with ShardWriter(tar, "png") as writer:
        for number in range(images):
            writer.add_encoded(Sample(f"{number:07d}", 0, "dog"), image(number))
    return tar


def caption(tar: Path, folder: Path, port: int, concurrency: int) -> dict[str, Any]:
    """Run `caption_images` and return its peak memory and seconds."""
    from synthgap.config.captioners import ServiceCaptioner

    url = f"http://127.0.0.1:{port}/v1"
    config = ServiceCaptioner(
        kind="service", model=MODEL, base_url=url, prompt="paper-b", concurrency=concurrency
    )
    command = [
        sys.executable, str(ROOT / "workflow/scripts/caption_images.py"), "--tar", str(tar),
        "--captioner", json.dumps(config.options()), "--service", config.transport,
        "--cache", str(folder / "cache"), "--max-failed", "0", "--scratch", str(folder / "scratch"),
        "--captions", str(folder / "captions.parquet"), "--log", str(folder / "log"),
    ]  # fmt: skip
    return run(command, {"PYTHONPATH": str(ROOT / "src")})


def batches(tars: list[Path], folder: Path, port: int) -> dict[str, Any]:
    """Run `request_captions` and return its peak memory and seconds."""
    from synthgap.config.captioners import ServiceCaptioner

    config = ServiceCaptioner(
        kind="service", model=MODEL, base_url=f"http://127.0.0.1:{port}/v1", prompt="paper-b",
        batch={"poll_seconds": 0.5, "open": 2},
    )  # fmt: skip
    command = [
        sys.executable, str(ROOT / "workflow/scripts/request_captions.py"),
        "--tars", *map(str, tars), "--captioner", json.dumps(config.options()),
        "--service", config.transport, "--cache", str(folder / "batch-cache"),
        "--max-failed", "0", "--scratch", str(folder / "scratch"),
        "--facts", str(folder / "batches.json"), "--log", str(folder / "log"),
    ]  # fmt: skip
    return run(command, {"PYTHONPATH": str(ROOT / "src")})


def run(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run a command; return seconds, CPU seconds and peak memory in MiB."""
    started = time.monotonic()
    with ThreadPoolExecutor(1) as pool:

        def wait() -> tuple[int, resource.struct_rusage]:
            told = os.environ | {"OPENAI_API_KEY": KEY, "OMP_NUM_THREADS": "1"} | environment
            process = subprocess.Popen(command, env=told)
            _, status, usage = os.wait4(process.pid, 0)
            return os.waitstatus_to_exitcode(status), usage

        code, usage = pool.submit(wait).result()
    if code:
        raise SystemExit(f"{command[1]} failed")
    return {
        "seconds": round(time.monotonic() - started, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(usage.ru_maxrss / 1024, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, help="JSON to write")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "benchmarks"))
    full, memory = [], []
    with tempfile.TemporaryDirectory() as name:
        with server(LATENCY) as port:
            for concurrency in options.concurrency:
                images, row = 20 * concurrency, {"concurrency": concurrency}
                folder = Path(name, f"c{concurrency}")
                tar = shard(folder, images)
                for who in ("synthgap", "peer"):
                    if who == "synthgap":
                        used = caption(tar, folder, port, concurrency)
                    else:
                        url = f"http://127.0.0.1:{port}/v1"
                        told = [sys.executable, "-c", PEER, url, str(images), str(concurrency)]
                        paths = [str(ROOT / "src"), str(ROOT / "benchmarks")]
                        used = run(told, {"PYTHONPATH": os.pathsep.join(paths)})
                    seen = counts(port)
                    share = seen["busy"] / seen["seconds"] / concurrency
                    row[who] = used | {"in_flight": round(share, 4), "requests": seen["asked"]}
                    print(f"{concurrency:4} {who:9} {100 * share:5.1f} % in flight, {used}")
                full.append(row)
        with server(0.0) as port:
            for images in options.images:
                folder = Path(name, f"m{images}")
                tar = shard(folder, images)
                used = caption(tar, folder, port, 64)
                seen = counts(port)
                memory.append(used | {"images": images, "requests": seen["asked"]})
                print(f"{images:7} images: {used}")
                again = caption(tar, folder, port, 64)
                memory.append(again | {"images": images, "requests": counts(port)["asked"]})
                print(f"{images:7} images, all in the cache: {again}")
                whole = batches([tar], folder, port)
                memory.append(whole | {"images": images, "batches": True})
                print(f"{images:7} images in batches: {whole}")
    if options.output:
        facts = {"latency": LATENCY, "cpus": os.cpu_count(), "python": platform.python_version()}
        facts |= {"in_flight": full, "memory": memory}
        options.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
