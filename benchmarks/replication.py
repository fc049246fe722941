"""Compare searches for the nearest training image with the packages that define the distances.

SSIM: our search, the same without skipping pairs, and scikit-image pair by pair. LPIPS: our search,
embedding included, and the package `lpips` pair by pair. All in one process and one thread, in
turns, on crops of scikit-learn's two photographs; the packages get some of the pairs, and their
values must be ours. LPIPS has random weights, which cost as much as trained ones.

    OMP_NUM_THREADS=1 python benchmarks/replication.py --output benchmarks/results/replication.json
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src")]

from synthgap.metrics.nearest import nearest  # noqa: E402
from synthgap.metrics.perceptual import Perceptual  # noqa: E402
from synthgap.metrics.replication import embed_all  # noqa: E402
from synthgap.metrics.similarity import nearest_by_ssim, ssim  # noqa: E402

TARGETS = {"ssim search / scikit-image": 10.0, "lpips search / lpips": 10.0}
GAUSSIAN = {
    "gaussian_weights": True,
    "sigma": 1.5,
    "use_sample_covariance": False,
    "channel_axis": -1,
    "data_range": 255,
}


def crops(count: int, side: int, seed: int) -> np.ndarray:
    """Return squares of all sizes cut out of two photographs, brought to one side."""
    import cv2
    from sklearn.datasets import load_sample_images

    photographs, rng = load_sample_images().images, np.random.default_rng(seed)
    found = np.empty((count, side, side, 3), np.uint8)
    for index in range(count):
        photograph = photographs[rng.integers(len(photographs))]
        size = int(rng.integers(side, 200))
        top, left = (rng.integers(length - size + 1) for length in photograph.shape[:2])
        square = photograph[top : top + size, left : left + size]
        found[index] = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)
    return found


def copies(training: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return training images with a little noise."""
    rng = np.random.default_rng(seed)
    chosen = training[rng.integers(0, len(training), count)].astype(np.int16)
    return np.clip(chosen + rng.integers(-8, 9, chosen.shape), 0, 255).astype(np.uint8)


def cpu_seconds(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def in_turns(ways: dict[str, tuple[Callable[[], Any], int]], repeats: int) -> dict[str, Any]:
    """Return pairs a CPU second of each way (work, pairs), and all runs."""
    runs: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(repeats):
        for way in list(ways)[:: -1 if turn % 2 else 1]:  # none always follows the other
            work, pairs = ways[way]
            runs[way].append(pairs / cpu_seconds(work))
    return {"pairs_per_cpu_s": {way: median(found) for way, found in runs.items()}, "raw": runs}


def ratio(result: dict[str, Any], way: str, other: str) -> float:
    """Return the median over turns of the ratio of speeds."""
    pairs = zip(result["raw"][way], result["raw"][other], strict=True)
    return float(median(a / b for a, b in pairs))


def bench_ssim(args: argparse.Namespace, side: int, kind: str) -> dict[str, Any]:
    from skimage.metrics import structural_similarity

    training = crops(args.training, side, 0)
    unrelated = kind == "unrelated"
    generated = crops(args.generated, side, 1) if unrelated else copies(training, args.generated, 1)
    some = [(i % len(generated), i * 7 % len(training)) for i in range(args.pairs)]

    def by_package() -> list[float]:
        return [structural_similarity(generated[i], training[j], **GAUSSIAN) for i, j in some]

    i, j = np.array(some).T
    if np.abs(ssim(generated[i], training[j]) - by_package()).max() > 1e-9:
        sys.exit("our SSIM is not scikit-image's")
    found = [nearest_by_ssim(generated, training, prune=prune) for prune in (True, False)]
    if any((a != b).any() for a, b in zip(*found, strict=True)):
        sys.exit("skipping pairs changes the result")
    every = len(generated) * len(training)
    result = in_turns(
        {
            "search": (lambda: nearest_by_ssim(generated, training), every),
            "all pairs": (lambda: nearest_by_ssim(generated, training, prune=False), every),
            "scikit-image": (by_package, len(some)),
        },
        args.repeats,
    )
    ratios = {way: ratio(result, way, "scikit-image") for way in ("search", "all pairs")}
    told = {"side": side, "images": kind, "mean_nearest_ssim": float(found[0][1].mean())}
    return told | {"ratios": ratios} | result


def bench_lpips(args: argparse.Namespace, side: int, folder: Path) -> dict[str, Any]:
    import lpips

    torch.manual_seed(0)
    with warnings.catch_warnings(action="ignore"):
        package = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    state = package.net.state_dict()
    torch.save({"features." + k.split(".", 1)[1]: v for k, v in state.items()}, folder / "alex.pth")
    ours = Perceptual("alex", folder / "alex.pth")
    training, generated = crops(args.training, side, 0), crops(args.generated, side, 1)
    some = [(i % len(generated), i * 7 % len(training)) for i in range(args.pairs)]

    def tensor(image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image)[None].permute(0, 3, 1, 2).float() / 127.5 - 1

    def by_package() -> list[float]:
        with torch.no_grad():
            return [float(package(tensor(generated[i]), tensor(training[j]))) for i, j in some]

    def search() -> tuple[np.ndarray, np.ndarray]:
        return nearest(embed_all(ours, generated), embed_all(ours, training))

    i, j = np.array(some).T
    between = np.square(embed_all(ours, generated[i]) - embed_all(ours, training[j])).sum(1)
    if not np.allclose(between, by_package(), rtol=1e-4, atol=1e-6):
        sys.exit("our LPIPS is not the package's")
    every = len(generated) * len(training)
    ways = {"search": (search, every), "lpips": (by_package, len(some))}
    result = in_turns(ways, args.repeats)
    told = {"side": side, "network": "alex", "ratios": {"search": ratio(result, "search", "lpips")}}
    return told | result


def table(result: dict[str, Any]) -> str:
    """Return the speeds for people."""
    lines = [f"{'':34} {'pairs a CPU s':>14} {'ratio':>8}"]
    for metric in ("ssim", "lpips"):
        for case in result[metric]:
            name = f"{metric}, {case['side']} px {case.get('images', '')}".strip()
            for way, speed in case["pairs_per_cpu_s"].items():
                times = case["ratios"].get(way)
                told = f"{times:8.1f}" if times else ""
                lines.append(f"{name + ', ' + way:34} {speed:14.0f} {told}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--training", type=int, default=1000, help="images")
    parser.add_argument("--generated", type=int, default=200, help="images")
    parser.add_argument("--pairs", type=int, default=200, help="that the packages get")
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 64], help="in pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="where to write the results as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        "ssim": [bench_ssim(args, s, kind) for s in args.sides for kind in ("unrelated", "copies")]
    }
    with tempfile.TemporaryDirectory() as folder:
        result["lpips"] = [bench_lpips(args, side, Path(folder)) for side in args.sides]
    print(table(result))
    if args.output:
        cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        machine = {"cpu": cpu and cpu[1], "cores": os.cpu_count()}
        names = ("numpy", "torch", "scikit-image", "lpips")
        versions = {name: version(name) for name in names} | {"python": sys.version.split()[0]}
        asked = {k: v for k, v in vars(args).items() if k != "output"} | {"threads": 1}
        facts = {"machine": machine, "versions": versions, "settings": asked, "targets": TARGETS}
        args.output.write_text(json.dumps(facts | result, indent=1) + "\n")


if __name__ == "__main__":
    main()
