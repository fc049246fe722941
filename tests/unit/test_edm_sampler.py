"""EDM's preconditioning and sampler, against what is known in closed form."""

import itertools

import pytest
import torch

from synthgap.diffusion.edm.preconditioning import Preconditioning
from synthgap.diffusion.edm.sampler import evaluations, heun, noise_levels

MEAN, DEVIATION = 0.3, 0.5


def gaussian(noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The best denoiser of independent values N(MEAN, DEVIATION^2): Tweedie's formula."""
    share = DEVIATION**2 / (DEVIATION**2 + sigma.view(-1, *[1] * (noisy.ndim - 1)) ** 2)
    return share * noisy + (1 - share) * MEAN


def exact(noise: torch.Tensor, sigma_max: float) -> torch.Tensor:
    """Where the ODE ends: distances from the mean shrink as the deviation does."""
    spread = (DEVIATION**2 + sigma_max**2) ** 0.5
    return MEAN + (noise * sigma_max - MEAN) * DEVIATION / spread


def test_samples_have_the_targets_mean_and_variance():
    noise = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    found = heun(gaussian, noise, noise_levels(160)).images
    assert found.dtype == torch.float64
    # Three standard errors of 40 000 values.
    assert found.mean().item() == pytest.approx(MEAN, abs=3 * DEVIATION / 200)
    assert found.std().item() == pytest.approx(DEVIATION, rel=3 * 0.5**0.5 / 200)


def test_halved_steps_have_a_quarter_of_the_error():
    noise = torch.randn(200, 1, generator=torch.Generator().manual_seed(0))

    def error(steps: int) -> float:
        # A high end, so that the first-order step down to 0 does not count.
        levels = noise_levels(steps, sigma_min=1e-4)
        return float((heun(gaussian, noise, levels).images - exact(noise, 80.0)).abs().max())

    errors = [error(steps) for steps in (20, 40, 80)]
    assert errors[2] < 0.01 * DEVIATION
    for coarse, fine in itertools.pairwise(errors):
        assert 3.5 < coarse / fine < 4.8


def test_a_step_takes_two_evaluations_and_the_last_one():
    calls = []

    def counted(noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        calls.append(sigma[0].item())
        return gaussian(noisy, sigma)

    for steps, expected in ((1, 1), (18, 35), (40, 79)):  # CIFAR-10's and FFHQ's of the paper
        calls.clear()
        sampled = heun(counted, torch.zeros(3, 1), noise_levels(steps))
        assert sampled.evaluations == len(calls) == evaluations(steps) == expected
        assert min(calls) > 0


def test_noise_levels_are_even_in_their_seventh_root():
    levels = noise_levels(18)
    assert levels[0].item() == pytest.approx(80.0)
    assert levels[-2].item() == pytest.approx(0.002)
    assert levels[-1] == 0
    gaps = (levels[:-1] ** (1 / 7)).diff()
    torch.testing.assert_close(gaps, gaps[:1].expand(17))
    assert noise_levels(1).tolist() == pytest.approx([80.0, 0.0])
    for steps, low, high in ((0, 0.002, 80.0), (5, 0.0, 80.0), (5, 1.0, 0.5)):
        with pytest.raises(ValueError, match="noise levels: steps >= 1"):
            noise_levels(steps, low, high)


@pytest.mark.parametrize("sigma_data", [0.5, 0.7])
def test_preconditioning_keeps_what_networks_see_and_learn_at_deviation_one(sigma_data):
    """What EDM's appendix B.6 derives the coefficients from."""
    of = Preconditioning(sigma_data)
    sigma = torch.logspace(-3, 2, 30, dtype=torch.float64)
    c = of.coefficients(sigma)
    one = torch.ones_like(sigma)
    # Inputs: c_in^2 (sigma_data^2 + sigma^2) = 1.
    torch.testing.assert_close(c.into**2 * (sigma_data**2 + sigma**2), one)
    # Targets (x - c_skip (x + n)) / c_out: their variance is 1.
    variance = (1 - c.skip) ** 2 * sigma_data**2 + c.skip**2 * sigma**2
    torch.testing.assert_close(variance / c.out**2, one)
    # c_skip makes c_out as small as can be: its derivative is 0 there.
    torch.testing.assert_close((1 - c.skip) * sigma_data**2, c.skip * sigma**2)
    torch.testing.assert_close(of.weight(sigma) * c.out**2, one)
    torch.testing.assert_close(c.noise, sigma.log() / 4)


def test_an_image_without_noise_stays_and_noise_alone_is_forgotten():
    of = Preconditioning()
    image = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    wild = lambda noisy, level: 5 * torch.ones_like(noisy)  # noqa: E731
    torch.testing.assert_close(
        of.denoise(wild, image, torch.tensor([1e-6, 1e-6])), image, atol=1e-4, rtol=0
    )
    nothing = lambda noisy, level: torch.zeros_like(noisy)  # noqa: E731
    assert of.denoise(nothing, image, torch.tensor([1e6, 1e6])).abs().max() < 1e-6


def test_a_network_that_knows_nothing_has_a_loss_of_one_at_every_level():
    of, rng = Preconditioning(), torch.Generator().manual_seed(0)
    clean = 0.5 * torch.randn(64, 3, 16, 16, generator=rng)
    noise = torch.randn(clean.shape, generator=rng)
    nothing = lambda noisy, level: torch.zeros_like(noisy)  # noqa: E731
    for level in (0.01, 0.3, 20.0):
        loss = of.loss(nothing, clean, noise, torch.full((64,), level))
        assert float(loss) == pytest.approx(1.0, rel=0.03)


def test_levels_of_training_are_log_normal():
    of, rng = Preconditioning(), torch.Generator
    logs = of.draw(100_000, rng().manual_seed(0)).log()
    assert float(logs.mean()) == pytest.approx(-1.2, abs=0.02)
    assert float(logs.std()) == pytest.approx(1.2, abs=0.02)
    assert torch.equal(
        logs, Preconditioning().draw(100_000, torch.Generator().manual_seed(0)).log()
    )
