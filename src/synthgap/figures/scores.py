"""How well generators follow their prompts, score by score, as the metrics table has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from synthgap.figures.data import BySource, Source, by_source
from synthgap.metrics.table import Row

# Of a score's name, how it begins -> title. The order is that of the panels.
TITLES = {
    "clipscore": "CLIPScore",
    "jina_clip_score": "Jina CLIP score",
    "pickscore": "PickScore",
    "hpsv2_1": "HPSv2.1",
    "imagereward": "ImageReward",
    "laion_aesthetic": "LAION aesthetic score",
    "class_probability": "Probability of the class asked for",
    "geneval_overall": "GenEval",
}


@dataclass(frozen=True)
class Score:
    """A score of the sources; what is of a generator counts for each of its sources."""

    title: str
    of: str
    """which images it is the mean of, in words"""
    rows: BySource


def scores(rows: Sequence[Row], sources: Sequence[Source]) -> list[Score]:
    """The scores that at least one of the sources has; none where none was measured.

    As in paper A (section 4.2), a score of images and prompts is of the images that a generator
    made from captions, where all generators have it there: a class name tells little of how well
    a generator follows prompts. Otherwise each source has that of its own images. GenEval is of
    the benchmark's own prompts.

    Raises:
        UserError: two numbers of a score for one source or generator.
    """
    of_images: dict[tuple[str, str], list[Row]] = {}
    of_generators: dict[str, list[Row]] = {}
    for row in rows:
        if row.seed is not None:
            continue
        if row.study == "alignment" and "class" not in row.settings:
            scorer = json.dumps(row.settings.get("scorer"), sort_keys=True)
            of_images.setdefault((row.metric, scorer), []).append(row)
        elif row.study == "text-to-image" and row.metric.startswith("geneval_overall"):
            of_generators.setdefault(row.metric, []).append(row)
    found = [
        _of_images(metric, chosen, sources)
        for (metric, _), chosen in sorted(of_images.items(), key=lambda one: _order(one[0]))
    ]
    found += [_of_generators(metric, of_generators[metric], sources) for metric in of_generators]
    return [score for score in found if score.rows]


def _of_images(metric: str, rows: list[Row], sources: Sequence[Source]) -> Score:
    own = by_source(rows, "test_source")
    captioned = {
        s.generator: own[s.name] for s in sources if s.prompts == "caption" and s.name in own
    }
    if all(s.generator in captioned for s in sources):
        chosen = {s.name: captioned[s.generator] for s in sources}
        return Score(_title(metric), "of images from captions", chosen)
    return Score(
        _title(metric), "of its own images", {s.name: own[s.name] for s in sources if s.name in own}
    )


def _of_generators(metric: str, rows: list[Row], sources: Sequence[Source]) -> Score:
    known = by_source(rows, "test_source").values()
    # A benchmark's source is named after generator and benchmark, of which one is measured.
    own = {str(row.settings["generator"]): row for row in known}
    chosen = {s.name: own[s.generator] for s in sources if s.generator in own}
    return Score(_title(metric), "of the benchmark's prompts", chosen)


def _order(key: tuple[str, str]) -> tuple[int, str, str]:
    known = [i for i, name in enumerate(TITLES) if key[0].startswith(name)]
    return (known[0] if known else len(TITLES), *key)


def _title(metric: str) -> str:
    """`clipscore_hessel_vit_b32` -> "CLIPScore (hessel vit b32)"."""
    for name, title in TITLES.items():
        if metric.startswith(name):
            variant = metric.removeprefix(name).strip("_").replace("_", " ")
            return f"{title} ({variant})" if variant else title
    return metric.replace("_", " ")
