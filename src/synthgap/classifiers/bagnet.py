"""BagNet: a ResNet whose class evidence at each position comes from one small patch.

Source: Brendel & Bethge, "Approximating CNNs with Bag-of-local-Features models works surprisingly
well on ImageNet", ICLR 2019, with the arrangement of 3x3 convolutions of its public PyTorch
code. One difference: that code gives the stem's batch norm a momentum of 0.001, which suits a
million steps; here it is torch's 0.1, so that short trainings end with valid statistics.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from synthgap.errors import UserError

# How many blocks of each stage, from its first, keep their 3x3 convolution.
KERNEL3 = {9: (1, 1, 0, 0), 17: (1, 1, 1, 0), 33: (1, 1, 1, 1)}
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, then kernel x kernel without padding, then 1x1 convolution, around a shortcut."""

    def __init__(self, inputs: int, planes: int, kernel: int, stride: int) -> None:
        super().__init__()
        outputs = planes * EXPANSION
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, planes, 1, bias=False),
            nn.BatchNorm2d(planes),
            nn.ReLU(inplace=True),
            nn.Conv2d(planes, planes, kernel, stride, bias=False),
            nn.BatchNorm2d(planes),
            nn.ReLU(inplace=True),
            nn.Conv2d(planes, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.residual(x)
        height, width = residual.shape[-2:]
        # Without padding the residual is smaller; the reference cuts below and on the right.
        shortcut = self.shortcut(x)[..., :height, :width]
        activated: Tensor = self.activation(residual + shortcut)
        return activated


class BagNet(nn.Module):
    """Classify an image by the mean of the class evidence of its patches.

    Args:
        receptive_field: side of a patch in pixels; 9, 17 or 33 choose the published `kernel3`.
        num_classes: number of classes.
        layers: blocks of each stage.
        strides: stride of each stage's first block.
        width: channels of the stem; stage i has `4 * width * 2**i` of them.
        kernel3: how many blocks of each stage, from its first, have a 3x3 convolution; None
            stands for the published ones, as many as there are stages.

    The defaults are the published networks. For small images, fewer strides leave more positions:
    `layers=(1, 1), strides=(2, 2)` has a receptive field of 9 too.

    Raises:
        UserError: settings of different lengths, or that give another receptive field.
    """

    def __init__(
        self,
        receptive_field: int,
        num_classes: int,
        layers: Sequence[int] = (3, 4, 6, 3),
        strides: Sequence[int] = (2, 2, 2, 1),
        width: int = 64,
        kernel3: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if kernel3 is None:
            kernel3 = _published_kernel3(receptive_field)[: len(layers)]
        _check(layers, strides, kernel3, receptive_field)
        self.receptive_field = receptive_field
        self.num_classes = num_classes
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 1, bias=False),
            nn.Conv2d(width, width, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        blocks: list[nn.Module] = []
        channels = width
        for stage, (depth, stride, with3) in enumerate(zip(layers, strides, kernel3, strict=True)):
            planes = width * 2**stage
            for block in range(depth):
                kernel = 3 if block < with3 else 1
                blocks.append(Bottleneck(channels, planes, kernel, stride if block == 0 else 1))
                channels = planes * EXPANSION
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the features of each position, (N, d, h, w), of normalised images (N, 3, H, W).

        Raises:
            UserError: the images are smaller than one patch.
        """
        if min(images.shape[-2:]) < self.receptive_field:
            height, width = images.shape[-2:]
            raise UserError(
                f"images of {width}x{height} pixels are smaller than the receptive field "
                f"{self.receptive_field} of this BagNet; use larger images or a smaller field"
            )
        features: Tensor = self.blocks(self.stem(images))
        return features

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Average features over positions; return the mean (N, d) or the logits (N, classes).

        The classifier is linear, so the logits of the mean are the mean of the logits.
        """
        mean = features.mean((2, 3))
        logits: Tensor = mean if pre_logits else self.classifier(mean)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of normalised images (N, 3, H, W)."""
        return self.forward_head(self.forward_features(images))

    def position_logits(self, images: Tensor) -> Tensor:
        """Return the class evidence of each patch, (N, classes, h, w); `forward` is its mean.

        Position (i, j) sees the `receptive_field`-sided square whose top left pixel is
        (i * s, j * s), where s is the product of all strides.
        """
        features = self.forward_features(images)
        logits: Tensor = self.classifier(features.permute(0, 2, 3, 1))
        return logits.permute(0, 3, 1, 2)


def receptive_field_of(strides: Sequence[int], kernel3: Sequence[int]) -> int:
    """Return the side in pixels of the square that one position sees (stem included)."""
    side, step = 3, 1
    for stride, with3 in zip(strides, kernel3, strict=True):
        if with3:
            side += 2 * step
        step *= stride
        side += 2 * step * max(with3 - 1, 0)
    return side


def _published_kernel3(receptive_field: int) -> Sequence[int]:
    if receptive_field not in KERNEL3:
        raise UserError(
            f"there is no published BagNet-{receptive_field}; choose receptive_field "
            f"{', '.join(map(str, KERNEL3))}, or give kernel3 for each stage"
        )
    return KERNEL3[receptive_field]


def _check(
    layers: Sequence[int], strides: Sequence[int], kernel3: Sequence[int], receptive_field: int
) -> None:
    if not len(layers) == len(strides) == len(kernel3):
        raise UserError(
            "BagNet: layers, strides and kernel3 need one number for each stage, not "
            f"{len(layers)}, {len(strides)} and {len(kernel3)}"
        )
    if min([*layers, *strides], default=0) < 1:
        raise UserError("BagNet: layers and strides must be 1 or more, for one stage or more")
    if any(not 0 <= with3 <= depth for with3, depth in zip(kernel3, layers, strict=True)):
        raise UserError(f"BagNet: kernel3 {list(kernel3)} must lie between 0 and {list(layers)}")
    found = receptive_field_of(strides, kernel3)
    if found != receptive_field:
        raise UserError(
            f"BagNet: strides {list(strides)} and kernel3 {list(kernel3)} give a receptive field "
            f"of {found} pixels, not {receptive_field}; change one of the three"
        )
