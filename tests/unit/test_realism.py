"""Realism guidance: levels of noise, the change of a model's output, training, and samples."""

import json
import shutil
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from torch import nn

import measure_realism
import train_realism
from generator_options import generator_options
from synthgap.data.decoded import EncodedImages
from synthgap.data.shards import Manifest, Sample, ShardWriter, gather
from synthgap.diffusion import realism, realism_training
from synthgap.diffusion.noise import Level, change_of_output, draw_levels, kind_of, level_at
from synthgap.diffusion.realism import CLASSES, About, build_noised, gradient_of_real, steer
from synthgap.diffusion.realism_training import encode, encoded, load_parts
from synthgap.errors import UserError
from synthgap.generators.pipeline import TextToImage
from synthgap.metrics.measures import read_measures

FLOW = diffusers.DPMSolverMultistepScheduler(
    use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=1.0
)
SCHEDULERS = {
    "ddim": diffusers.DDIMScheduler(),
    "ddpm": diffusers.DDPMScheduler(),
    "pndm": diffusers.PNDMScheduler(skip_prk_steps=True),
    "dpm": diffusers.DPMSolverMultistepScheduler(),
    "dpm-flow": FLOW,
    "flow": diffusers.FlowMatchEulerDiscreteScheduler(),
    "euler": diffusers.EulerDiscreteScheduler(),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_levels_are_those_of_the_schedulers_own_noising(name):
    scheduler = type(SCHEDULERS[name]).from_config(SCHEDULERS[name].config)
    scheduler.set_timesteps(10)
    clean, noise = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    for timestep in scheduler.timesteps[1:-1]:
        level = level_at(scheduler, timestep)
        if name == "flow":
            sample = scheduler.scale_noise(clean, timestep[None], noise)
        else:
            sample = scheduler.add_noise(clean, noise, timestep[None])
        expected = level.alpha * clean + level.sigma * noise
        assert torch.allclose(sample * level.scale, expected, atol=2e-3), timestep
    kind = "flow" if "flow" in name else "diffusion"
    assert kind_of(scheduler) == kind
    total = level.alpha + level.sigma if kind == "flow" else level.alpha**2 + level.sigma**2
    assert total == pytest.approx(1, abs=1e-5)


def test_levels_are_drawn_as_models_are_trained():
    rng = torch.Generator().manual_seed(0)
    alpha, sigma = draw_levels(SCHEDULERS["flow"], 20000, rng)
    assert torch.allclose(alpha + sigma, torch.ones(20000))
    assert sigma.mean() == pytest.approx(0.5, abs=0.01)
    alpha, sigma = draw_levels(SCHEDULERS["ddim"], 20000, rng)
    assert torch.allclose(alpha**2 + sigma**2, torch.ones(20000))
    expected = SCHEDULERS["ddim"].alphas_cumprod.sqrt().mean()
    assert alpha.mean() == pytest.approx(float(expected), abs=0.01)


def test_other_schedulers_are_refused():
    with pytest.raises(UserError, match="UniPCMultistepScheduler is not known; set the"):
        kind_of(diffusers.UniPCMultistepScheduler())


def predicted(kind, clean, noise, level):
    """What a model that knows everything would predict."""
    return {
        "epsilon": noise,
        "sample": clean,
        "v_prediction": level.alpha * noise - level.sigma * clean,
        "flow_prediction": noise - clean,
    }[kind]


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction", "flow_prediction"])
def test_all_predictions_change_to_the_same_noise_and_image(kind):
    alpha = 0.6
    level = Level(alpha, 1 - alpha if kind == "flow_prediction" else (1 - alpha**2) ** 0.5)
    noise, clean, shift = torch.randn(3, 50, dtype=torch.float64)
    sample = level.alpha * clean + level.sigma * noise
    scheduler = SimpleNamespace(config=SimpleNamespace(prediction_type=kind))
    changed = predicted(kind, clean, noise, level) + change_of_output(scheduler, level)(shift)
    # The noise that the changed output stands for, with the image that goes with it.
    other = noise + shift
    image = (sample - level.sigma * other) / level.alpha
    assert torch.allclose(changed, predicted(kind, image, other, level))


class Plane(nn.Module):
    """log p(real) / p(generated) is the sum of the samples, whatever the level."""

    def forward(self, inputs):
        total = inputs[:, :-1].flatten(1).sum(1)
        return torch.stack([total, torch.zeros_like(total)], 1)


def test_the_gradient_is_that_of_the_log_probability():
    samples = torch.randn(5, 4, 3, 3) * 0.1
    found = gradient_of_real(Plane(), samples, 0.3)
    # d log sigmoid(t) / dx = 1 - sigmoid(t), the same for each pixel.
    expected = 1 - torch.sigmoid(samples.flatten(1).sum(1))
    assert torch.allclose(found, expected.view(-1, 1, 1, 1).expand_as(found), atol=1e-6)
    alone = gradient_of_real(Plane(), samples[2:3], 0.3)
    assert torch.allclose(found[2:3], alone)


ABOUT = About(
    {"family": "timm", "name": "resnet18", "options": {"channels": [8] * 4}}, 4, 8, "diffusion"
)


def test_a_saved_classifier_comes_back(tmp_path):
    model = build_noised(ABOUT).eval()
    realism.save(model, ABOUT, tmp_path / "m.safetensors")
    again, about = realism.load(tmp_path / "m.safetensors")
    assert about == ABOUT
    inputs = torch.randn(2, 5, 8, 8)
    with torch.no_grad():
        assert torch.equal(model(inputs), again(inputs))
    (tmp_path / "x.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="is no classifier of noised images"):
        realism.load(tmp_path / "x.safetensors")


def test_a_learned_variance_stays_as_it_is(tmp_path):
    realism.save(build_noised(ABOUT), ABOUT, tmp_path / "m.safetensors")
    seen = []
    scheduler = diffusers.DDPMScheduler(variance_type="learned_range")
    scheduler.step = lambda output, timestep, sample: seen.append(output)
    steer(SimpleNamespace(scheduler=scheduler), tmp_path / "m.safetensors", 1.0, "cpu")
    output, sample = torch.randn(2, 8, 8, 8), torch.randn(2, 4, 8, 8)
    scheduler.step(output, 500, sample)
    assert torch.equal(seen[0][:, 4:], output[:, 4:])
    assert not torch.equal(seen[0][:, :4], output[:, :4])


def test_a_classifier_of_other_noise_or_size_is_refused(tmp_path):
    realism.save(build_noised(ABOUT), ABOUT, tmp_path / "m.safetensors")
    flow = SimpleNamespace(scheduler=diffusers.FlowMatchEulerDiscreteScheduler())
    with pytest.raises(UserError, match="knows the noise of diffusion models, and FlowMatch"):
        steer(flow, tmp_path / "m.safetensors", 1.0, "cpu")
    scheduler = diffusers.DDIMScheduler()
    scheduler.set_timesteps(5)
    steer(SimpleNamespace(scheduler=scheduler), tmp_path / "m.safetensors", 1.0, "cpu")
    packed = torch.zeros(1, 16, 16)
    with pytest.raises(UserError, match="pipelines that pack their latents cannot be steered"):
        scheduler.step(packed, scheduler.timesteps[0], packed)


SIDE = 16


def source(folder, level, count, seed):
    """Images that are light on the left or on the right: norms leave no mean of the whole."""
    rng = np.random.default_rng(seed)
    with ShardWriter(folder / "00000.tar", "png") as writer:
        for i in range(count):
            image = rng.normal(128, 15, (SIDE, SIDE, 3))
            image += level * np.linspace(-1, 1, SIDE)[:, None]
            image = np.clip(image, 0, 255).astype(np.uint8)
            writer.add(Sample(f"{i:03d}", 0, "all"), image)
    gather([folder / "00000.tar"], folder / "manifest.parquet")
    return folder / "manifest.parquet"


# Without batch norms, whose means take more steps than there are here.
ARCHITECTURE = {
    "family": "timm",
    "name": "vit_tiny_patch16_224",
    "options": {"img_size": 2, "patch_size": 1, "embed_dim": 32, "depth": 1, "num_heads": 2},
}
RECIPE = {"epochs": 8, "batch_size": 16, "learning_rate": 0.003, "shift": 0}


def test_only_as_many_images_as_asked_for_are_encoded(tmp_path, monkeypatch):
    manifests = [
        Manifest(source(tmp_path / name, level, 20, seed))
        for seed, (name, level) in enumerate({"real": 0.2, "made": 0.8}.items())
    ]
    given = []

    def counted(images, *rest):
        given.append(len(images))
        return encoded(images, *rest)

    monkeypatch.setattr(realism_training, "encoded", counted)
    found = encode(manifests, 18, 8, None, torch.device("cpu"), tmp_path / "cache")
    assert given == [1, 16, 2, 16, 2]  # the first tells the shape
    sides = [EncodedImages(manifest, 8)[:18] for manifest in manifests]
    expected = [encoded(images, None, torch.device("cpu")).numpy() for images in sides]
    np.testing.assert_array_equal(found, np.concatenate(expected))
    assert isinstance(found, np.memmap)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_pipeline):
    """A classifier of noised latents of such images, for a tiny SD 1.5."""
    folder = tmp_path_factory.mktemp("realism")
    paths = {
        (side, split): source(folder / side / split, level, count, seed)
        for side, level in [("real", 100), ("generated", -100)]
        for split, count, seed in [("train", 48, 0), ("val", 16, 1)]
    }
    pipeline = folder / "pipeline"
    shutil.copytree(tiny_pipeline("sd15"), pipeline)
    # Random weights shrink images to almost nothing; a trained autoencoder's latents have about
    # unit variance.
    vae, _ = load_parts(pipeline, None)
    grey = np.random.default_rng(0).integers(0, 256, (8, 1, 1, 3)).astype(np.uint8)
    means = (
        vae.eval()
        .encode(
            torch.from_numpy(grey.repeat(SIDE, 1).repeat(SIDE, 2)).permute(0, 3, 1, 2).float()
            / 127.5
            - 1
        )
        .latent_dist.mean.detach()
    )
    told = json.loads((pipeline / "vae/config.json").read_text())
    told |= {"scaling_factor": float(1 / means.std()), "shift_factor": float(means.mean())}
    (pipeline / "vae/config.json").write_text(json.dumps(told))
    options = generator_options(
        image_size=SIDE, guidance_scale=1.0, steps=4, scheduler="DDIMScheduler"
    )

    def train(name, **more):
        words = ["--pipeline", pipeline, "--generator", json.dumps(options)]
        for side in ("real", "generated"):
            words += [f"--{side}", paths[side, "train"], paths[side, "val"]]
        words += ["--architecture", json.dumps(ARCHITECTURE), "--recipe", json.dumps(RECIPE)]
        told = {"seed": 0, "threads": 1, "gpus": 0, "checkpoint-seconds": 0, "log": folder / "log"}
        told |= {"scratch": folder / f"{name}.scratch", "model": folder / f"{name}.safetensors"}
        told |= {"history": folder / f"{name}.parquet"} | more
        for key, value in told.items():
            words += [f"--{key}", value]
        before = torch.get_deterministic_debug_mode()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["train_realism.py"])  # which names the scratch folder
            train_realism.main(train_realism.options().parse_args([str(word) for word in words]))
        torch.set_deterministic_debug_mode(before)
        return told["model"]

    return SimpleNamespace(model=train("a"), train=train, pipeline=pipeline, options=options,
                           paths=paths, folder=folder)  # fmt: skip


