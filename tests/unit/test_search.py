"""Test-time scaling: the best of several candidates is kept, and can be made again."""

import json

import numpy as np
import pytest

from synthgap.data.images import decode
from synthgap.errors import UserError
from synthgap.generators.generation import Batch, Tally, generate_resumably
from synthgap.generators.search import RandomSearch, candidate_seed


class Painter:
    """Paints an image in its seed's shade; some seeds fail."""

    made_with = {"device": "none"}  # noqa: RUF012

    def __init__(self, failing=()):
        self.failing, self.calls = set(failing), 0

    def generate(self, prompts, seeds):
        self.calls += 1
        shades = np.asarray([seed % 200 + 20 for seed in seeds], np.uint8)
        pixels = np.broadcast_to(shades[:, None, None, None], (len(seeds), 8, 8, 3))
        failures = ["diverged" if seed in self.failing else None for seed in seeds]
        return Batch(pixels, failures, [{} for _ in prompts])

    def largest_batch(self, prompts):
        return 4


class Brightness:
    """Likes bright images, or dark ones where the prompt asks for them."""

    metric, name, needs_prompt, cut = "brightness", "brightness", True, 0

    def score(self, images, prompts):
        sign = [-1 if prompt == "dark" else 1 for prompt in prompts]
        means = [image.mean() for image in images]
        return np.asarray(means, np.float32) * np.asarray(sign, np.float32)


def shade(seed):
    return seed % 200 + 20


def test_the_best_candidate_of_each_prompt_is_kept():
    search = RandomSearch(Painter(), Brightness(), 5)
    found = search.generate(["bright", "dark"], [7, 8])
    for i, (seed, best) in enumerate([(7, max), (8, min)]):
        shades = [shade(candidate_seed(seed, c)) for c in range(5)]
        assert found.pixels[i, 0, 0, 0] == best(shades)
        told = found.details[i]
        assert shades[told["candidate"]] == best(shades)
        assert [abs(score) for score in told["candidate_scores"]] == shades


def test_the_first_candidate_is_what_there_would_be_without_a_search():
    assert candidate_seed(123, 0) == 123
    assert len({candidate_seed(123, c) for c in range(100)}) == 100


def test_failed_candidates_are_not_kept_unless_all_failed():
    seeds = [candidate_seed(7, c) for c in range(3)]
    order = sorted(range(3), key=lambda c: shade(seeds[c]))
    search = RandomSearch(Painter({seeds[order[2]]}), Brightness(), 3)
    found = search.generate(["bright"], [7])
    assert found.failures == [None]
    assert found.details[0]["candidate"] == order[1]
    assert found.details[0]["candidate_scores"][order[2]] is None
    nothing = RandomSearch(Painter(seeds), Brightness(), 3).generate(["bright"], [7])
    assert nothing.failures == ["diverged"]


def test_shards_record_what_each_candidate_scored(tmp_path):
    rows = [{"key": f"{i:04d}", "prompt": "bright", "seed": i} for i in range(5)]
    model = Painter()
    made = list(
        generate_resumably(
            rows, lambda: RandomSearch(model, Brightness(), 3), batch_size=2, size=8,
            image_format="png", folder=tmp_path, tally=Tally(),
        )
    )  # fmt: skip
    assert model.calls == 9
    for row, one in zip(rows, made, strict=True):
        seed = candidate_seed(row["seed"], one.details["candidate"])
        assert decode(one.image)[0, 0, 0] == shade(seed)
        assert json.dumps(one.details["candidate_scores"])


def test_one_candidate_is_no_search():
    with pytest.raises(UserError, match="two candidates"):
        RandomSearch(Painter(), Brightness(), 1)


def test_a_score_that_is_no_number_is_refused():
    class Broken(Brightness):
        def score(self, images, prompts):
            return np.full(len(images), np.nan, np.float32)

    with pytest.raises(UserError, match="not finite"):
        RandomSearch(Painter(), Broken(), 2).generate(["bright"], [1])
