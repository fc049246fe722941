"""Rows of a plan: images for GenEval and DPG-Bench, and their judging."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from synthgap.planning.rows import Row

if TYPE_CHECKING:
    from synthgap.planning.plan import Plan

PROMPTS = {"geneval": 553, "dpg-bench": 1065}  # of the official files
JUDGES = {"geneval": "detect_objects", "dpg-bench": "answer_questions"}


def benchmark_rows(plan: Plan) -> Iterator[Row]:
    """Yield the images of each generator for all benchmarks, and the jobs that judge them."""
    config = plan.config
    benchmarks = config.compositional.benchmarks if config.compositional else {}
    shards, images = defaultdict[str, int](int), defaultdict[str, int](int)
    for name, benchmark in benchmarks.items():
        for generator in benchmark.generators or config.generators:
            shards[generator] += benchmark.shards
            images[generator] += PROMPTS[name] * benchmark.images
    few = any(benchmark.few for benchmark in benchmarks.values())
    for generator, count in shards.items():
        known = None if few else images[generator]
        yield plan.jobs("generate_benchmark_images", generator, count, known)
    for name, benchmark in benchmarks.items():
        for generator in benchmark.generators or config.generators:
            yield plan.jobs(JUDGES[name], generator, 1)