def test_a_network_of_another_size_is_refused(trained):
    small = ARCHITECTURE | {"options": ARCHITECTURE["options"] | {"img_size": 8}}
    with pytest.raises(UserError, match=r"cannot see samples of 2 x 2 .*set its options"):
        trained.train("c", architecture=json.dumps(small))


def test_latents_that_are_no_numbers_are_refused(trained, monkeypatch):
    monkeypatch.setattr(
        realism_training, "encoded", lambda images, *_: torch.full((len(images), 4, 2, 2), np.inf)
    )
    with pytest.raises(UserError, match=r"images 0 to 15 are NaN or infinite in float16"):
        trained.train("d")


def test_left_is_told_from_right_through_noise(trained):
    import pyarrow.parquet as pq

    history = pq.read_table(trained.folder / "a.parquet")
    assert max(history["val_top1"].to_pylist()) > 0.7


def test_a_stopped_training_goes_on_to_the_same_bits(trained, monkeypatch):
    from synthgap.checkpoint import Checkpoint

    save, saved = Checkpoint.save, []

    def save_and_stop(self, state):
        save(self, state)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        trained.train("b")
    monkeypatch.undo()
    assert trained.train("b").read_bytes() == trained.model.read_bytes()


def images(trained, scale, seeds=range(6)):
    options = trained.options | {"realism": scale}
    model = TextToImage(trained.pipeline, options, "cpu", realism=trained.model)
    return model.generate(["a"] * len(seeds), list(seeds)).pixels


