"""Jobs, images, hours and storage of every stage, from a config and from what was measured."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from synthgap.classifiers.recipe import Recipe
from synthgap.config import SPLITS, Config, about
from synthgap.config.captioners import caption_models
from synthgap.config.comparisons import METADATA
from synthgap.config.encoders import encoder_models
from synthgap.config.generators import Generator, presets
from synthgap.config.studies import LINEAR
from synthgap.config.views import depth_models
from synthgap.hub import HubModel
from synthgap.planning.benchmarks import benchmark_rows
from synthgap.planning.captions import caption_rows
from synthgap.planning.edm import casd_rows, counting, edm_models, estimated_sampling
from synthgap.planning.rows import BYTES_A_PIXEL, Measured, Row, speeds
from synthgap.planning.training import estimated_generation, recognition, trained_models
from synthgap.weights import WeightFile

# Data set, view, classifier, seed.
Training = tuple[str, str, str, int]

# Below, starting up outweighs the work; above, much is lost when a job dies.
SHORT_JOB, LONG_JOB = 5 / 60, 1.0


def wall_hours(rows: Iterable[Row], gpus: int) -> float:
    """Return the hours that the GPU jobs take on `gpus` at once, packed one behind the other."""
    left = [row for row in rows if row.on_gpu and row.hours]
    longest = max((row.longest or 0.0 for row in left), default=0.0)
    return max(sum(row.hours or 0.0 for row in left) / gpus, longest)


class Plan:
    """The plan of one config.

    Args:
        measured: what is known from finished jobs, by stage and what.
        classes: number of classes, if known.
        real: real images a split, if known.
    """

    def __init__(
        self,
        config: Config,
        measured: Mapping[tuple[str, str], Measured],
        classes: int | None,
        real: Mapping[str, int],
    ) -> None:
        self.config, self.measured, self.classes, self.real = config, measured, classes, real
        self.sources = ["real", *config.compared_sources]
        self.pixels = config.real.image_size**2

    def rows(self) -> list[Row]:
        """Return the rows in the order of the work."""
        return [*self._models(), *self._images(), *self._views(), *self._classifiers()]

    def images_of(self, source: str, split: str) -> int | None:
        """Return the images of a source and split, or None where they cannot be known yet."""
        if source not in self.config.sources:
            return self.real.get(split)
        wanted = self.config.samples_of(source)[split]
        return None if self.classes is None else self.classes * wanted

    def _models(self) -> Iterator[Row]:
        about = self._about_downloads()
        for file in self.config.weight_files.values():
            size, note = about.get(file.name, (None, "size unknown"))
            done = self._found("download_file", file.name).done.get("", 0)
            yield Row("download_file", file.name, 1, done, hours=0.0, gb=size, note=note)
        for model in self.config.hub_models.values():
            size, note = about.get(model.name, (None, "size unknown: no preset"))
            done = self._found("download_model", model.label).done.get("", 0)
            yield Row("download_model", model.label, 1, done, hours=0.0, gb=size, note=note)
        yield from trained_models(self)
        yield from edm_models(self)

    def _kind(self, view: str) -> str:
        return "rgb" if view == "rgb" else self.config.views[view].kind

    def _in_view(self, images: int | None, view: str) -> int | None:
        """Return how many samples a view makes of some images."""
        return images and images * getattr(self.config.views.get(view), "count", 1)

    def _about_downloads(self) -> dict[str, tuple[float, str]]:
        """Return size in GB and licence of what is downloaded, by folder, where it is known."""
        known = {}
        for name, generator in self.config.generators.items():
            model = self.config.hub_model(name)
            if model and generator.preset:
                preset = presets()[generator.preset]
                page = f"https://huggingface.co/{model.model}"
                gated = f"; gated: accept it at {page}, set HF_TOKEN" if preset.gated else ""
                known[model.name] = (preset.download_gb, preset.license + gated)
        captioner = self.config.captioner
        if captioner.hub_model and captioner.label in caption_models():
            told = caption_models()[captioner.label]
            known[captioner.hub_model.name] = (told.download_gb, told.license)
        for view in self.config.depth_views.values():
            if view.hub_model and view.model in depth_models():
                depth = depth_models()[view.model]
                known[view.hub_model.name] = (depth.download_gb, depth.license)
        for name, encoder in self.config.used_encoders.items():
            built_in = encoder_models().get(getattr(encoder, "model", name))
            for part in (encoder.hub_model, encoder.weight_file):
                if part and built_in:
                    known[part.name] = (built_in.download_gb, built_in.license)
        for scorer in self.config.scorers.values():
            if scorer.model is None:
                # Of several parts the first is by far the largest.
                parts: list[HubModel | WeightFile] = [
                    *scorer.hub_models.values(),
                    *scorer.weight_files.values(),
                ]
                sizes = [scorer.known.download_gb, *[0.0] * len(parts)]
                for one, size in zip(parts, sizes, strict=False):
                    known.setdefault(one.name, (size, scorer.known.license))
        return known

    def _images(self) -> Iterator[Row]:
        config, codec = self.config, self.config.real.image_format
        yield self._shards("prepare_real", "real", [("real", split) for split in SPLITS], codec)
        yield from caption_rows(config, self.measured, self.real)
        for source in config.guided:
            yield self.jobs("train_realism", source, 1)
        for source in config.generated:
            yield self._generation(source)
        for name in config.image_sets:
            parts = [(name, split) for split in SPLITS]
            yield self._shards("prepare_images", name, parts, codec)
        yield from benchmark_rows(self)
        for pattern in config.composites:
            yield self._shards("composite_images", f"cutmix-{pattern}", [("real", "train")], codec)

    def _views(self) -> Iterator[Row]:
        for name, view in self.config.views.items():
            used = self.config.sources_in(name)
            parts: list[tuple[str, str]] = [
                (source, split) for source in used for split in self.config.splits_of(source)
            ]
            shown = [(source, "test") for source in self.config.shown_sources]
            parts += [one for one in shown if one not in parts]
            if name not in self.config.depth_views:
                yield self._shards("derive_view", name, parts, view.codec, view=name)
                continue
            row = self._shards("estimate_depth", name, parts, "depth", view=name)
            known = speeds()["estimate_depth"].get(self.config.depth_views[name].model)
            if known and row.hours is None:
                # The network's input counts, and not the image's size.
                side = self.config.depth_views[name].input_size
                speed = known["images_per_second"] * (known["image_size"] / side) ** 2
                hours, longest = self._hours(parts, "estimate_depth", speed, view=name)
                row = self.figured(row, known, speed, hours, longest)
            yield row

    def _classifiers(self) -> Iterator[Row]:
        config = self.config
        trainings: dict[Training, int | None] = {
            (source, probe.view, probe.classifier, seed): self._in_view(
                self.images_of(source, "train"), probe.view
            )
            for probe in config.transfer_probes.values()
            for source in self.sources
            for seed in probe.seeds
        }
        trainings |= self._blended() | self._compared()
        trainings |= {key: self.real.get("train") for key in recognition(self.config)}
        # What counts classes is not tested besides.
        alone = [key for key in counting(self.config) if key not in trainings]
        trainings |= {key: self.real.get("train") for key in alone}
        for name, classifier in config.classifiers.items():
            images = [
                self._an_epoch(classifier.recipe, n)
                for (_, _, used, _), n in trainings.items()
                if used == name
            ]
            if not images:
                continue
            seen = None
            if None not in images:
                seen = sum(filter(None, images)) * classifier.recipe.epochs
            known = speeds()["train_classifier"].get(getattr(classifier.architecture, "name", ""))
            row = self.jobs("train_classifier", name, len(images), images=seen)
            # The table holds for images of about its own size.
            if row.hours is None and known and config.real.image_size >= 160:
                speed, longest = known["images_per_second"], None
                if seen is not None:
                    longest = max(filter(None, images)) * classifier.recipe.epochs / speed / 3600
                row = self.figured(row, known, speed, seen and seen / speed / 3600, longest)
            yield row
            tested = len(images) - sum(used == name for _, _, used, _ in alone)
            if tested:
                yield self.jobs("evaluate_classifier", name, tested)
        yield from self._distributions()
        if config.studies.transfer:
            yield self.jobs("measure_spectrum", "transfer", len(self.sources))
        if config.comparisons:
            yield from self._comparisons()
        if self.config.captioned:
            yield self.jobs("measure_captions", "transfer", 1)

    def _an_epoch(self, recipe: Recipe, images: int | None) -> int | None:
        """Return how many images pass in an epoch, of so many in the data set."""
        if images is None or not recipe.labels_per_class:
            return images
        if half := recipe.semi_supervised:  # each unlabelled one twice, and labelled ones with them
            return round(images * (2 + 1 / half.unlabelled_ratio))
        return self.classes and min(images, self.classes * recipe.labels_per_class)

    def _blended(self) -> dict[Training, int | None]:
        """Return the samples that pass in an epoch on what is put together of sources."""
        config, real = self.config, self.real.get("train")
        found: dict[Training, int | None] = {}
        for point in about.points(config):
            name, view = point["dataset"], point["view"]
            blend = config.blends.get(name)
            if blend is None:
                images = self.images_of(name, "train")
            else:
                parts = [
                    (real if blend.to_real else self.images_of(source, "train"), share)
                    for source, share in blend.shares.items()
                ]
                taken = [n * share for n, share in parts if n is not None]
                images = round(sum(taken)) if len(taken) == len(parts) else None
            for seed in point["seeds"]:
                found[name, view, point["classifier"], seed] = self._in_view(images, view)
        return found

    def _compared(self) -> dict[Training, int | None]:
        """Return the samples that pass in an epoch of each comparison."""
        found: dict[Training, int | None] = {}
        for trial in self.config.trials:
            study, comparison = self.config.studies.distinguish, trial.comparison
            assert study is not None
            each = comparison.samples or study.images_per_class.train
            images = self.classes and len(comparison.sources) * self.classes * each
            for seed in trial.seeds if trial.is_network else ():
                key = comparison.name, trial.view, trial.classifier, seed
                found[key] = self._in_view(images, trial.view)
        return found

    def _comparisons(self) -> Iterator[Row]:
        """Rows of what study C does besides training networks."""
        trials, study = self.config.trials, self.config.studies.distinguish
        assert study is not None
        files = [trial for trial in trials if trial.classifier == METADATA]
        yield self.jobs("check_leaks", "distinguish", len(files))
        for encoder in study.probes:
            used = {t.comparison.name for t in trials if t.classifier == LINEAR + encoder}
            yield self.jobs("train_linear_probe", encoder, len(used))
        if study.occlusion:
            shown = [c for c in self.config.comparisons.values() if not (c.is_control or c.samples)]
            yield self.jobs("map_occlusion", "distinguish", len(shown))

    def _distributions(self) -> Iterator[Row]:
        config = self.config
        for name, encoder in config.used_encoders.items():
            parts = self._encoded(name)
            shards = sum(config.shards_of(source, encoder.view)[split] for source, split in parts)
            yield self.jobs("extract_features", name, shards)
        for name in config.distributions:
            yield self.jobs("measure_reference", name, 1)
            yield self.jobs("measure_distribution", name, 1 + len(config.measured_in(name)))
        for name in config.scorers:
            scored = set(config.generated) - set(config.casd_models)
            yield self.jobs("measure_alignment", name, len(scored))
        if config.replication:
            count = len(self.sources) + len(config.casd_models)
            yield self.jobs("measure_replication", "transfer", count)
        yield from casd_rows(self)

    def _encoded(self, encoder: str) -> set[tuple[str, str]]:
        """Return the sources and splits that an encoder sees."""
        config, found = self.config, set[tuple[str, str]]()
        for one in config.distributions.values():
            if one.encoder == encoder:
                found |= {("real", "train"), ("real", "test")}
                found |= {(source, one.split) for source in config.sources}
        compared = {
            source
            for trial in config.trials
            if trial.classifier == LINEAR + encoder
            for source in trial.comparison.sources
        }
        return found | {(source, split) for source in compared for split in SPLITS}

    def _generation(self, source: str) -> Row:
        config, name = self.config, self.config.sources[source][0]
        parts = [(source, split) for split in config.splits_of(source)]
        row = self._shards("generate_images", source, parts, config.real.image_format)
        preset_name = config.generators[name].preset
        known = speeds()["generate_images"].get(preset_name or "")
        if preset_name is not None and known and row.images_per_second is None:
            speed = known["images_per_second"] / self._work(name, preset_name, known)
            row = self.figured(row, known, speed, *self._hours(parts, "generate_images", speed))
        elif row.hours is None and (
            figure := estimated_generation(config, name) or estimated_sampling(config, name)
        ):
            speed = figure["images_per_second"]
            row = self.figured(row, figure, speed, *self._hours(parts, "generate_images", speed))
        elif row.hours is None:
            return Row(**vars(row) | {"note": "speed unknown until a shard is done"})
        return Row(**vars(row) | {"note": self._advice(row, source)})

    def _advice(self, row: Row, source: str) -> str:
        """Return what to say of the length of a source's jobs."""
        shards, speed = self.config.shards_of(source), row.images_per_second
        if row.longest and speed and row.longest > LONG_JOB:
            counts = [
                f"{split}: {math.ceil((self.images_of(source, split) or 0) / speed / 1800)}"
                for split in SPLITS
            ]
            return f"{row.longest:.1f} h a shard; half an hour with shards: {{{', '.join(counts)}}}"
        if row.on_gpu and row.longest and row.longest < SHORT_JOB and shards.train > 1:
            return f"{row.longest * 60:.1f} min a shard; fewer shards would do"
        return ""

    def _work(self, name: str, preset_name: str, known: Mapping[str, Any]) -> float:
        """Return the work of an image, relative to the one that the table's figure is of."""
        generator, preset = self.config.resolved(name), presets()[preset_name]
        assert generator.steps is not None
        assert generator.image_size is not None
        binned = generator.arguments.get("use_resolution_binning", True) and preset.binned_size
        side = max(generator.image_size, binned or 0)
        passes = self.config.generators[name].passes_a_step or 1
        usual = Generator(preset=preset_name).passes_a_step or 1
        tries = generator.search.candidates if generator.search else 1
        # It grows with steps, passes and, roughly, pixels.
        work = generator.steps / known["steps"] * passes / usual * (side / known["image_size"]) ** 2
        work *= tries
        return float(work)

    def _found(self, stage: str, what: str) -> Measured:
        return self.measured.get((stage, what), Measured())

    def jobs(self, stage: str, what: str, jobs: int, images: int | None = None) -> Row:
        """Return a row whose time is known from finished jobs alone."""
        found = self._found(stage, what)
        done = min(sum(found.done.values()), jobs)
        if found.hours_a_job is None:
            return Row(stage, what, jobs, done, images)
        return Row(
            stage, what, jobs, done, images, device=found.device, basis="measured",
            source="finished jobs", hours=found.hours_a_job * (jobs - done),
            longest=found.hours_a_job,
        )  # fmt: skip

    def _shards(
        self, stage: str, what: str, parts: Sequence[tuple[str, str]], codec: str,
        view: str = "rgb",
    ) -> Row:  # fmt: skip
        """Return a row of jobs that write one shard each, for some sources and splits."""
        counts = [self.images_of(source, split) for source, split in parts]
        images = None if None in counts else sum(filter(None, counts))
        images = self._in_view(images, view)
        found = self._found(stage, what)
        jobs = sum(self.config.shards_of(source, view)[split] for source, split in parts)
        row = self.jobs(stage, what, jobs, images)
        crop = getattr(self.config.views.get(view), "size", 0) if "crop" in self._kind(view) else 0
        size = found.bytes_an_image or (crop**2 or self.pixels) * BYTES_A_PIXEL[codec]
        known: dict[str, Any] = {"gb": None if images is None else images * size / 1e9}
        if found.images_per_second and images is not None:
            hours, longest = self._hours(parts, stage, found.images_per_second, view)
            known |= {
                "images_per_second": found.images_per_second, "device": found.device,
                "basis": "measured", "source": "finished shards", "hours": hours,
                "longest": longest,
            }  # fmt: skip
        return Row(**vars(row) | known)

    def _hours(
        self, parts: Sequence[tuple[str, str]], stage: str, speed: float, view: str = "rgb"
    ) -> tuple[float | None, float | None]:
        """Return the hours of the shards that are left, and of the longest one."""
        left, longest = 0.0, 0.0
        for source, split in parts:
            images = self._in_view(self.images_of(source, split), view)
            if images is None:
                return None, None
            shards = self.config.shards_of(source, view)[split]
            hours = images / shards / speed / 3600
            done = min(self._found(stage, source).done.get(split, 0), shards)
            left, longest = left + hours * (shards - done), max(longest, hours)
        if view != "rgb":  # finished shards of views are counted over all sources
            jobs = sum(self.config.shards_of(source, view)[split] for source, split in parts)
            left *= 1 - min(sum(self._found(stage, view).done.values()), jobs) / jobs
        return left, longest

    def figured(
        self, row: Row, known: Mapping[str, Any], speed: float, hours: float | None,
        longest: float | None,
    ) -> Row:  # fmt: skip
        """Put a figure of the table in a row."""
        figures = {name: known[name] for name in ("device", "basis", "source")}
        figures |= {"images_per_second": speed, "hours": hours, "longest": longest}
        return Row(**vars(row) | figures)
