"""How much memory a job asks for at first; one that needs more gets it in its next attempt."""

from synthgap.config import SPLITS, Config
from synthgap.config.captioners import caption_models
from synthgap.config.generators import presets

# Python, torch and the libraries around them, with room.
BASE_MB = 4000
UNKNOWN_MB = 64_000


def generator_mb(config: Config, name: str) -> int:
    """Return MB of main memory for a generator: its weights pass through it on their way."""
    generator = config.generators[name]
    if generator.edm:
        return BASE_MB
    if generator.trained:
        encoder = config.text_encoders[config.trained_models[generator.trained].text_encoder]
        return BASE_MB if encoder.made_here else UNKNOWN_MB
    if generator.preset:
        return BASE_MB + int(1500 * presets()[generator.preset].download_gb)
    return UNKNOWN_MB


def trained_mb(config: Config, name: str) -> int:
    """Return MB of a node for training: the text encoder goes into the pipeline at the end."""
    model = config.trained_models[name]
    room = 1000 if config.text_encoders[model.text_encoder].made_here else UNKNOWN_MB
    return model.processes // model.nodes * BASE_MB + room


def captioner_mb(config: Config) -> int:
    """Return MB of main memory for captioning: a model's weights pass through it."""
    captioner = config.captioner
    if captioner.kind != "transformers":
        return 1000 if captioner.kind == "service" else 2000
    known = caption_models().get(captioner.model)
    return BASE_MB + int(1500 * known.download_gb) if known else UNKNOWN_MB


def training_mb(config: Config) -> int:
    """Return MB of main memory for training a classifier.

    Its images are mapped from a file, and so need not all fit; where they do, no disk is read.
    """
    classes = config.real.known_classes
    if classes is None:
        return UNKNOWN_MB
    images = classes * sum(config.synthetic.samples_per_class[split] for split in SPLITS)
    return BASE_MB + images * 3 * config.real.image_size**2 // 10**6
