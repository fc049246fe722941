"""Random changes of a training batch, with all randomness from one explicit generator.

Images are (n, c, h, w) in any range. The generator lives on the CPU whatever the device of the
images, so that a seed means the same augmentations everywhere.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

ASPECT_RATIOS = (3 / 4, 4 / 3)


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


def flip(images: Tensor, rng: Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2."""
    mirrored = torch.rand(len(images), generator=rng) < 0.5
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(3), images)


def random_resized_crop(images: Tensor, min_area: float, rng: Generator) -> Tensor:
    """Cut a random box out of each image and enlarge it to the full size, bilinearly.

    The box has `min_area`..1 of the image's area and an aspect ratio of 3/4..4/3 (uniform in
    its logarithm), as in Szegedy et al. 2015, section 6; it is cut short where it would not fit.
    """
    n = len(images)
    area, ratio, left, top = torch.rand(4, n, generator=rng)
    area = min_area + (1 - min_area) * area
    low, high = torch.tensor(ASPECT_RATIOS).log()
    root = (0.5 * (low + (high - low) * ratio)).exp()
    width, height = (area.sqrt() * root).clamp(max=1), (area.sqrt() / root).clamp(max=1)
    # In coordinates of -1..1: the box's sides scale, its centre shifts.
    placement = torch.zeros(n, 2, 3)
    placement[:, 0, 0] = width
    placement[:, 1, 1] = height
    placement[:, 0, 2] = (1 - width) * (2 * left - 1)
    placement[:, 1, 2] = (1 - height) * (2 * top - 1)
    grid = F.affine_grid(placement.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


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
