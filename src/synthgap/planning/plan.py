"""Jobs, images, hours and storage of every stage, from a config and from what was measured."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from synthgap.config import SPLITS, Config
from synthgap.config.generators import presets

# Bytes a pixel of natural images at 256 to 512 pixels, by codec: rules of thumb for the storage
# of images that do not exist yet.
BYTES_A_PIXEL = {"png": 2.0, "webp": 1.4, "jpeg": 0.6}
# Below, starting up outweighs the work; above, much is lost when a job dies.
SHORT_JOB, LONG_JOB = 5 / 60, 1.0


@dataclass(frozen=True)
class Measured:
    """What finished jobs of a stage came to.

    Attributes:
        done: finished jobs.
        hours_a_job: mean of the finished ones.
        images_per_second: of the device, without start-up; None if not known.
        device: where that was.
        bytes_an_image: in the tar.
    """

    done: int = 0
    hours_a_job: float | None = None
    images_per_second: float | None = None
    device: str = ""
    bytes_an_image: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of the plan; None is what cannot be known yet.

    Attributes:
        stage: the rule.
        what: source, view, classifier, model.
        jobs: all, of which `done` are finished.
        images: of all jobs; of a training, those that pass through in all epochs.
        images_per_second: on `device`, with its `basis`: measured, published or estimated.
        hours: of the device, for the jobs that are left.
        hours_a_job: of the device.
        gb: storage of all jobs, in 10^9 bytes.
        note: what to know of it.
    """

    stage: str
    what: str
    jobs: int
    done: int = 0
    images: int | None = None
    images_per_second: float | None = None
    device: str = ""
    basis: str = ""
    source: str = ""
    hours_a_job: float | None = None
    gb: float | None = None
    note: str = ""

    @property
    def hours(self) -> float | None:
        """Hours of the device for the jobs that are left."""
        left = self.jobs - self.done
        return 0.0 if left == 0 else self.hours_a_job and self.hours_a_job * left

    @property
    def on_gpu(self) -> bool:
        """Whether the hours are those of a GPU."""
        return self.device not in ("", "cpu")


