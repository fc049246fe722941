"""Random changes of training images, with all randomness from one explicit generator.

Batches are (n, c, h, w), in any range where none is named. The generator lives on the CPU whatever
the device of the images, so that a seed means the same augmentations everywhere.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor

ASPECT_RATIOS = (3 / 4, 4 / 3)
LUMA = (0.299, 0.587, 0.114)
BLUR_RADIUS = 8


def shift(images: Tensor, pixels: int, rng: Generator) -> Tensor:
    """Move each image by -pixels..pixels in both directions; its border pixels fill the gap."""
    n, _, height, width = images.shape
    moves = torch.randint(-pixels, pixels + 1, (2, n, 1), generator=rng)
    rows = (torch.arange(height) + moves[0]).clamp(0, height - 1).to(images.device)
    columns = (torch.arange(width) + moves[1]).clamp(0, width - 1).to(images.device)
    each = torch.arange(n, device=images.device)[:, None, None]
    # The indexed dimensions come first, the channels last: (n, h, w, c) in memory.
    moved = images[each, :, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def random_boxes(
    n: int, height: int, width: int, min_area: float, rng: Generator
) -> NDArray[np.int64]:
    """Draw boxes to crop: `min_area`..1 of the area, an aspect ratio of 3/4..4/3.

    Area and the ratio's logarithm are uniform (Szegedy et al. 2015, section 6). A box that does
    not fit is drawn anew, and after ten times is the largest centred one, as in torchvision's
    `RandomResizedCrop`.

    Returns:
        Top, left, height and width in pixels, (n, 4).
    """
    tries = 10
    area, ratio, top, left = torch.rand(4, tries + 1, n, generator=rng, dtype=torch.float64).numpy()
    area = (min_area + (1 - min_area) * area) * height * width
    low, high = np.log(ASPECT_RATIOS)
    ratio = np.exp(low + (high - low) * ratio)
    wide, tall = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    # The last row is for boxes that never fitted.
    fits[tries] = True
    limited = np.clip(width / height, *ASPECT_RATIOS)
    wide[tries] = min(width, round(height * limited))
    tall[tries] = min(height, round(width / limited))
    top = np.floor(top * (height - tall + 1))
    left = np.floor(left * (width - wide + 1))
    top[tries], left[tries] = (height - tall[tries]) // 2, (width - wide[tries]) // 2
    first = fits.argmax(axis=0), np.arange(n)
    boxes = np.stack([top[first], left[first], tall[first], wide[first]], axis=1)
    return boxes.astype(np.int64)


def resize_box(
    image: NDArray[np.uint8],
    box: NDArray[np.int64] | None,
    out: NDArray[np.uint8],
    *,
    mirror: bool = False,
) -> None:
    """Resize a box of `image` (all of it if None) into `out`, both uint8 (height, width, 3).

    Enlarging is bilinear, as PIL has it up to rounding; shrinking in both directions averages.
    """
    if box is not None:
        top, left, height, width = box
        image = image[top : top + height, left : left + width]
    height, width = out.shape[:2]
    if image.shape == out.shape:
        out[:] = image
    else:
        shrinks = image.shape[0] >= height and image.shape[1] >= width
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        cv2.resize(image, (width, height), dst=out, interpolation=method)
    if mirror:
        cv2.flip(out, 1, dst=out)


def three_augment(images: Tensor, rng: Generator) -> Tensor:
    """Turn each image grey, solarise it or blur it, one of the three by chance.

    Source: Touvron et al., DeiT III (2022), section 3.2: luma of ITU-R 601, inversion from half
    brightness on, a Gaussian of 0.1 to 2 pixels.

    Args:
        images: (n, 3, h, w) in 0..1.
    """
    kind = torch.randint(3, (len(images),), generator=rng)
    deviations = 0.1 + 1.9 * torch.rand(len(images), generator=rng)
    result = images.clone()
    for number, change in enumerate((greyscale, solarise)):
        chosen = (kind == number).nonzero().flatten().to(images.device)
        result[chosen] = change(images[chosen])
    chosen = (kind == 2).nonzero().flatten()
    if len(chosen):
        there = chosen.to(images.device)
        result[there] = blur(images[there], deviations[chosen].to(images.device))
    return result


def greyscale(images: Tensor) -> Tensor:
    """Return the luma of RGB images (n, 3, h, w) in all three channels."""
    weights = images.new_tensor(LUMA).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True).expand_as(images)


def solarise(images: Tensor) -> Tensor:
    """Invert what is at least half bright, in images of 0..1."""
    return torch.where(images >= 0.5, 1 - images, images)


def blur(images: Tensor, deviations: Tensor) -> Tensor:
    """Blur each image (n, c, h, w) with a Gaussian of its own standard deviation in pixels.

    Borders are reflected. The kernel ends at four times the largest deviation of the recipe.
    """
    n, channels, height, width = images.shape
    radius = min(BLUR_RADIUS, height - 1, width - 1)
    steps = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernels = torch.exp(-0.5 * (steps / deviations[:, None]) ** 2)
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    padded = F.pad(images, [radius] * 4, mode="reflect").flatten(0, 1)[None]
    rows = F.conv2d(padded, kernels[:, None, None], groups=n * channels)
    both = F.conv2d(rows, kernels[:, None, :, None], groups=n * channels)
    blurred: Tensor = both[0].unflatten(0, (n, channels))
    return blurred


def colour_jitter(images: Tensor, strength: float, rng: Generator) -> Tensor:
    """Change brightness, contrast and saturation by factors of 1 - strength..1 + strength.

    Each image has its own factors; the order of the three is drawn for the batch (torchvision's
    `ColorJitter` draws it for each image). Results are clipped to 0..1 after each change.

    Args:
        images: (n, 3, h, w) in 0..1.
    """
    order = torch.randperm(3, generator=rng).tolist()
    factors = 1 + strength * (2 * torch.rand(3, len(images), 1, 1, 1, generator=rng) - 1)
    factors = factors.to(images.device)
    for number in order:
        if number == 0:
            base = torch.zeros_like(images)
        elif number == 1:
            base = greyscale(images).mean((1, 2, 3), keepdim=True)
        else:
            base = greyscale(images)
        images = (base + factors[number] * (images - base)).clamp(0, 1)
    return images


def cutmix_batch(images: Tensor, labels: Tensor, rng: Generator) -> tuple[Tensor, Tensor, float]:
    """Paste one box of a shuffled batch over the batch.

    Source: Yun et al., "CutMix", ICCV 2019, with Beta(1, 1); paper A's public code applies it
    to each training batch.

    Returns:
        mixed images; the labels (n,) of the images pasted in; the share of the area, 0..1, that
        is still the original's. The loss is share * loss(labels) + (1 - share) * loss(pasted).
    """
    height, width = images.shape[-2:]
    pasted_side = float((1 - torch.rand((), generator=rng)).sqrt())
    centre_y = int(torch.randint(height, (), generator=rng))
    centre_x = int(torch.randint(width, (), generator=rng))
    half_h, half_w = int(height * pasted_side) // 2, int(width * pasted_side) // 2
    top, bottom = max(centre_y - half_h, 0), min(centre_y + half_h, height)
    left, right = max(centre_x - half_w, 0), min(centre_x + half_w, width)
    order = torch.randperm(len(images), generator=rng).to(images.device)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[order, ..., top:bottom, left:right]
    # Boxes are cut off at the border, so the share is counted and not the one drawn.
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return mixed, labels[order], share


def mixup_batch(
    images: Tensor, labels: Tensor, alpha: float, rng: Generator
) -> tuple[Tensor, Tensor, float]:
    """Fade a shuffled batch into the batch, all pairs by the same share.

    Source: Zhang et al., "mixup", ICLR 2018, section 2, with Beta(alpha, alpha).

    Args:
        images: normalised or not, as the mixture of two is in the same scale.
        alpha: above 0; the larger, the more equal are the two shares.

    Returns:
        mixed images; the labels (n,) of the images faded in; the share, 0..1, of the original. The
        loss is share * loss(labels) + (1 - share) * loss(faded in).
    """
    # torch draws no Beta from a generator of one's own.
    seed = int(torch.randint(2**63 - 1, (), generator=rng))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    order = torch.randperm(len(images), generator=rng).to(images.device)
    return torch.lerp(images[order], images, share), labels[order], share
