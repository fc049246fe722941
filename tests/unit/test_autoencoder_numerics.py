"""An autoencoder whose loss is no number is not saved."""

from pathlib import Path

import numpy as np
import pytest

from spoiled import nan_gradient_in_step
from synthgap.checkpoint import Checkpoint
from synthgap.diffusion.autoencoder import build_autoencoder, train_autoencoder
from synthgap.errors import UserError


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    vae = build_autoencoder(8, [8, 8], 2)
    vae.encoder.conv_in.weight.data.fill_(float("nan"))
    images = np.zeros((4, 8, 8, 3), np.uint8)
    with pytest.raises(UserError, match="loss is nan after 0 steps"):
        train_autoencoder(
            vae, images, steps=2, batch_size=2, learning_rate=0.001, seed=0,
            checkpoint=Checkpoint(tmp_path, 100),
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_weights_that_are_no_numbers_after_the_last_step_are_told(tmp_path):
    images = np.zeros((4, 8, 8, 3), np.uint8)
    spoiled = nan_gradient_in_step(2)
    with spoiled, pytest.raises(UserError, match=r"training diverged: `.+` is NaN or infinite"):
        train_autoencoder(
            build_autoencoder(8, [8, 8], 2), images, steps=2, batch_size=2, learning_rate=0.001,
            seed=0, checkpoint=Checkpoint(tmp_path, 100),
        )  # fmt: skip
