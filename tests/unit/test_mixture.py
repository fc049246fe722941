"""What each place of a batch gets: paper B's Algorithm 1 and its crops."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_latents import SIDE, made_up

from synthgap.diffusion.encoded import Latents, Texts, write_latents, write_texts
from synthgap.diffusion.mixture import Composites, Crops, Mixture, Source
from synthgap.diffusion.objectives import OBJECTIVES, Epsilon
from synthgap.errors import UserError


def mixture(folder: Path, **options: object) -> Mixture:
    settings = {"size": 16, "drop_text": 0.1, "seed": 0, "grid": (4, 4)} | options
    (folder / "images").mkdir(exist_ok=True)
    return Mixture(made_up(folder / "images", kinds=2), Epsilon(), **settings)


def composites(folder: Path, probability: float = 0.5, above: float = 400) -> Composites:
    (folder / "composites").mkdir(exist_ok=True)
    return Composites(made_up(folder / "composites", (6, 2), seed=1), probability, above)


def near(count: int, of: int, share: float) -> bool:
    """Whether a binomial count is within four standard deviations."""
    return abs(count - of * share) < 4 * math.sqrt(of * share * (1 - share))


@pytest.mark.parametrize("objective", ["epsilon", "flow"])
@pytest.mark.parametrize("probability", [0.25, 1.0])
def test_composites_come_above_tau_alone(tmp_path, objective, probability):
    drawn = mixture(tmp_path, size=500, composites=composites(tmp_path, probability))
    drawn.objective = OBJECTIVES[objective]()
    places = [place for step in range(20) for place in drawn.places(step)]
    above = [place for place in places if place.timestep > 400]
    assert not any(place.composite for place in places if place.timestep <= 400)
    count = sum(place.composite for place in above)
    assert count == len(above) if probability == 1 else near(count, len(above), probability)
    # How likely a timestep is does not change with what is learnt there.
    if objective == "epsilon":
        assert near(len(above), len(places), 599 / 1000)
        # By tenths of the timesteps: the same share everywhere above.
        for low in range(401, 1000, 100):
            here = [p for p in above if low <= p.timestep < low + 100]
            assert near(sum(p.composite for p in here), len(here), min(probability, 0.999))
    rows = Counter(place.row for place in above if place.composite)
    usable = {0, 1, 2, 4, 5, 6, 7}  # the fourth has no caption
    assert set(rows) == usable
    assert all(near(n, rows.total(), 1 / len(usable)) for n in rows.values())


def test_without_composites_every_epoch_has_every_image_once(tmp_path):
    drawn = mixture(tmp_path, size=3)
    rows = [place.row for step in range(16) for place in drawn.places(step)]
    epochs = np.reshape(rows, (6, 8))
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    # Any step can be asked for first.
    assert mixture(tmp_path, size=3).places(15) == drawn.places(15)


def test_kinds_of_text_and_empty_ones_by_their_shares(tmp_path):
    drawn = mixture(tmp_path, size=400, drop_text=0.1)
    places = [place for step in range(10) for place in drawn.places(step)]
    assert near(sum(place.empty for place in places), len(places), 0.1)
    # Row 3 has no text of kind 0.
    assert {place.kind for place in places if place.row == 3} == {1}
    others = [place for place in places if place.row != 3]
    assert near(sum(place.kind for place in others), len(others), 0.5)


def test_crops_by_their_share_and_no_smaller_than_asked(tmp_path):
    drawn = mixture(tmp_path, size=500, grid=(8, 6), crops=Crops(0.5, 0.5))
    places = [place for step in range(8) for place in drawn.places(step)]
    crops = [place.crop for place in places if place.crop]
    assert near(len(crops), len(places), 0.5)
    for top, left, height, width in crops:
        assert 4 <= height <= 8 - top
        assert 3 <= width <= 6 - left
    heights = Counter(crop[2] for crop in crops)
    assert all(near(heights[h], len(crops), 1 / 5) for h in range(4, 9))
    tops = Counter(crop[0] for crop in crops if crop[2] == 4)
    assert all(near(tops[t], tops.total(), 1 / 5) for t in range(5))
    batch = drawn.batch(places[:6])
    for place, row in zip(places, batch.crop, strict=False):
        top, left, height, width = place.crop or (0, 0, 8, 6)
        assert row.tolist() == pytest.approx([top / 8, left / 6, height / 8, width / 6])


def test_a_batch_holds_what_its_places_name(tmp_path):
    drawn = mixture(tmp_path, composites=composites(tmp_path), drop_text=0.3, resample=False)
    places = drawn.places(0)
    batch = drawn.batch(places)
    assert batch.crop is None
    assert batch.clean.shape == (16, 4, SIDE, SIDE)
    assert any(place.composite for place in places)
    assert any(place.empty for place in places)
    for i, place in enumerate(places):
        source = drawn.composites.source if place.composite else drawn.images
        assert torch.equal(batch.clean[i], source.latents.read(place.row, None))
        texts = source.texts[place.kind]
        text = texts.empty if place.empty else texts.read(place.row)
        assert torch.equal(batch.text[i, batch.mask[i]], text)
        assert not batch.text[i, ~batch.mask[i]].any()
        assert batch.timesteps[i] == place.timestep
    # A part of the batch is the same alone, as a process of several reads it.
    part = drawn.batch(places[5:8])
    assert torch.equal(part.noise, batch.noise[5:8])
    assert torch.equal(part.clean, batch.clean[5:8])


def test_latents_are_drawn_from_their_distribution(tmp_path):
    drawn = mixture(tmp_path)
    places = drawn.places(0)
    clean = drawn.batch(places).clean
    mean = torch.stack([drawn.images.latents.read(place.row, None) for place in places])
    spread = (clean - mean) / 1e-3
    assert abs(spread.mean()) < 0.1
    assert abs(spread.std() - 1) < 0.1
    assert abs((spread * drawn.batch(places).noise).mean()) < 0.1  # it is other noise


def test_rows_of_other_images_are_refused(tmp_path):
    latents, texts = tmp_path / "latents.safetensors", tmp_path / "texts.safetensors"
    shape = (2, 4, 8, 8)
    write_latents(latents, ["a", "b"], torch.zeros(shape), torch.zeros(shape))
    words = [torch.zeros(2, 16)]
    write_texts(texts, ["a", "c"], np.array([0, 0]), words, [2], torch.zeros(1, 16))
    source = Source(Latents([latents]), [Texts([texts])])
    with pytest.raises(UserError, match=r"texts\.safetensors is not of the images of .*latents"):
        Mixture(source, Epsilon(), size=2, drop_text=0, seed=0, grid=(4, 4))
    write_texts(texts, ["a", "b"], np.array([-1, -1]), [], [], torch.zeros(1, 16))
    source = Source(Latents([latents]), [Texts([texts])])
    with pytest.raises(UserError, match="no image has a text"):
        Mixture(source, Epsilon(), size=2, drop_text=0, seed=0, grid=(4, 4))
    with pytest.raises(UserError, match="made by another rule"):
        Latents([texts])
    latents.write_bytes(latents.read_bytes()[:100])
    with pytest.raises(UserError, match="is damaged"):
        Latents([latents])
