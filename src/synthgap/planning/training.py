"""Rows of a plan: text-to-image models that are trained here, with what that may take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from synthgap.config import Config
from synthgap.config.text_to_image import CADDenoiser, TrainedModel
from synthgap.planning.rows import Row
from synthgap.prompts import NEEDS_CAPTION

if TYPE_CHECKING:
    from synthgap.planning.plan import Plan

# Dense bfloat16 of an H100, and the share of it that training is taken to reach.
PEAK, REACHED = 989e12, 0.3
DEVICE = "H100"
# Tokens of a caption of 200 at most, cut at its last full stop, and of a class name.
WORDS, FEW_WORDS = 150, 10
# Of a published autoencoder's latents, as of Stable Diffusion's; of T5's states, by how names end.
CHANNELS = 4
WIDTHS = {"small": 512, "base": 768, "large": 1024, "xl": 2048, "xxl": 4096}


def trained_models(plan: Plan) -> Iterator[Row]:
    """Yield the rows of encoding images and texts, and of training on them."""
    config = plan.config
    models = config.trained_models.values()
    for name in dict.fromkeys(model.autoencoder for model in models):
        if config.autoencoders[name].made_here:
            yield plan.jobs("train_autoencoder", name, 1)
        sources = {s for m in models if m.autoencoder == name for s in m.learns_from.values()}
        shards = sum(config.shards_of(source)["train"] for source in sources)
        row = plan.jobs("encode_latents", name, shards)
        yield row.changed(gb=_gb_of_latents(plan, name, sources))
    for name in dict.fromkeys(model.text_encoder for model in models):
        if config.text_encoders[name].made_here:
            yield plan.jobs("build_text_encoder", name, 1)
        learnt = {
            (source, kind)
            for model in models
            if model.text_encoder == name
            for source in model.learns_from.values()
            for kind in model.kinds_of(source)
        }
        shards = sum(config.shards_of(source)["train"] for source, _ in learnt)
        row = plan.jobs("encode_texts", name, shards)
        yield row.changed(gb=_gb_of_texts(plan, name, learnt))
    for name, model in config.trained_models.items():
        images = model.steps * model.batch_size
        row = plan.jobs("train_generator", name, 1, images)
        if row.hours is None and model.precision == "bfloat16":
            operations = training_operations(config, model)
            speed = REACHED * PEAK / operations
            told = f"{operations / 1e12:.2f} TFLOP an image at {REACHED:.0%} of 989 TFLOP/s"
            known = {"device": DEVICE, "basis": "estimated", "source": told}
            hours = images / speed / 3600
            row = plan.figured(row, known, speed, hours, hours / model.processes)
        yield row


def _gb_of_latents(plan: Plan, name: str, sources: Iterable[str]) -> float | None:
    """Return the storage of mean and deviation in half precision; None where images are unknown."""
    config, one = plan.config, plan.config.autoencoders[name]
    values = (
        getattr(one, "latent_channels", CHANNELS) * (config.real.image_size // one.shrinks) ** 2
    )
    images = [plan.images_of(source, "train") for source in sources]
    return None if None in images else sum(filter(None, images)) * values * 2 * 2 / 1e9


def _gb_of_texts(plan: Plan, name: str, learnt: Iterable[tuple[str, str]]) -> float | None:
    """Return the storage of a text encoder's states; None where images or width are unknown.

    Class names are stored once a shard.
    """
    config, one = plan.config, plan.config.text_encoders[name]
    width = getattr(one, "width", 0) or WIDTHS.get(getattr(one, "model", "").rpartition("-")[2])
    words = 0
    for source, kind in learnt:
        images = plan.images_of(source, "train")
        if images is None or width is None:
            return None
        if kind in NEEDS_CAPTION:
            words += images * min(WORDS, one.max_tokens)
        else:
            shards = config.shards_of(source)["train"]
            words += min(images, (plan.classes or images) * shards) * FEW_WORDS
    return words * (width or 0) * (4 if one.dtype == "float32" else 2) / 1e9


def training_operations(config: Config, model: TrainedModel) -> float:
    """Return floating-point operations of learning from one image, forward and backward.

    Six for each weight that a token passes and for each pair of tokens that attention takes into
    account; embeddings and norms are left out. CAD-I passes forward once more, for the latents that
    it goes on from.
    """
    one = model.denoiser
    side = config.real.image_size // config.autoencoders[model.autoencoder].shrinks
    image = (side // one.patch_size) ** 2
    words = WORDS if set(model.captions) & set(NEEDS_CAPTION) else FEW_WORDS
    text = words + one.text_registers
    width = one.width
    refined = one.text_layers * _reading(text, width)
    if isinstance(one, CADDenoiser):
        latents, data = one.num_latents, one.data_width
        block = _reading(latents, width, text, width) + _reading(latents, width, image, data)
        block += one.layers * _reading(latents, width) + _reading(image, data, latents, width)
        return 6.0 * 4 / 3 * (one.num_blocks * block + refined)
    across = _reading(image, width, text, width, expansion=0)
    return 6.0 * (one.layers * (_reading(image, width) + across) + refined)


def estimated_generation(config: Config, generator: str) -> dict[str, Any] | None:
    """Return a figure for sampling from a model that is trained here, or None where there is none.

    A step passes forward once, and with guidance twice; the autoencoder is left out.
    """
    called = config.resolved(generator)
    if called.trained is None or called.dtype == "float32" or called.steps is None:
        return None
    passes = 2 if (called.guidance_scale or 0) > 1 else 1
    tries = called.search.candidates if called.search else 1
    forward = training_operations(config, config.trained_models[called.trained]) / 3
    operations = forward * passes * called.steps * tries
    told = f"{operations / 1e12:.1f} TFLOP an image at {REACHED:.0%} of 989 TFLOP/s"
    figures = {"device": DEVICE, "basis": "estimated", "source": told}
    return figures | {"images_per_second": REACHED * PEAK / operations}


def _reading(
    tokens: int, width: int, source: int | None = None, source_width: int = 0, expansion: int = 4
) -> int:
    """Return multiplications of tokens that read others, or each other, and pass a perceptron."""
    source, source_width = source or tokens, source_width or width
    inner = min(width, source_width)
    of_tokens = 2 * width * inner + 2 * expansion * width**2
    return tokens * of_tokens + source * 2 * source_width * inner + 2 * inner * tokens * source


def recognition(config: Config) -> list[tuple[str, str, str, int]]:
    """Return the trainings on real images that study `text_to_image` asks for."""
    study = config.studies.text_to_image
    if study is None or study.classifier is None:
        return []
    return [("real", "rgb", study.classifier, seed) for seed in study.seeds]
