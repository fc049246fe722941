"""Non-leaky augmentation (EDM, appendix F.2 and table 6): images are moved, and the model is told.

Each kind of change is made with a probability of its own, and nine numbers say what was done. While
sampling they are zero, which is how images look that nothing was done to: so no change leaks into
what is generated, unlike with augmentation that is not told.

| numbers | what | size |
| --- | --- | --- |
| 0, 1 | mirrored left to right, upside down | 0 or 1; the first is drawn for every image |
| 2 | scaled | by 2^(0.2 a), a normal |
| 3, 4 | turned | by an angle t of any size: cos t - 1, sin t |
| 5, 6 | stretched one way, shrunk the other | by 2^(0.2 a) at angle t: a cos t, a sin t |
| 7, 8 | moved right, down | by 0.125 a of the side each, a normal |
"""

from math import pi

import torch
from torch import Generator, Tensor
from torch.nn import functional

LABELS = 9
SCALE, STRETCH, SHIFT = 0.2, 0.2, 0.125


def augment(images: Tensor, labels: Tensor) -> Tensor:
    """Return changed images; those that nothing is done to stay as they are.

    Args:
        images: (n, channels, side, side) floats.
        labels: (n, 9) of `draw`, on the images' device.
    """
    images = torch.where(_asked(labels[:, 0]), images.flip(3), images)
    images = torch.where(_asked(labels[:, 1]), images.flip(2), images)
    moved = labels[:, 2:].abs().amax(1) > 0
    if moved.any():
        images[moved] = warp(images[moved], inverse(labels[moved]))
    return images


def draw(count: int, probability: float, rng: Generator) -> Tensor:
    """Return what is to be done to images, (count, 9) float32.

    Args:
        probability: of each kind of change; that of being mirrored left to right is one half.
        rng: on the CPU, decides all of it.
    """
    done = torch.rand(5, count, generator=rng) < probability  # but for mirrors left to right
    mirrored = torch.randint(2, (2, count), generator=rng).float()
    normal = torch.randn(4, count, generator=rng)
    turned, along = (torch.rand(2, count, generator=rng) * 2 - 1) * pi
    labels = [
        mirrored[0],
        mirrored[1] * done[0],
        normal[0] * done[1],
        (turned.cos() - 1) * done[2],
        turned.sin() * done[2],
        normal[1] * along.cos() * done[3],
        normal[1] * along.sin() * done[3],
        normal[2] * done[4],
        normal[3] * done[4],
    ]
    return torch.stack(labels, dim=1)


def inverse(labels: Tensor) -> Tensor:
    """Return where each place of a changed image comes from, matrices (n, 2, 3).

    Coordinates run from -1 to 1, as `torch.nn.functional.affine_grid` has them.
    """
    _, _, scaled, cosine, sine, along_x, along_y, right, down = labels.T
    angle = torch.atan2(sine, cosine + 1)
    axis = torch.atan2(along_y, along_x)
    stretch = 2 ** (STRETCH * torch.hypot(along_x, along_y))
    squeeze = torch.diag_embed(torch.stack([1 / stretch, stretch], dim=1))
    linear = _rotation(-angle) @ _rotation(axis) @ squeeze @ _rotation(-axis)
    linear = linear / 2 ** (SCALE * scaled)[:, None, None]
    shift = 2 * SHIFT * torch.stack([right, down], dim=1)
    return torch.cat([linear, -(linear @ shift[:, :, None])], dim=2)


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Return images moved by `inverse`, mirrored at their borders; four points a pixel against
    jagged edges, read by cubic interpolation."""
    n, channels, height, width = images.shape
    fine = functional.affine_grid(
        matrices, [n, channels, 2 * height, 2 * width], align_corners=False
    )
    read = functional.grid_sample(
        images, fine, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return functional.avg_pool2d(read, 2)


def _rotation(angle: Tensor) -> Tensor:
    rows = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1)
    return rows.view(-1, 2, 2)


def _asked(flags: Tensor) -> Tensor:
    return (flags > 0.5).view(-1, 1, 1, 1)
