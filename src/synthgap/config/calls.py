"""What the commands that call a generator need to know of it, and which code shapes its images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synthgap.diffusion import DENOISER_MODULES
from synthgap.scorers import modules_of as scorer_modules

if TYPE_CHECKING:
    from synthgap.config import Config

# What of a generator shapes an image; the rest says where it comes from and when it is given up.
CALL_OPTIONS = {
    "model",
    "revision",
    "variant",
    "trust_remote_code",
    "dtype",
    "guidance_scale",
    "guidance_argument",
    "steps",
    "image_size",
    "scheduler",
    "arguments",
    "batch_size",
    "attempts",
    "compile",
    "channels_last",
    "vae_slicing",
    "offload",
}


def generator_options(config: Config, name: str) -> dict[str, Any]:
    """Return what `generate_images` needs to know of a generator, defaults resolved."""
    options = config.resolved(name).model_dump(mode="json", include=CALL_OPTIONS)
    # One size and codec for all sources: a classifier would tell them apart by these.
    options["stored_size"] = config.real.image_size
    options["image_format"] = config.real.image_format
    if (labels := config.generators[name].class_labels) is not None:
        options["class_labels"] = labels
    if (realism := config.generators[name].realism) is not None:
        options["realism"] = realism.scale
    if (search := config.generators[name].search) is not None:
        scorer = config.scorers[search.scorer]
        options["search"] = {
            "candidates": search.candidates,
            "scorer": scorer.options(),
            "roles": sorted(scorer.roles),
        }
    trained = config.generators[name].trained
    if trained is not None:
        text_encoder = config.trained_models[trained].text_encoder
        # The PixArt pipeline's defaults are for large images and web captions.
        options["arguments"] = {
            "max_sequence_length": config.text_encoders[text_encoder].max_tokens,
            "use_resolution_binning": False,
            "clean_caption": False,
            **options["arguments"],
        }
    return options


def generation_modules(config: Config, name: str) -> list[str]:
    """Return the modules that shape a generator's images and are found by their names."""
    generator = config.generators[name]
    found = ["synthgap.diffusion.realism"] if generator.realism else []
    if generator.search:
        scorer = config.scorers[generator.search.scorer]
        found += ["synthgap.generators.search", *scorer_modules(scorer.options())]
    if generator.trained is not None:
        found.append(DENOISER_MODULES[config.trained_models[generator.trained].denoiser.kind])
    return found
