"""The generation loop, with models whose every answer is known."""

import numpy as np
import pytest

from synthgap.data.images import decode
from synthgap.errors import UserError
from synthgap.generators.generation import (
    Batch,
    OutOfMemoryError,
    Tally,
    attempt_seed,
    generate_resumably,
    members,
)


class Model:
    """Paints an image in its seed's shade; some seeds fail, and large batches do not fit."""

    made_with = {"device": "none"}  # noqa: RUF012

    def __init__(self, failing=(), most=1000, auto=4, die_after=None):
        self.failing, self.most, self.auto, self.die_after = set(failing), most, auto, die_after
        self.calls = []

    def generate(self, prompts, seeds):
        if self.die_after is not None and len(self.calls) == self.die_after:
            raise KeyboardInterrupt
        if len(prompts) > self.most:
            raise OutOfMemoryError
        self.calls.append(list(seeds))
        shades = np.asarray([seed % 200 + 20 for seed in seeds], np.uint8)
        pixels = np.broadcast_to(shades[:, None, None, None], (len(seeds), 8, 8, 3))
        failures = ["diverged" if seed in self.failing else None for seed in seeds]
        truncated = [{"tokenizer": 5} if prompt == "long" else {} for prompt in prompts]
        return Batch(pixels, failures, truncated)

    def largest_batch(self, prompts):
        return self.auto


def rows(n, **more):
    return [{"key": f"{i:04d}", "prompt": "short", "seed": i} | more for i in range(n)]


def make(folder, model, n=7, **options):
    """Run the loop to its end and return what was made and the tally."""
    tally = Tally()
    settings = {"batch_size": 3, "size": 8, "image_format": "png"} | options
    wanted = settings.pop("rows", None) or rows(n)
    made = generate_resumably(wanted, lambda: model, folder=folder, tally=tally, **settings)
    return list(made), tally


def shades(made):
    return [None if one.image is None else decode(one.image)[0, 0, 0] - 20 for one in made]


def test_images_come_in_order_and_say_how_they_were_made(tmp_path):
    made, tally = make(tmp_path, model := Model())
    assert shades(made) == list(range(7))
    assert model.calls == [[0, 1, 2], [3, 4, 5], [6]]
    assert [one.details for one in made[2:4]] == [
        {"batch": 0, "batch_size": 3, "attempt": 0},
        {"batch": 3, "batch_size": 3, "attempt": 0},
    ]
    assert (tally.failed, tally.retried, tally.batch_size) == (0, 0, 3)
    assert tally.made_with == [{"device": "none"}]


def test_finished_images_need_no_model(tmp_path):
    first, _ = make(tmp_path, Model())

    def load():
        raise AssertionError("loaded a model")

    again = generate_resumably(
        rows(7), load, batch_size=3, size=8, image_format="png", folder=tmp_path, tally=Tally()
    )
    assert list(again) == first


@pytest.mark.parametrize("die_after", [0, 1, 2, 3])
@pytest.mark.parametrize("batch_size", [3, "auto"])
def test_resumed_is_the_same_as_undisturbed(tmp_path, die_after, batch_size):
    behaviour = {"failing": {4, attempt_seed(4, 1)}, "most": 5, "auto": 6}
    options = {"batch_size": batch_size, "attempts": 3, "n": 11}
    undisturbed, tally = make(tmp_path / "a", Model(**behaviour), **options)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "b", Model(**behaviour, die_after=die_after), **options)
    resumed, tally_resumed = make(tmp_path / "b", Model(**behaviour), **options)
    assert resumed == undisturbed
    for name in ("failed", "retried", "batch_size", "truncated"):
        assert getattr(tally_resumed, name) == getattr(tally, name)


def test_batch_that_does_not_fit_is_halved_for_good(tmp_path):
    made, tally = make(tmp_path, model := Model(most=3), n=16, batch_size=12)
    assert [len(call) for call in model.calls] == [3, 3, 3, 3, 3, 1]
    assert tally.batch_size == 3
    assert shades(made) == list(range(16))


def test_one_image_that_does_not_fit_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"not even one image fits .* `offload: model`"):
        make(tmp_path, Model(most=0))


def test_failed_image_is_tried_again_with_a_seed_of_its_own(tmp_path):
    model = Model(failing={1, 4, attempt_seed(4, 1), attempt_seed(4, 2)})
    made, tally = make(tmp_path, model, attempts=3, max_failed=1)
    assert model.calls[1] == [attempt_seed(1, 1)]
    assert made[1].details == {
        "batch": 0, "batch_size": 1, "attempt": 1, "attempt_seed": attempt_seed(1, 1),
        "refused": ["diverged"],
    }  # fmt: skip
    assert (made[4].status, made[4].image) == ("diverged", None)
    assert made[4].details["refused"] == ["diverged"] * 3
    assert (tally.failed, tally.retried) == (1, 2)


def test_too_many_failures_end_the_job_at_once(tmp_path):
    model = Model(failing=range(1, 100))
    with pytest.raises(UserError, match=r"2 images of this shard failed .* max_failed allows 1"):
        make(tmp_path, model, n=60, max_failed=1)
    assert len(model.calls) == 1
    # What was made is kept; the limit can be raised and the job goes on.
    _, tally = make(tmp_path, again := Model(failing=range(1, 100)), n=9, max_failed=9)
    assert again.calls[0] == [3, 4, 5]
    assert tally.failed == 8


def test_truncated_prompts_are_counted(tmp_path):
    wanted = rows(3) + rows(2, prompt="long")
    made, tally = make(tmp_path, Model(), rows=wanted)
    assert tally.truncated == {"tokenizer": 2}
    assert [one.details.get("truncated") for one in made] == [None] * 3 + [{"tokenizer": 5}] * 2


def test_images_are_stored_at_the_common_size(tmp_path):
    made, _ = make(tmp_path, Model(), size=4)
    assert np.array_equal(decode(made[5].image), np.full((4, 4, 3), 25))


def test_members_of_a_call_are_found_again(tmp_path):
    """What `regenerate_image` relies on: the same prompts and seeds in the same call."""
    model = Model(failing={1, 2, 4, attempt_seed(2, 1)})
    made, _ = make(tmp_path, model, attempts=3)
    known = [row | {"details": one.details} for row, one in zip(rows(7), made, strict=True)]
    for i, row in enumerate(known):
        together, place = members(known, row["key"])
        seeds = [attempt_seed(one["seed"], row["details"]["attempt"]) for one in together]
        assert seeds in model.calls, i
        assert together[place] == row


def test_writing_that_fails_ends_the_job(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr("synthgap.generators.generation._write", full)
    with pytest.raises(OSError, match="No space left"):
        make(tmp_path, Model())
