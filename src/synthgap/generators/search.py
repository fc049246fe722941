"""Test-time scaling by random search: of several images of a prompt, the one that scores best.

Ma et al. 2025 (arXiv 2501.09732, "Inference-time scaling for diffusion models beyond scaling
denoising steps"), section 3: noises are drawn independently, and a verifier chooses. Paper B does
so with HPSv2 (table 7).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthgap.errors import UserError
from synthgap.generators.generation import Batch, Model
from synthgap.scorers import Scorer, make_scorer
from synthgap.scorers.scoring import Fitting
from synthgap.seeds import derive_seed


def candidate_seed(seed: int, candidate: int) -> int:
    """Return the seed of an image's nth candidate: its own at first, then one derived from it."""
    return derive_seed(seed, "candidate", candidate) if candidate else seed


def random_search(
    model: Model, options: Mapping[str, Any], models: Sequence[Path], device: str
) -> "RandomSearch":
    """Return a search with its scorer loaded.

    Args:
        options: `candidates`, `scorer` (its options) and `roles` (of `models`).
        models: folders and files of the scorer.
    """
    found = dict(zip(options["roles"], models, strict=True))
    scorer = make_scorer(options["scorer"], models=found, device=device)
    return RandomSearch(model, scorer, options["candidates"])


class RandomSearch:
    """A model that makes several candidates of each image and keeps the best.

    Args:
        model: that makes them, a batch of first ones, of second ones...
        scorer: higher is better.
        candidates: of each image, two at least.
    """

    def __init__(self, model: Model, scorer: Scorer, candidates: int) -> None:
        if candidates < 2:
            raise UserError(f"a search takes two candidates at least, not {candidates}")
        self.model, self.candidates = model, candidates
        self.scorer, self.fitting = scorer, Fitting(scorer)
        self.made_with = model.made_with

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Batch:
        """Return the best candidate of each prompt; one that failed is no candidate.

        `details` of an image hold its `candidate`, and `candidate_scores`: None of those that
        failed.

        Raises:
            OutOfMemoryError: the model has no room for so many at once.
            UserError: a score is not finite, or not even one image fits beside the scorer.
        """
        batches, scores = [], np.full((self.candidates, len(prompts)), -np.inf)
        for candidate in range(self.candidates):
            made = self.model.generate(prompts, [candidate_seed(s, candidate) for s in seeds])
            batches.append(made)
            usable = [i for i, failure in enumerate(made.failures) if failure is None]
            if usable:
                images, asked = [made.pixels[i] for i in usable], [prompts[i] for i in usable]
                found = self.fitting.score(images, asked)
                if not np.isfinite(found).all():
                    raise UserError(f"{self.scorer.metric} is not finite; try another dtype")
                scores[candidate, usable] = found
        best = scores.argmax(axis=0)  # of equal scores the first
        pixels = np.stack([batches[c].pixels[i] for i, c in enumerate(best)])
        return Batch(
            pixels,
            [batches[c].failures[i] for i, c in enumerate(best)],
            [batches[c].truncated[i] for i, c in enumerate(best)],
            [
                {
                    "candidate": int(c),
                    "candidate_scores": [
                        float(score) if np.isfinite(score) else None for score in scores[:, i]
                    ],
                }
                for i, c in enumerate(best)
            ],
        )

    def largest_batch(self, prompts: Sequence[str]) -> int:
        """Return how many of `prompts` fit in one call of the model."""
        return self.model.largest_batch(prompts)
