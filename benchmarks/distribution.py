"""Compare density, coverage, precision and recall, and FID's trace, with what the field uses.

The peer is the reference package `prdc`, the floor the two float32 matrix products that the task
needs (real with generated, and half of each set with itself). Everything is computed from the same
features, in turns; each size in a process of its own, whose largest memory is told. Features of
images lie near a surface of few dimensions, in crowds; so do these: 200 crowds of 24 dimensions in
768, with noise in all of them.

    python benchmarks/distribution.py --output benchmarks/results/distribution.json
    python benchmarks/distribution.py --images 100000 --device cuda --output gpu.json
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src")]

WIDTH, CROWDS, DIMENSIONS = 768, 200, 24
# The peer needs memory for five square matrices; larger sizes are extrapolated from this one.
LARGEST_OF_PEER = 10_000
TARGETS = {
    "peer / ours at 10 000": 4.0,
    "peer / ours at 50 000": 8.0,
    "ours / floor at 50 000": 1.5,
    "largest memory, MB": 1500,
    "scipy's sqrtm / ours, trace": 5.0,
}


def write_features(path: Path, n: int, seed: int, shift: float) -> None:
    """Write (n, WIDTH) float32 features as .npy, a block at a time."""
    shared = np.random.default_rng(7)
    mix = shared.normal(size=(DIMENSIONS, WIDTH)) * np.linspace(2, 0.3, DIMENSIONS)[:, None]
    centres = 1.5 * shared.normal(size=(CROWDS, DIMENSIONS))
    rng = np.random.default_rng(seed)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, WIDTH))
    for start in range(0, n, 10_000):
        rows = min(10_000, n - start)
        points = rng.normal(size=(rows, DIMENSIONS)) + centres[rng.integers(CROWDS, size=rows)]
        noise = 0.3 * rng.normal(size=(rows, WIDTH))
        out[start : start + rows] = (points + shift) @ mix + noise
    out.flush()


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Return what `work` returns, and its seconds: of the CPU, all threads, and of the wall."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return result, {name: round(value, 3) for name, value in seconds.items()}


def peak_mb() -> float:
    """Largest memory of this process so far, in 10^6 bytes."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


def ours(folder: Path, threads: int, device: str) -> dict[str, Any]:
    """Time our four metrics, with real radii computed and given, on mapped features."""
    import torch

    from synthgap.metrics.neighbours import prdc, squared_radii

    torch.set_num_threads(threads)
    real, fake = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("real", "fake"))
    if device != "cpu":
        prdc(real[:4096], fake[:4096], device=device)  # loads the device's libraries
    before = peak_mb()
    radii, radii_seconds = timed(lambda: squared_radii(real, device=device))
    result, seconds = timed(lambda: prdc(real, fake, device=device))
    _, again = timed(lambda: prdc(real, fake, real_radii=radii, device=device))
    numbers = {m: getattr(result, m) for m in ("precision", "recall", "density", "coverage")}
    return {
        "seconds": seconds,
        "seconds of the real radii": radii_seconds,
        "seconds with real radii given": again,
        "peak_mb": peak_mb(),
        "peak_mb before": before,
        "numbers": numbers,
    }


def floor(folder: Path, threads: int, device: str) -> dict[str, Any]:
    """Time the matrix products alone, in the same tiles."""
    import torch

    torch.set_num_threads(threads)
    real, fake = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("real", "fake"))
    block = 2048 if device == "cpu" else 16384
    first, second = (torch.from_numpy(np.array(rows)).to(device) for rows in (real, fake))

    def products() -> None:
        for a, b, half in ((first, first, True), (second, second, True), (first, second, False)):
            for at in range(0, len(a), block):
                for to in range(at if half else 0, len(b), block):
                    a[at : at + block] @ b[to : to + block].T
        if device != "cpu":
            torch.cuda.synchronize()

    if device != "cpu":
        products()
    _, seconds = timed(products)
    return {"seconds": seconds}


