"""What a dataset card says of a source that its shards do not tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthgap.config.generators import presets
from synthgap.config.sources import IMAGES

if TYPE_CHECKING:
    from synthgap.config import Config

# Of data sets that are built in. UCI's page of the digits states it; CIFAR-10's states none.
REAL_LICENCES = {"digits": "cc-by-4.0"}
REAL_NAMES = {
    "digits": "the digits of scikit-learn (UCI's Optical Recognition of Handwritten Digits)",
    "cifar10": "CIFAR-10 (Krizhevsky 2009)",
}
PROMPTS = {
    "classname": "the class name alone",
    "caption": "the class name and the caption of a real image of the same split",
    "aio": '"An image of" and the class name',
    "long": "the caption of a real image of the same split",
    "faces": "descriptions of portraits, whatever the class",
}
TOOL = "synthgap, which made this data set: see CITATION.cff of its repository."


def card(config: Config, source: str) -> dict[str, Any]:
    """Return what a source's dataset card is to tell, besides numbers and versions."""
    if source == "real":
        told = _real(config)
    elif source not in config.sources:
        told = _composites(config, source)
    elif config.sources[source][1] == IMAGES:
        told = _image_set(config, source)
    else:
        told = _generated(config, source)
    shared = {
        "source": source,
        "results": config.results,
        "image_size": config.real.image_size,
        "image_format": config.real.image_format,
        "real_license": real_licence(config),
        "license_link": None,
        "gated": False,
        "conditioned": _conditioned(config),
    }
    return shared | told


def real_licence(config: Config) -> str | None:
    """Return the licence of the real images: the config's, or that of a built-in data set."""
    return config.real.license or REAL_LICENCES.get(config.real.dataset)


def _real_name(config: Config) -> str:
    real = config.real
    # Where it lies on the author's machine is nobody's business.
    return REAL_NAMES.get(real.dataset, f"`{Path(real.folder or '').name}` ({real.dataset})")


def _conditioned(config: Config) -> str:
    return f"Their classes are those of the real images, {_real_name(config)}."


def _real(config: Config) -> dict[str, Any]:
    real = config.real
    return {
        "made_by": "real",
        "summary": f"Real images: {_real_name(config)}, cropped to the central square, resized "
        "and sorted into splits. Synthetic sources of the same study are compared with them.",
        "license": real_licence(config),
        "license_of": "Of the images, as whoever made this data set stated it",
        "license_option": "real.license",
        "facts": [
            f"From {_real_name(config)}.",
            f"Cropped to the largest central square, resized (bicubic) to {real.image_size} "
            f"pixels, encoded as {real.image_format}.",
            f"Splits were drawn by the seed {config.seed}.",
        ],
        "limits": [
            "Labels are those of the folder or data set that the images came from.",
            "What was outside of the central square is gone, and at this size fine detail is.",
            "Nobody looked for people, private data or duplicates in these images.",
        ],
        "cite": [f"The real images: {_real_name(config)}.", TOOL],
    }


def _composites(config: Config, source: str) -> dict[str, Any]:
    pattern = source.removeprefix("cutmix-")
    return _real(config) | {
        "made_by": "composite",
        "summary": f"CutMix composites (pattern `{pattern}`) of the real training images of a "
        "study: a part of one image lies in another.",
        "facts": [
            f"From the training images of {_real_name(config)}.",
            f"Composed by the pattern `{pattern}`, drawn by the seed {config.seed}. `details` in "
            "KEY.json names both images and the place.",
        ],
        "limits": [
            "The label is that of the image underneath; the other's is in KEY.json.",
            "Edges are hard: a classifier can see them.",
        ],
    }


def _image_set(config: Config, source: str) -> dict[str, Any]:
    one = config.image_sets[source]
    folder = f"`{Path(one.folder).name}`"
    return {
        "made_by": "image_set",
        "summary": f"Generated images that were there before the study, from {folder}, "
        "cropped to the central square and resized as the real images were.",
        "license": one.license,
        "license_of": "Of the images, as whoever made this data set stated it",
        "license_option": f"image_sets.{source}.license",
        "facts": [
            f"From {folder} ({one.dataset}); how they were generated is not known here.",
            f"Drawn and sorted into splits by the seed {config.seed}.",
            *([f"The generator was released on {one.released}."] if one.released else []),
        ],
        "limits": [
            "Labels are those of the folders or files that the images came from.",
            "Nobody looked for people or unwanted content in these images.",
        ],
        "cite": ["The generator that made the images.", TOOL],
    }