def test_guidance_leads_to_what_the_classifier_takes_for_real(trained):
    plain, steered = images(trained, 0), images(trained, 20.0)
    unguided = TextToImage(trained.pipeline, trained.options, "cpu")
    assert (unguided.generate(["a"] * 6, list(range(6))).pixels == plain).all()
    model, _ = realism.load(trained.model)
    vae, _ = load_parts(trained.pipeline, None)
    vae.eval()

    def real(pixels):
        latents = encoded(pixels, vae, torch.device("cpu")).float()
        with torch.no_grad():
            logits = model(realism.with_level(latents, torch.zeros(len(latents))))
        return logits.log_softmax(1)[:, CLASSES.index("real")].mean()

    assert real(steered) > real(plain)
    # An image does not depend on the others of its batch.
    apart = images(trained, 20.0, [3])
    assert np.abs(apart[0].astype(int) - steered[3]).max() <= 1


def test_how_the_guiding_classifier_judges(trained):
    found = {}
    for side in ("real", "generated"):
        out = trained.folder / f"{side}.json"
        words = ["--model", trained.model, "--pipeline", trained.pipeline]
        words += ["--generator", json.dumps(trained.options), "--seed", 0, "--threads", 1]
        words += ["--images", trained.paths[side, "val"], "--gpus", 0, "--output", out]
        words += ["--log", trained.folder / "log"]
        measure_realism.main(measure_realism.options().parse_args([str(word) for word in words]))
        ((measure,), _) = read_measures(out)
        assert (measure.metric, measure.n) == ("share_called_fake", 16)
        found[side] = measure.value
    assert found["real"] < 0.4
    assert found["generated"] > 0.6