@cache
def speeds() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the table of known speeds: stage, then what, then the figure and its source."""
    import yaml

    table: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(
        Path(__file__).with_name("speeds.yaml").read_bytes()
    )
    return table


def plan(
    config: Config,
    measured: Mapping[tuple[str, str], Measured],
    *,
    classes: int | None,
    real_images: Mapping[str, int],
) -> list[Row]:
    """Return the plan's rows, in the order of the work.

    Args:
        measured: what is known from finished jobs, by stage and what.
        classes: number of classes, if known.
        real_images: real images a split, if known.
    """
    rows = [*_models(config), *_images(config, classes, real_images)]
    rows += _classifiers(config, classes, real_images)
    return [_measured(row, measured.get((row.stage, row.what))) for row in rows]


def wall_hours(rows: list[Row], gpus: int) -> float:
    """Return the hours that the GPU jobs take on `gpus` at once, packed one behind the other."""
    gpu_rows = [row for row in rows if row.on_gpu and row.hours]
    longest = max((row.hours_a_job or 0.0 for row in gpu_rows), default=0.0)
    return max(sum(row.hours or 0.0 for row in gpu_rows) / gpus, longest)


def _measured(row: Row, found: Measured | None) -> Row:
    """Put what was measured in a row in place of what was assumed."""
    if found is None:
        return row
    known: dict[str, Any] = {"done": min(found.done, row.jobs)}
    if found.images_per_second and row.images:
        hours = row.images / row.jobs / found.images_per_second / 3600
        known |= {
            "images_per_second": found.images_per_second, "device": found.device,
            "basis": "measured", "source": "finished shards", "hours_a_job": hours,
        }  # fmt: skip
    elif found.hours_a_job:
        known |= {"basis": "measured", "source": "finished jobs", "hours_a_job": found.hours_a_job}
        known |= {} if row.device else {"device": found.device}
    if found.bytes_an_image and row.images:
        known["gb"] = row.images * found.bytes_an_image / 1e9
    return Row(**vars(row) | known)


def _models(config: Config) -> Iterator[Row]:
    seen = set()
    for name, generator in config.generators.items():
        folder = generator.hub_model and config.download_name(name)
        if not folder or folder in seen:
            continue
        seen.add(folder)
        size, note = None, "size unknown: no preset"
        if generator.preset:
            preset = presets()[generator.preset]
            size, note = preset.download_gb, preset.license
            if preset.gated:
                note += f"; gated: accept it at https://huggingface.co/{preset.model}, set HF_TOKEN"
        yield Row("download_model", config.resolved(name).model or "", 1, gb=size, note=note)
    for name in config.trained_models:
        yield Row("train_generator", name, 1, device="cpu")


def _images(config: Config, classes: int | None, real: Mapping[str, int]) -> Iterator[Row]:
    pixels, codec = config.real.image_size**2, config.real.image_format
    size = pixels * BYTES_A_PIXEL[codec] / 1e9
    total = sum(real.values()) if real else None
    shards = config.real.shards
    jobs = sum(shards[split] for split in SPLITS)
    yield Row("prepare_real", "real", jobs, images=total, device="cpu", gb=total and total * size)
    if "caption" in config.synthetic.prompts or config.trained_models:
        kind = config.captioner.kind
        yield Row("caption_images", kind, shards.train, images=real.get("train"), device="cpu")
    for source in config.sources:
        yield _generation(config, source, classes, size)
    for pattern in config.composites:
        n = real.get("train")
        yield Row(
            "composite_images", f"cutmix-{pattern}", shards.train, images=n, device="cpu",
            gb=n and n * size,
        )  # fmt: skip
    sources = ["real", *config.sources]
    lossless = pixels * BYTES_A_PIXEL["png"] / 1e9
    for view in config.views:
        whole = [(s, split) for s in sources for split in SPLITS]
        parts = whole if view in config.used_views else [("real", "test")]
        counts = [images_of(config, s, split, classes, real) for s, split in parts]
        n = None if None in counts else sum(filter(None, counts))
        jobs = sum(config.shards_of(s)[split] for s, split in parts)
        yield Row("derive_view", view, jobs, images=n, device="cpu", gb=n and n * lossless)


def images_of(
    config: Config, source: str, split: str, classes: int | None, real: Mapping[str, int]
) -> int | None:
    """Return the images of a source and split, or None where they cannot be known yet."""
    if source not in config.sources:
        return real.get(split)
    return None if classes is None else classes * config.synthetic.samples_per_class[split]


def _generation(config: Config, source: str, classes: int | None, size: float) -> Row:
    name = config.sources[source][0]
    generator, preset_name = config.resolved(name), config.generators[name].preset
    shards = config.shards_of(source)
    jobs = sum(shards[split] for split in SPLITS)
    counts = [images_of(config, source, split, classes, {}) for split in SPLITS]
    images = None if None in counts else sum(filter(None, counts))
    row: dict[str, Any] = {
        "stage": "generate_images",
        "what": source,
        "jobs": jobs,
        "images": images,
        "gb": images and images * size,
    }
    if preset_name is None:
        device = "cpu" if config.generators[name].trained else ""
        return Row(**row, device=device, note="speed unknown until a shard is done")
    known, preset = speeds()["generate_images"][preset_name], presets()[preset_name]
    assert generator.steps is not None
    assert generator.image_size is not None
    binned = preset.binned_size if generator.arguments.get("use_resolution_binning", True) else None
    side = max(generator.image_size, binned or 0)
    # Work grows with steps and, roughly, with pixels.
    work = generator.steps / known["steps"] * (side / known["image_size"]) ** 2
    speed = known["images_per_second"] / work
    hours = images / jobs / speed / 3600 if images else None
    note = ""
    # Of the training split, whose jobs are most of the work.
    train = images_of(config, source, "train", classes, {})
    job = train / shards.train / speed / 3600 if train else None
    if job and job > LONG_JOB:
        better = math.ceil(shards.train * job / (LONG_JOB / 2))
        note = f"{job:.1f} h a training shard; shards: {{train: {better}}} makes it half an hour"
    elif job and job < SHORT_JOB and shards.train > 1:
        note = f"{job * 60:.1f} min a training shard; fewer shards would do"
    return Row(
        **row, images_per_second=speed, device=known["device"], basis=known["basis"],
        source=known["source"], hours_a_job=hours, note=note,
    )  # fmt: skip


def _classifiers(config: Config, classes: int | None, real: Mapping[str, int]) -> Iterator[Row]:
    transfer, distinguish = config.studies.transfer, config.studies.distinguish
    sources = ["real", *config.sources]
    trainings = {
        (source, probe.view, probe.classifier, seed)
        for probe in transfer.probes.values() for source in sources for seed in probe.seeds
    }  # fmt: skip
    pairs = {
        (f"real+{source}", distinguish.view, distinguish.classifier, seed)
        for source in sources for seed in distinguish.seeds
    }  # fmt: skip
    both = classes and 2 * classes * distinguish.images_per_class.train
    counted = [(one, images_of(config, one[0], "train", classes, real)) for one in trainings]
    counted += [(one, both) for one in pairs]
    for name, classifier in config.classifiers.items():
        images = [n for (_, _, used, _), n in counted if used == name]
        if not images:
            continue
        seen = None
        if None not in images:
            seen = sum(filter(None, images)) * classifier.recipe.epochs
        known = speeds()["train_classifier"].get(getattr(classifier.architecture, "name", ""))
        row: dict[str, Any] = {
            "stage": "train_classifier",
            "what": name,
            "jobs": len(images),
            "images": seen,
        }
        if known and config.real.image_size >= 160:
            speed = known["images_per_second"]
            hours = seen / len(images) / speed / 3600 if seen else None
            yield Row(
                **row, images_per_second=speed, device=known["device"], basis=known["basis"],
                source=known["source"], hours_a_job=hours,
            )  # fmt: skip
        else:
            yield Row(**row, note="speed unknown until one is trained")
        yield Row("evaluate_classifier", name, len(images))
    yield Row("extract_features", transfer.encoder, len(sources) + 1)
    yield Row("measure_distribution", "transfer", len(sources))