def _generated(config: Config, source: str) -> dict[str, Any]:
    name, kind = config.generated[source]
    written, whole = config.generators[name], config.resolved(name)
    preset = presets()[written.preset] if written.preset else None
    title = preset.title if preset else (written.model or name)
    licence = written.license or (preset.license if preset else None)
    hub = config.hub_model(name)
    facts = [
        f"Generator: {title}{_origin(config, name)}.",
        f"{whole.steps} steps"
        + (f", guidance scale {whole.guidance_scale:g}" if whole.guidance_scale is not None else "")
        + (f", scheduler {whole.scheduler}" if whole.scheduler else "")
        + f", rendered at {whole.image_size} pixels in {whole.dtype}"
        + (
            f", stored at {config.real.image_size}"
            if whole.image_size != config.real.image_size
            else ""
        )
        + ".",
        *([f"Further arguments: `{json.dumps(whole.arguments)}`."] if whole.arguments else []),
        f"Told {'class numbers' if written.told_classes else PROMPTS[kind]}."
        + (_captioner(config) if kind in ("caption", "long") else ""),
        f"Seeds: each image's is in KEY.json, a hash of the study's seed {config.seed}, this "
        "source, class and index.",
        f"Classes are those of {_real_name(config)}.",
    ]
    if written.preset and written.settings == "paper":
        facts.append("Settings are those of the public code of “When Pretty Isn't Useful”.")
    if written.realism:
        facts.append(
            f"Steered towards real images by a classifier of noised images, scale "
            f"{written.realism.scale:g}."
        )
    if written.search:
        facts.append(
            f"Of {written.search.candidates} images of each prompt the one that the scorer "
            f"{written.search.scorer} liked best."
        )
    limits = [
        "The label is the class that was asked for; nobody checked that it is what an image shows.",
        "The images share the generator's biases, and need not be as diverse as real ones.",
        "Nobody looked for people, text or unwanted content in these images.",
    ]
    if written.trained or written.edm:
        limits.append(
            "The generator was trained on this study's own images and may repeat some of them: "
            "see `replication` in the study's report."
        )
    return {
        "made_by": "generator",
        "summary": f"Images that {title} made of {PROMPTS[kind]}, in the classes of "
        f"{_real_name(config)}.",
        "license": licence,
        "license_of": f"Of the generator, {title}",
        "license_link": f"https://huggingface.co/{preset.model}" if preset else None,
        "license_option": f"generators.{name}.license",
        "gated": bool(preset and preset.gated),
        "hub": hub.name if hub and licence is None else None,
        "facts": facts,
        "limits": limits,
        "cite": [
            f"The generator: {title}" + (f", https://huggingface.co/{hub.model}." if hub else "."),
            f"The real images: {_real_name(config)}.",
            TOOL,
        ],
    }


def _origin(config: Config, name: str) -> str:
    """Return where a generator is from: the hub, a folder, or a training of the study."""
    written, whole = config.generators[name], config.resolved(name)
    if written.trained:
        model = config.trained_models[written.trained]
        steps = written.step or model.steps
        return (
            f", a {model.denoiser.kind} trained on the study's real training images for {steps} "
            f"steps of {model.batch_size} (captions: {', '.join(model.captions)}; augmentation: "
            f"{model.augmentation})"
        )
    if written.edm:
        edm = config.edm_models[written.edm]
        learnt = [f"{edm.images or 'all'} real training images"]
        learnt += [f"{part.images} of {part.source}" for part in edm.synthetic]
        return f", trained in EDM's framework on {' and '.join(learnt)}, {edm.kimg:g} kimg"
    preset = f", preset `{written.preset}`" if written.preset else ""
    revision = f" at revision {whole.revision}" if whole.revision else ""
    return f"{preset}, `{whole.model}`{revision}"


def _captioner(config: Config) -> str:
    return f" Captions are by {config.captioner.label}."
