"""Augmentation that a model is told of."""

import numpy as np
import torch

from synthgap.diffusion.edm.augmentation import SHIFT, augment, draw, inverse, warp


def picture(side: int = 16) -> torch.Tensor:
    """A smooth blob off the centre, as an image (1, 3, side, side)."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
    blob = torch.exp(-((x - 0.3) ** 2 + (y + 0.2) ** 2) / 0.08)
    return blob.expand(1, 3, side, side)


def centre(image: torch.Tensor) -> tuple[float, float]:
    """Where an image's mass is, right and down, in pixels."""
    mass = image[0, 0].numpy()
    y, x = np.indices(mass.shape)
    return float((x * mass).sum() / mass.sum()), float((y * mass).sum() / mass.sum())


def told(**numbers: float) -> torch.Tensor:
    """Labels of one image, by their place: n0 to n8."""
    labels = torch.zeros(1, 9)
    for name, value in numbers.items():
        labels[0, int(name[1:])] = value
    return labels


def changed(**numbers: float) -> torch.Tensor:
    return warp(picture(), inverse(told(**numbers)))


def test_images_that_nothing_is_done_to_stay_as_they_are():
    images = torch.rand(40, 3, 8, 8)
    before, labels = images.clone(), draw(40, 0.1, torch.Generator().manual_seed(0))
    found = augment(images, labels)
    assert torch.equal(images, before)
    untouched = ~labels.any(1)
    assert 5 < untouched.sum() < 25
    assert torch.equal(found[untouched], images[untouched])
    mirrored = (labels[:, 0] > 0) & ~labels[:, 1:].any(1)
    assert mirrored.any()
    assert torch.equal(found[mirrored], images[mirrored].flip(3))


def test_moved_images_are_where_the_numbers_say():
    right, down = centre(picture())
    pixels = SHIFT * 16
    moved = centre(changed(n7=1.0, n8=-1.0))
    assert np.allclose(moved, (right + pixels, down - pixels), atol=0.1)


def test_turned_scaled_and_stretched_images_are_as_the_numbers_say():
    quarter = changed(n3=-1.0, n4=1.0)  # cos 90 - 1, sin 90
    torch.testing.assert_close(quarter, torch.rot90(picture(), -1, (2, 3)), atol=0.03, rtol=0)
    mass = float(picture().sum())
    larger = changed(n2=2.0)  # by 2^0.4 each way
    assert np.isclose(float(larger.sum()) / mass, 2**0.8, rtol=0.03)
    wider = changed(n5=2.0)  # as much wider as it is lower
    assert np.isclose(float(wider.sum()) / mass, 1.0, rtol=0.03)
    right, _ = centre(picture())
    assert np.isclose(centre(wider)[0] - 7.5, (right - 7.5) * 2**0.4, atol=0.1)


def test_changes_are_as_likely_as_asked():
    labels = draw(20_000, 0.12, torch.Generator().manual_seed(0))
    assert labels.shape == (20_000, 9)
    share = (labels != 0).float().mean(0)
    expected = torch.tensor([0.5, 0.06, *[0.12] * 7])
    torch.testing.assert_close(share, expected, atol=0.01, rtol=0)
    again = draw(20_000, 0.12, torch.Generator().manual_seed(0))
    assert torch.equal(labels, again)
