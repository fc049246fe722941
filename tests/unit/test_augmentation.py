"""Batch augmentations: what they may do to pixels, and that the generator decides all of it."""

import pytest
import torch

from synthgap.classifiers.augmentation import cutmix_batch, flip, random_resized_crop, shift


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramps(n: int, side: int = 8) -> torch.Tensor:
    """Images in which each pixel names its image, row and column."""
    numbers = torch.arange(n * side * side, dtype=torch.float32).reshape(n, 1, side, side)
    return torch.cat([numbers, -numbers], 1)


def test_shift_moves_each_image_by_its_own_whole_number_of_pixels():
    images = ramps(200)
    moved = shift(images, 2, generator())
    found = set()
    for image, result in zip(images, moved, strict=True):
        corner = int(result[0, 4, 4] - image[0, 4, 4])
        dy, dx = round(corner / 8), corner - 8 * round(corner / 8)
        rows = (torch.arange(8) + dy).clamp(0, 7)
        columns = (torch.arange(8) + dx).clamp(0, 7)
        assert torch.equal(result, image[:, rows][:, :, columns])
        found.add((dy, dx))
    assert found == {(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)}


def test_flip_mirrors_half_of_the_images():
    images = ramps(400)
    result = flip(images, generator())
    mirrored = (result == images.flip(3)).all((1, 2, 3))
    kept = (result == images).all((1, 2, 3))
    assert torch.equal(mirrored, ~kept)
    assert 160 < mirrored.sum() < 240


def test_cutmix_pastes_one_box_and_tells_its_share():
    images, labels = ramps(16, side=32), torch.arange(16)
    shares = []
    for seed in range(200):
        mixed, pasted, share = cutmix_batch(images, labels, generator(seed))
        assert sorted(pasted.tolist()) == labels.tolist()
        from_own, from_partner = mixed == images, mixed == images[pasted]
        assert (from_own | from_partner).all()
        moved = pasted != labels
        if moved.any():
            own = from_own[moved].float().mean((1, 2, 3))
            torch.testing.assert_close(own, torch.full_like(own, share))
            box = ~from_own[moved][0, 0]
            assert box[box.any(1)][:, box.any(0)].all(), "the pasted pixels are no rectangle"
        shares.append(share)
    assert min(shares) < 0.3
    assert max(shares) > 0.9


def test_random_resized_crop_shows_a_part_of_the_image_enlarged():
    side = 32
    ramp = torch.linspace(0, 1, side)
    images = torch.stack([ramp.expand(side, side), ramp[:, None].expand(side, side)])
    images = images.expand(300, 2, side, side)
    result = random_resized_crop(images, 0.25, generator())
    assert result.shape == images.shape
    assert result.min() >= 0
    assert result.max() <= 1
    width = result[:, 0, 0, -1] - result[:, 0, 0, 0]
    height = result[:, 1, -1, 0] - result[:, 1, 0, 0]
    assert (width * height).min() > 0.2
    assert (width * height).min() < 0.4
    assert (width / height).max() < 4 / 3 + 0.05
    assert (width / height).min() > 3 / 4 - 0.05
    for near, far in (
        (result[:, 0, 0, 0], result[:, 0, 0, -1]),
        (result[:, 1, 0, 0], result[:, 1, -1, 0]),
    ):
        centres = (near + far) / 2
        assert centres.std() > 0.05
        assert abs(centres.mean() - 0.5) < 0.03  # no side is preferred
    whole = random_resized_crop(ramps(3), 1.0, generator())
    assert (whole - ramps(3)).abs().mean() < 40  # nearly the whole image


@pytest.mark.parametrize(
    "augment",
    [
        lambda rng: shift(ramps(20), 3, rng),
        lambda rng: flip(ramps(20), rng),
        lambda rng: random_resized_crop(ramps(20), 0.3, rng),
        lambda rng: cutmix_batch(ramps(20), torch.arange(20), rng)[0],
    ],
)
def test_the_generator_alone_decides(augment):
    torch.manual_seed(1)
    first = augment(generator(7))
    torch.manual_seed(2)
    assert torch.equal(first, augment(generator(7)))
    assert not torch.equal(first, augment(generator(8)))
