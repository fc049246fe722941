"""Measure how generated images lie among real ones, in the features of one encoder.

Works on anybody's features: parquet files with a `key` and a fixed-length `features` column, as
extract_features writes them. The output's plain names (density, coverage, precision, recall...) are
those of its numbers; `measures` holds the same with variant, interval and number of items.

  python workflow/scripts/measure_distribution.py --real A.parquet --generated B.parquet \\
      --output metrics.json --k 5 --distance euclidean
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthgap.atomic import atomic_path
from synthgap.data.features import Features, count_rows, require_same_encoder
from synthgap.devices import limit_threads, take_device
from synthgap.job import command, count, input_path, json_object, log, output_path, run, seed
from synthgap.metrics.distribution import count_repeated, measure_distribution
from synthgap.metrics.measures import write_measures
from synthgap.metrics.neighbours import PRDC, prdc
from synthgap.metrics.reference import FAMILIES, Reference

ITEMS_SCHEMA = pa.schema(
    [("key", pa.string()), ("real", pa.bool_()), ("covered", pa.bool_()), ("balls", pa.int64())]
)


def options() -> argparse.ArgumentParser:
    parser = command(__doc__)
    parser.add_argument(
        "--real", type=input_path, nargs="+", required=True, help="features, parquet"
    )
    parser.add_argument("--generated", type=input_path, nargs="+", required=True, help="the same")
    parser.add_argument("--metrics", nargs="+", choices=FAMILIES, default=["prdc"])
    parser.add_argument("--samples", type=count, help="the first of each side; all if left out")
    parser.add_argument("--at-most", action="store_true", help="`--samples` if there are so many")
    parser.add_argument("--classes", type=seed, nargs="+", help="real images of these alone")
    parser.add_argument(
        "--of-both", action="store_true", help="`--classes` are of the generated images, too"
    )
    parser.add_argument("--k", type=count, default=5, help="neighbours that a ball reaches to")
    parser.add_argument("--distance", choices=["euclidean", "cosine"], default="euclidean")
    parser.add_argument("--threads", type=count, default=2, help="CPU threads")
    parser.add_argument("--gpus", type=int, choices=[0, 1], help="default: one where there is one")
    parser.add_argument("--reference", type=input_path, help="of measure_reference, saves time")
    parser.add_argument("--few", action="store_true", help="allow FID of fewer than 50 000 images")
    parser.add_argument("--seed", type=seed, default=0, help="of the intervals")
    parser.add_argument("--about", type=json_object, default={}, help="to be said of all numbers")
    parser.add_argument(
        "--items", type=output_path, help=".parquet: where each image lies among the other side's"
    )
    parser.add_argument("--output", type=output_path, required=True, help=".json")
    return parser


def main(args: argparse.Namespace) -> None:
    device = take_device(args.gpus)
    limit_threads(args.threads)
    started = time.monotonic()
    wanted, of = args.samples, args.classes if args.of_both else None
    if args.at_most and wanted is not None:
        wanted = min(wanted, count_rows(args.generated, of))
    with (
        Features(args.real, args.samples, classes=args.classes) as real,
        Features(args.generated, wanted, classes=of) as fake,
    ):
        require_same_encoder(real, fake)
        if repeated := count_repeated(real.values, fake.values):
            log.warning(
                "warning: %d of %d generated images have the features of a real one. Where images "
                "are on both sides, density and coverage mean nothing",
                repeated,
                len(fake.values),
            )
        if args.distance == "cosine" and (off := lengths_off_one(real.values, fake.values)):
            log.info("the cosine distance takes features at unit length; theirs are %s", off)
        given = {"k": args.k, "distance": args.distance}
        reference = None
        if args.reference:
            reference = Reference.load(args.reference, real.values, args.metrics, **given)
        neighbours = None
        if "prdc" in args.metrics:
            radii = reference.radii if reference else None
            neighbours = prdc(real.values, fake.values, **given, real_radii=radii, device=device)
        found = measure_distribution(
            real.values,
            fake.values,
            args.metrics,
            **given,
            reference=reference,
            neighbours=neighbours,
            real_classes=real.class_indices,
            fake_classes=fake.class_indices,
            real_names=real.class_names,
            fake_names=fake.class_names,
            encoder_family=(fake.identity or {}).get("family", ""),
            few=args.few,
            seed=args.seed,
            device=device,
        )
        if args.items:
            write_items(args.items, real.keys, fake.keys, neighbours)
        sizes = {"real_images": len(real.values), "generated_images": len(fake.values)}
        facts = {
            "repeated_images": repeated,
            "encoder": fake.identity,
            "device": device,
            "seconds": round(time.monotonic() - started, 2),
        }
    for m in found:
        if m.name:
            log.info("%s %.4f [%.4f, %.4f]", m.metric, m.value, m.low, m.high)
    found = [replace(m, settings={**m.settings, **sizes}) for m in found]
    write_measures(args.output, found, args.about, facts)


def write_items(path: Path, real: list[str], generated: list[str], neighbours: PRDC | None) -> None:
    """Write a row an image, in what order the features came; no rows without `prdc`.

    Of a generated image in how many real balls it lies, of a real one whether its own ball holds a
    generated image.
    """
    rows: list[dict[str, Any]] = []
    if neighbours is not None:
        covered, balls = neighbours.real_is_covered.tolist(), neighbours.fake_in_real.tolist()
        rows += [
            {"key": key, "real": True, "covered": one}
            for key, one in zip(real, covered, strict=True)
        ]
        rows += [
            {"key": key, "real": False, "balls": count}
            for key, count in zip(generated, balls, strict=True)
        ]
    with atomic_path(path) as part:
        pq.write_table(pa.Table.from_pylist(rows, ITEMS_SCHEMA), part)


def lengths_off_one(*sides: NDArray[Any]) -> str:
    """Return the range of the lengths of some features, or "" where all are 1."""
    lengths = np.concatenate([np.linalg.norm(side[:1000].astype(float), axis=1) for side in sides])
    if np.allclose(lengths, 1, atol=1e-3):
        return ""
    return f"{lengths.min():.3g} to {lengths.max():.3g}"


if __name__ == "__main__":
    run(options(), main)
