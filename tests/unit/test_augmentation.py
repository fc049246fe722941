"""Batch augmentations: what they may do to pixels, and that the generator decides all of it."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import beta, ks_2samp, kstest
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
)
from torchvision.transforms.functional import rgb_to_grayscale as to_grey
from torchvision.transforms.functional import solarize as to_solarised

from synthgap.classifiers.augmentation import (
    blur,
    colour_jitter,
    cutmix_batch,
    greyscale,
    mixup_batch,
    random_boxes,
    resize_box,
    shift,
    solarise,
    three_augment,
)


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


def test_mixup_fades_each_image_into_its_partner_by_one_share():
    images, labels = torch.rand(16, 3, 8, 8, generator=generator(1)), torch.arange(16)
    images = images.contiguous(memory_format=torch.channels_last)
    mixed, partners, share = mixup_batch(images, labels, 0.8, generator())
    assert sorted(partners.tolist()) == labels.tolist() != partners.tolist()
    torch.testing.assert_close(mixed, share * images + (1 - share) * images[partners])
    assert mixed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("alpha", [0.2, 0.8, 3.0])
def test_shares_of_mixup_have_the_beta_distribution(alpha):
    images, labels = torch.zeros(2, 3, 1, 1), torch.arange(2)
    shares = [mixup_batch(images, labels, alpha, generator(seed))[2] for seed in range(2000)]
    assert kstest(shares, beta(alpha, alpha).cdf).pvalue > 1e-3


def test_boxes_are_drawn_as_torchvision_draws_them():
    image = torch.zeros(3, 40, 60)
    torch.manual_seed(0)
    scale, ratio = (0.08, 1.0), (3 / 4, 4 / 3)
    theirs = np.array([RandomResizedCrop.get_params(image, scale, ratio) for _ in range(4000)])
    ours = random_boxes(4000, 40, 60, 0.08, generator())
    # Top, left, height and width have the same distributions; so has the aspect.
    for column in range(4):
        assert ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-3, column
    ratios = [boxes[:, 3] / boxes[:, 2] for boxes in (ours, theirs)]
    assert ks_2samp(*ratios).pvalue > 1e-3
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 0] + ours[:, 2] <= 40).all()
    assert (ours[:, 1] + ours[:, 3] <= 60).all()


def test_boxes_that_cannot_fit_are_the_largest_centred_ones():
    # Of so narrow an image no box of this area has an aspect of 3/4 or more.
    boxes = random_boxes(5, 100, 20, 0.9, generator())
    np.testing.assert_array_equal(boxes, [[36, 0, 27, 20]] * 5)
    boxes = random_boxes(5, 20, 100, 0.9, generator())
    np.testing.assert_array_equal(boxes, [[0, 36, 20, 27]] * 5)


def test_an_enlarged_box_is_that_of_pil():
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8)
    for box in random_boxes(20, 48, 48, 0.1, generator()):
        out = np.empty((48, 48, 3), np.uint8)
        resize_box(image, box, out)
        top, left, height, width = box
        cut = Image.fromarray(image[top : top + height, left : left + width])
        expected = np.asarray(cut.resize((48, 48), Image.Resampling.BILINEAR))
        assert np.abs(out.astype(int) - expected).max() <= 1


def test_a_mirrored_box_is_the_box_mirrored():
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    for box in (None, np.array([2, 3, 10, 12])):
        plain, mirrored = np.empty((2, 20, 20, 3), np.uint8)
        resize_box(image, box, plain)
        resize_box(image, box, mirrored, mirror=True)
        np.testing.assert_array_equal(mirrored, plain[:, ::-1])


def test_a_shrunk_image_is_averaged():
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8)
    out = np.empty((16, 16, 3), np.uint8)
    resize_box(image, None, out)
    expected = image.reshape(16, 3, 16, 3, 3).mean((1, 3))
    assert np.abs(out - expected).max() <= 0.51


def colours(n: int = 60) -> torch.Tensor:
    return torch.rand(n, 3, 24, 24, generator=generator(5))


def test_each_image_gets_one_of_the_three_augmentations():
    images = colours()
    grey, inverted = greyscale(images), solarise(images)
    result = three_augment(images, generator())
    assert result.shape == images.shape
    is_grey, is_inverted = (
        torch.tensor([torch.equal(a, b) for a, b in zip(result, other, strict=True)])
        for other in (grey, inverted)
    )
    blurred = ~(is_grey | is_inverted)
    assert not (is_grey & is_inverted).any()
    assert min(is_grey.sum(), is_inverted.sum(), blurred.sum()) > 8
    smooth = result[blurred].diff(dim=3).abs().mean((1, 2, 3))
    assert (smooth <= images[blurred].diff(dim=3).abs().mean((1, 2, 3)) + 1e-6).all()
    assert smooth.min() < 0.1


def test_grey_and_solarised_are_those_of_torchvision():
    images = (colours() * 255).to(torch.uint8)
    ours = (greyscale(images / 255) * 255).round()
    assert (ours - to_grey(images, 3)).abs().max() <= 1
    torch.testing.assert_close(solarise(images / 255) * 255, to_solarised(images, 128).float())


@pytest.mark.parametrize("deviation", [0.1, 0.7, 2.0])
def test_a_blurred_image_is_that_of_scipy(deviation):
    images = colours(2)
    ours = blur(images, torch.full((2,), deviation))
    expected = gaussian_filter(
        images.numpy(), (0, 0, deviation, deviation), mode="mirror", truncate=8 / deviation
    )
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-5)


def test_jitter_is_that_of_torchvision():
    images = colours(8)
    changes = (adjust_brightness, adjust_contrast, adjust_saturation)
    seen = set()
    for seed in range(12):
        ours = colour_jitter(images, 0.4, generator(seed))
        rng = generator(seed)
        order = torch.randperm(3, generator=rng).tolist()
        factors = 1 + 0.4 * (2 * torch.rand(3, 8, generator=rng) - 1)
        seen.add(tuple(order))
        for index, image in enumerate(images):
            for number in order:
                image = changes[number](image, float(factors[number, index]))
            torch.testing.assert_close(ours[index], image, atol=2e-3, rtol=0)
    assert len(seen) > 3


@pytest.mark.parametrize(
    "augment",
    [
        lambda rng: shift(ramps(20), 3, rng),
        lambda rng: torch.from_numpy(random_boxes(20, 30, 30, 0.3, rng)),
        lambda rng: three_augment(colours(), rng),
        lambda rng: colour_jitter(colours(), 0.3, rng),
        lambda rng: cutmix_batch(ramps(20), torch.arange(20), rng)[0],
        lambda rng: mixup_batch(ramps(20), torch.arange(20), 0.8, rng)[0],
    ],
)
def test_the_generator_alone_decides(augment):
    torch.manual_seed(1)
    first = augment(generator(7))
    torch.manual_seed(2)
    assert torch.equal(first, augment(generator(7)))
    assert not torch.equal(first, augment(generator(8)))
