"""BagNet: what each position sees, and refusals of settings that contradict each other."""

import pytest
import torch

from synthgap.classifiers.bagnet import KERNEL3, BagNet, receptive_field_of
from synthgap.errors import UserError

SMALL = {"layers": (1, 2), "strides": (2, 2), "width": 4}
FULL = {"layers": (1, 2, 2, 2), "width": 2}  # the published strides and 3x3 convolutions


def seen_pixels(net: BagNet, size: int, row: int, column: int) -> torch.Tensor:
    """Return which pixels change the evidence at one position, bool (size, size)."""
    net.eval().double()
    image = torch.rand(1, 3, size, size, dtype=torch.double)
    images = image.repeat(size * size, 1, 1, 1)
    pixels = torch.arange(size * size)
    images[pixels, :, pixels // size, pixels % size] += 10
    with torch.no_grad():
        before = net.position_logits(image)[..., row, column]
        after = net.position_logits(images)[..., row, column]
    # The size of a batch may change the last bits, of some 1e-16.
    return ((before - after).abs() > 1e-9).any(1).reshape(size, size)


@pytest.mark.parametrize(
    ("field", "options", "step", "size"), [(9, SMALL, 4, 24), (9, FULL, 8, 24), (17, FULL, 8, 33)]
)
def test_a_position_sees_exactly_its_square(field: int, options: dict, step: int, size: int):
    torch.manual_seed(0)
    seen = seen_pixels(BagNet(field, 5, **options), size, 1, 1)
    rows, columns = torch.where(seen)
    assert (rows.min(), columns.min()) == (step, step)
    assert (rows.max(), columns.max()) == (step + field - 1, step + field - 1)


def test_the_published_networks_have_the_receptive_field_of_their_names():
    for field, kernel3 in KERNEL3.items():
        assert receptive_field_of((2, 2, 2, 1), kernel3) == field
    # Further 3x3 convolutions of a stage come after its stride.
    assert receptive_field_of((2, 1), (2, 0)) == 3 + 2 + 4


def test_logits_are_the_mean_of_the_evidence_of_all_positions():
    torch.manual_seed(0)
    net = BagNet(9, 5, **SMALL).eval()
    images = torch.randn(2, 3, 32, 32)
    evidence = net.position_logits(images)
    assert evidence.shape == (2, 5, 6, 6)
    torch.testing.assert_close(net(images), evidence.mean((2, 3)))


def test_full_size_has_the_published_number_of_parameters():
    # BagNet-33 of the public code, with 1000 classes: counted from its layer shapes.
    weights = sum(p.numel() for p in BagNet(33, 1000).parameters())
    stem = 3 * 64 + 64 * 64 * 9 + 2 * 64
    head = 2048 * 1000 + 1000
    stages, inputs = 0, 64
    for depth, planes in zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True):
        outputs = 4 * planes
        for block in range(depth):
            middle = planes * planes * (9 if block == 0 else 1)
            stages += inputs * planes + middle + planes * outputs + 4 * planes + 2 * outputs
            stages += inputs * outputs + 2 * outputs if block == 0 else 0
            inputs = outputs
    assert weights == stem + stages + head


@pytest.mark.parametrize(
    ("field", "options", "message"),
    [
        (11, {}, "no published BagNet-11"),
        (9, {"strides": (1, 1, 1, 1), "kernel3": (1, 1, 0, 0)}, "receptive field of 7 pixels"),
        (9, {"layers": (1, 1)}, "one number for each stage, not 2, 4 and 2"),
        (9, {"kernel3": (4, 0, 0, 0)}, "must lie between"),
        (9, {"strides": (2, 2, 2, 0)}, "must be 1 or more"),
    ],
)
def test_contradicting_settings_are_refused(field: int, options: dict, message: str):
    with pytest.raises(UserError, match=message):
        BagNet(field, 10, **options)


def test_images_smaller_than_a_patch_are_refused_and_of_its_size_accepted():
    net = BagNet(9, 5, **SMALL).eval()
    assert net.position_logits(torch.zeros(1, 3, 9, 9)).shape == (1, 5, 1, 1)
    with pytest.raises(UserError, match="smaller than the receptive field 9"):
        net(torch.zeros(1, 3, 9, 8))