def peer(folder: Path, threads: int, device: str) -> dict[str, Any]:
    """Time the reference package."""
    from prdc import compute_prdc

    real, fake = (np.load(folder / f"{name}.npy") for name in ("real", "fake"))
    found, seconds = timed(lambda: compute_prdc(real, fake, nearest_k=5))
    numbers = {name: float(value) for name, value in found.items()}
    return {"seconds": seconds, "peak_mb": peak_mb(), "numbers": numbers}


def trace(folder: Path, threads: int, device: str) -> dict[str, Any]:
    """Time the Fréchet distance of 2048 features, from covariances on."""
    import scipy.linalg

    from synthgap.devices import limit_threads
    from synthgap.metrics.frechet import Normal

    limit_threads(threads)
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(5000, 2048)) * np.geomspace(2, low, 2048) for low in (0.01, 0.02))
    first, second = (np.cov(rows, rowvar=False) for rows in (a, b))
    means = a.mean(axis=0), b.mean(axis=0)

    def scipys() -> float:
        root = scipy.linalg.sqrtm(first @ second)
        offset = np.square(means[0] - means[1]).sum()
        return float(offset + np.trace(first) + np.trace(second) - 2 * np.trace(root.real))

    found = []
    for _ in range(3):
        value, ours = timed(lambda: Normal(means[0], first).distance(means[1], second))
        expected, theirs = timed(scipys)
        found.append((theirs["wall"] / ours["wall"], ours, theirs, abs(value / expected - 1)))
    ratio, ours, theirs, difference = sorted(found)[1]
    return {
        "ours, seconds": ours,
        "scipy's sqrtm, seconds": theirs,
        "ratio": round(ratio, 2),
        "relative difference": difference,
    }


def alone(work: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """Run `work` in a fresh process, so that its memory is its own; it may start processes too."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sending, work, *args))
    process.start()
    found: dict[str, Any] = receiving.recv()
    process.join()
    return found


def _send(pipe: Any, work: Callable[..., dict[str, Any]], *args: Any) -> None:
    pipe.send(work(*args))


def compare(n: int, args: argparse.Namespace) -> dict[str, Any]:
    """Return all that is measured of n real and n generated images."""
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        write_features(folder / "real.npy", n, 1, 0.0)
        write_features(folder / "fake.npy", n, 2, 0.1)
        given = folder, args.threads, args.device
        found: dict[str, Any] = {"ours": alone(ours, *given), "floor": alone(floor, *given)}
        if n <= LARGEST_OF_PEER:
            found["peer"] = alone(peer, *given)
            same = found["ours"]["numbers"], found["peer"]["numbers"]
            found["equal"] = all(abs(same[0][k] - same[1][k]) < 1e-12 for k in same[0])
    found["ours / floor"] = round(
        found["ours"]["seconds"]["wall"] / found["floor"]["seconds"]["wall"], 2
    )
    print(n, json.dumps(found, indent=1))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 50_000, 100_000])
    parser.add_argument("--device", default="cpu", help="torch's; the peer is on the CPU always")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", help="for features, 0.6 GB at 100 000; default: temporary")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()

    sizes = {n: compare(n, args) for n in args.images}
    peers = {n: found["peer"] for n, found in sizes.items() if "peer" in found}
    for n, found in sizes.items():
        if not peers:
            continue
        nearest = max(peers)
        scale = (n / nearest) ** 2
        seconds = peers[nearest]["seconds"]["wall"] * scale
        found["peer / ours"] = round(seconds / found["ours"]["seconds"]["wall"], 2)
        found["peer is"] = "measured" if n in peers else f"extrapolated from {nearest}"
    result = {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "scipy", "torch", "prdc")},
        "threads": args.threads,
        "device": args.device,
        "targets": TARGETS,
        "sizes": {str(n): found for n, found in sizes.items()},
        "trace": alone(trace, Path(), args.threads, args.device),
    }
    args.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
