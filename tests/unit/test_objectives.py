"""What denoisers learn, against diffusers' schedulers."""

import pytest
import torch
from diffusers import DDIMScheduler

from synthgap.diffusion.objectives import OBJECTIVES, Epsilon, Flow


def test_noise_levels_are_those_of_the_scheduler():
    objective = Epsilon()
    betas = objective.scheduler().config.trained_betas
    scheduler = DDIMScheduler(trained_betas=betas)
    rng = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 1000, 4, 2, 2, generator=rng)
    timesteps = torch.arange(1000)
    expected = scheduler.add_noise(clean, noise, timesteps)
    noisy = objective.noisy(clean, noise, timesteps.float())
    torch.testing.assert_close(noisy, expected, rtol=1e-4, atol=1e-4)
    # Chen's linear schedule, and neither end without noise or without image.
    kept = scheduler.alphas_cumprod
    torch.testing.assert_close(kept, 1 - (timesteps + 0.5) / 1000, rtol=0, atol=2e-5)


def test_timesteps_are_drawn_as_the_papers_say():
    rng = torch.Generator().manual_seed(0)
    whole = Epsilon().draw(100_000, rng)
    assert torch.equal(whole, whole.round())
    counts = torch.bincount(whole.long(), minlength=1000)
    assert len(counts) == 1000
    assert counts.min() > 50
    assert ((counts - 100) ** 2 / 100).sum() < 1200  # chi-squared, 999 degrees of freedom
    middle = Flow().draw(100_000, rng) / 1000
    z = torch.logit(middle)
    assert abs(z.mean()) < 0.02
    assert abs(z.std() - 1) < 0.02


@pytest.mark.parametrize("name", list(OBJECTIVES))
@pytest.mark.parametrize("steps", [5, 12, 50])
def test_who_predicts_perfectly_samples_the_image(name, steps):
    objective = OBJECTIVES[name]()
    scheduler = objective.scheduler()
    scheduler.set_timesteps(steps)
    rng = torch.Generator().manual_seed(0)
    clean, sample = torch.randn(2, 3, 4, 8, 8, generator=rng)
    for timestep in scheduler.timesteps:
        times = torch.full((3,), float(timestep))
        # What was mixed with the image to give this sample.
        image, noise = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
        zero = torch.zeros(1, 1, 1, 1)
        share = objective.noisy(image, zero, times[:1]), objective.noisy(zero, noise, times[:1])
        mixed = (sample - share[0] * clean) / share[1]
        predicted = objective.target(clean, mixed)
        sample = scheduler.step(predicted, timestep, sample).prev_sample
    torch.testing.assert_close(sample, clean, rtol=0, atol=0.01)
