"""The typed configuration: what a config file may say, checked before any job starts.

Light on purpose: the Snakefile imports it.
"""

import datetime
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from synthgap.errors import UserError, suggest

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
# Paths go into shell commands and wildcards.
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./~+=@-]+$")]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
PromptKind = Literal["classname", "caption"]
Pattern = Literal["half", "quarter", "ninth", "sixteenth", "all"]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Scalar = bool | int | float | str | None


class Section(BaseModel):
    """A closed mapping: a key that is not a field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PerSplit(Section):
    """A number for each split."""

    train: Count
    val: Count
    test: Count

    def __getitem__(self, split: str) -> int:
        return int(getattr(self, split))


class Real(Section):
    """The real images, and how they become shards."""

    dataset: Literal["digits", "imagefolder"] = Field(
        description="`digits` ships with scikit-learn; `imagefolder` has one folder a class"
    )
    folder: str | None = Field(None, description="where the classes' folders are (imagefolder)")
    class_names: dict[str, str] = Field(
        {}, description="folder name to class name, where they differ (imagefolder)"
    )
    image_size: Annotated[int, Field(ge=8)] = Field(
        256, description="side in pixels; images are cropped to the central square and resized"
    )
    image_format: Literal["png", "webp", "jpeg"] = Field(
        "png", description="codec in the shards; png and webp are lossless"
    )
    val_fraction: Fraction = Field(0.1, description="share of each class for validation")
    test_fraction: Fraction = Field(0.1, description="share of each class for testing")
    shards: PerSplit = Field(PerSplit(train=1, val=1, test=1), description="shards a split")
    max_unreadable: Annotated[int, Field(ge=0)] = Field(
        0, description="images a split that may be unreadable before its jobs fail"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.dataset == "imagefolder") != (self.folder is not None):
            raise ValueError("`folder` is needed with `dataset: imagefolder`, and only there")
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction + test_fraction must leave images to train on")
        return self


class Captioner(Section):
    """What turns real images into captions."""

    kind: Literal["attributes"] = Field(
        "attributes", description="`attributes` measures stroke, slant, size, place, brightness"
    )


class TrainedModel(Section):
    """A small text-to-image model that the workflow trains on the real training images."""

    autoencoder_channels: list[Count] = Field(
        [8, 16, 32, 48], description="channels a level; each level but the first halves the side"
    )
    latent_channels: Count = 8
    autoencoder_steps: Count = 300
    autoencoder_batch_size: Count = 32
    autoencoder_learning_rate: Annotated[float, Field(gt=0)] = 4e-3
    width: Annotated[int, Field(ge=32, multiple_of=32)] = Field(
        128, description="transformer width; heads are 32 wide"
    )
    layers: Count = Field(4, description="transformer blocks")
    text_width: Annotated[int, Field(ge=16, multiple_of=4)] = 64
    text_layers: Count = 2
    max_tokens: Annotated[int, Field(ge=2)] = Field(32, description="longest prompt, in tokens")
    steps: Count = Field(600, description="optimiser steps of the flow model")
    batch_size: Count = 64
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    ema_decay: Fraction = 0.995
    drop_text: Fraction = Field(0.1, description="share of prompts emptied, for guidance")
    seed: int = 0
    threads: Count = Field(1, description="CPU threads; a fixed number, as it moves last digits")


RESERVED_ARGUMENTS = {
    "prompt",
    "generator",
    "guidance_scale",
    "height",
    "num_inference_steps",
    "num_images_per_prompt",
    "output_type",
    "return_dict",
    "width",
}


class Generator(Section):
    """A text-to-image pipeline and how it is called."""

    trained: Name | None = Field(None, description="a model of `trained_models`")
    model: str | None = Field(None, description="a hub id or a diffusers pipeline folder")
    revision: str | None = Field(None, description="the hub's commit; pins what is downloaded")
    released: datetime.date | None = Field(None, description="release date, the figures' x axis")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    guidance_scale: Annotated[float, Field(ge=0)]
    steps: Count = Field(description="inference steps")
    image_size: Annotated[int, Field(ge=8)] | None = Field(
        None, description="side in pixels that the model renders; stored at the real images' size"
    )
    batch_size: Count = Field(50, description="images a call; recorded, as it moves last digits")
    arguments: dict[str, Scalar] = Field({}, description="further arguments of the pipeline's call")
    max_failed: Annotated[int, Field(ge=0)] = Field(
        0, description="images a split that may fail before the run stops"
    )
    threads: Count = Field(1, description="CPU threads; a fixed number, as it moves last digits")

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if (self.trained is None) == (self.model is None):
            raise ValueError("give exactly one of `trained` and `model`")
        if reserved := RESERVED_ARGUMENTS & self.arguments.keys():
            raise ValueError(f"arguments: `{min(reserved)}` is set by other keys or the workflow")
        return self


class Synthetic(Section):
    """Which synthetic images are made."""

    prompts: list[PromptKind] = Field(["classname", "caption"], min_length=1)
    samples_per_class: PerSplit
    shards: PerSplit = Field(PerSplit(train=1, val=1, test=1), description="shards a split")


class DepthView(Section):
    """Structure without texture (paper A, section 3.1)."""

    kind: Literal["depth"]
    estimator: Literal["distance-transform"] = Field(
        "distance-transform", description="offline stand-in for monocular depth"
    )


class PassView(Section):
    """Low or high spatial frequencies (papers A and C)."""

    kind: Literal["low_pass", "high_pass"]
    half_width: Count = Field(description="half of the mask's side, in pixels of the spectrum")
    mask: Literal["rectangle", "circle"] = "rectangle"


class BandView(Section):
    """A band of spatial frequencies (paper C)."""

    kind: Literal["band_pass"]
    low: Annotated[int, Field(ge=0)] = Field(
        description="half-width up to which frequencies are removed"
    )
    high: Count = Field(description="half-width up to which frequencies are kept")
    mask: Literal["rectangle", "circle"] = "rectangle"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"`low` ({self.low}) must be below `high` ({self.high})")
        return self


class PatchesView(Section):
    """Square patches in random order: texture without structure."""

    kind: Literal["patches"]
    size: Count = Field(description="side of a patch in pixels")


class CropView(Section):
    """The central square (paper C)."""

    kind: Literal["center_crop"]
    size: Count = Field(description="side in pixels")


View = Annotated[
    DepthView | PassView | BandView | PatchesView | CropView, Field(discriminator="kind")
]


class TimmArchitecture(Section):
    """A classifier of the timm library, without pretrained weights."""

    family: Literal["timm"]
    name: str
    options: dict[str, Any] = Field({}, description="arguments of the model's constructor")


class BagNetArchitecture(Section):
    """BagNet (Brendel and Bethge 2019), which sees only small patches."""

    family: Literal["bagnet"]
    receptive_field: Count = Field(description="side in pixels of what one position sees")
    options: dict[str, Any] = Field({}, description="layers, strides and width")


class Recipe(Section):
    """How a classifier is trained."""

    epochs: Count = 15
    batch_size: Count = 64
    optimizer: Literal["adam", "adamw"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup_epochs: Annotated[int, Field(ge=0)] = 1
    schedule: Literal["cosine", "constant"] = Field("cosine", description="after warm-up")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    gradient_clip: Annotated[float, Field(ge=0)] = Field(0.0, description="0 clips nothing")
    shift: Annotated[int, Field(ge=0)] = Field(3, description="largest random shift in pixels")
    flip: bool = Field(False, description="mirror half of the images")
    crop_min_area: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="random resized crop of at least this share of the area; 1 crops nothing"
    )
    cutmix: bool = Field(False, description="mix patches and labels within a batch")

    @model_validator(mode="after")
    def _warms_up_within(self) -> Self:
        if self.warmup_epochs > self.epochs:
            raise ValueError("warmup_epochs must not be above epochs")
        return self


class Classifier(Section):
    """An architecture and the recipe it is trained with."""

    architecture: Annotated[TimmArchitecture | BagNetArchitecture, Field(discriminator="family")]
    recipe: Recipe = Recipe()
    threads: Count = Field(1, description="CPU threads; a fixed number, as it moves last digits")


class Probe(Section):
    """A view and the classifier trained and tested in it."""

    view: Name = Field(description="`rgb` or one of `views`")
    classifier: Name = Field(description="one of `classifiers`")
    seeds: list[Seed] = Field([0], min_length=1, description="one training each")


class Transfer(Section):
    """Paper A: train on one side, test on the other."""

    probes: dict[Name, Probe] = Field(description="`rgb` is required: figures relate to it")
    encoder: Name = Field("rgb", description="the probe whose Real classifier encodes features")
    distribution_samples: Annotated[int, Field(ge=10)] = Field(
        500, description="images a source for density, coverage, precision and recall"
    )
    neighbours: Count = Field(5, description="k of density, coverage, precision and recall")

    @model_validator(mode="after")
    def _has_rgb(self) -> Self:
        for name in ("rgb", self.encoder):
            if name not in self.probes:
                raise ValueError(f"probe `{name}` is missing from `probes`")
        return self


class Distinguish(Section):
    """Paper C: can a classifier tell real from generated?"""

    view: Name = "rgb"
    classifier: Name
    seeds: list[Seed] = Field([0], min_length=1)
    images_per_class: PerSplit = Field(description="of each side; the same for every pair")


class Studies(Section):
    """What is asked."""

    transfer: Transfer
    distinguish: Distinguish


class Config(Section):
    """A whole study."""

    seed: int = Field(0, description="the study's seed: splits and samples derive theirs from it")
    results: FolderName = Field("results", description="folder of everything the workflow makes")
    scratch: FolderName | None = Field(
        None, description="folder of unfinished work; `.scratch` in `results` by default"
    )
    checkpoint_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        30.0, description="time between two checkpoints of a training"
    )
    real: Real
    captioner: Captioner = Captioner()
    trained_models: dict[Name, TrainedModel] = {}
    generators: dict[Name, Generator] = Field(min_length=1)
    synthetic: Synthetic
    composites: list[Pattern] = []
    views: dict[Name, View] = {}
    classifiers: dict[Name, Classifier] = Field(min_length=1)
    studies: Studies

    @property
    def scratch_folder(self) -> str:
        """Folder of unfinished work."""
        return self.scratch or f"{self.results}/.scratch"

    @property
    def sources(self) -> dict[str, tuple[str, str]]:
        """Synthetic sources: name to (generator, kind of prompt)."""
        kinds = self.synthetic.prompts
        return {f"{name}-{kind}": (name, kind) for name in self.generators for kind in kinds}

    def about_source(self, source: str) -> dict[str, Any]:
        """Return what the metrics table says of a source; nothing of `real`.

        The x axis of the figures is the release date (as a decimal year) where every generator
        has one, and the guidance scale otherwise.
        """
        if source not in self.sources:
            return {}
        name, kind = self.sources[source]
        generator = self.generators[name]
        x, x_name = generator.guidance_scale, "guidance scale"
        if all(other.released for other in self.generators.values()) and generator.released:
            # The middle of the day, so that rounding does not move the date.
            day = generator.released.timetuple().tm_yday - 0.5
            x, x_name = round(generator.released.year + day / 366, 4), "release date"
        return {"generator": name, "prompts": kind, "x": x, "x_name": x_name}

    def about_probes(self) -> dict[str, Any]:
        """Return the probes of study `transfer`, each with the options of its view."""
        options = {name: view.model_dump(mode="json") for name, view in self.views.items()}
        return {
            name: probe.model_dump(mode="json") | {"view_options": options.get(probe.view, {})}
            for name, probe in self.studies.transfer.probes.items()
        }

    def generator_options(self, name: str) -> dict[str, Any]:
        """Return what `generate_images` needs to know of a generator, defaults resolved."""
        generator = self.generators[name]
        options = generator.model_dump(
            mode="json", exclude={"trained", "model", "released", "max_failed", "threads"}
        )
        options["image_size"] = generator.image_size or self.real.image_size
        # One size and codec for all sources: a classifier would tell them apart by these.
        options["stored_size"] = self.real.image_size
        options["image_format"] = self.real.image_format
        if generator.trained is not None:
            # The PixArt pipeline's defaults are for large images and web captions.
            options["arguments"] = {
                "max_sequence_length": self.trained_models[generator.trained].max_tokens,
                "use_resolution_binning": False,
                "clean_caption": False,
                **generator.arguments,
            }
        return options

    @model_validator(mode="after")
    def _references(self) -> Self:
        """Check that every name points at something."""
        for name, generator in self.generators.items():
            if generator.trained is not None:
                _refer(f"generators.{name}.trained", generator.trained, self.trained_models)
        uses: dict[str, Probe | Distinguish] = {"studies.distinguish": self.studies.distinguish}
        for name, probe in self.studies.transfer.probes.items():
            uses[f"studies.transfer.probes.{name}"] = probe
        for where, use in uses.items():
            _refer(f"{where}.view", use.view, ["rgb", *self.views])
            _refer(f"{where}.classifier", use.classifier, self.classifiers)
        self._check_sizes()
        if "rgb" in self.views:
            raise ValueError("views.rgb: `rgb` is the images as they are; choose another name")
        return self

    def _check_sizes(self) -> None:
        """Check that what is measured in pixels fits the images."""
        side = self.real.image_size
        for name, view in self.views.items():
            width = getattr(view, "half_width", getattr(view, "high", 0))
            if width > side // 2:
                raise ValueError(f"views.{name}: {width} is beyond Nyquist, {side // 2} here")
            size = getattr(view, "size", 0)
            if size > side:
                raise ValueError(f"views.{name}: size {size} is larger than the image, {side}")
        for name, model in self.trained_models.items():
            shrink = 2 ** (len(model.autoencoder_channels) - 1)
            if side % shrink:
                raise ValueError(
                    f"trained_models.{name}: {len(model.autoencoder_channels)} levels of "
                    f"autoencoder_channels need real.image_size to be a multiple of {shrink}"
                )
        if self.studies.transfer.neighbours >= self.studies.transfer.distribution_samples:
            raise ValueError("studies.transfer: neighbours must be below distribution_samples")


def _refer(key: str, value: str, known: Any) -> None:
    if value not in known:
        raise ValueError(f"{key}: no `{value}` in this config{suggest(value, known)}")


def parse(raw: dict[str, Any], where: str = "config") -> Config:
    """Return the checked configuration.

    Raises:
        UserError: one line for each key that is misspelt, missing or wrongly typed.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(dict(problem), raw) for problem in error.errors(include_url=False)]
        raise UserError("\n".join([f"{where} is not valid:", *lines])) from None


def _explain(problem: dict[str, Any], raw: dict[str, Any]) -> str:
    """Turn one of pydantic's findings into a line that names the key and what would be right."""
    # Tags of discriminated unions (`depth`, `timm`) are in pydantic's path but not in the file.
    keys: list[str] = []
    value: Any = raw
    for part in problem["loc"]:
        if isinstance(value, dict) and part in (value.get("kind"), value.get("family")):
            continue
        keys.append(str(part).replace("[key]", "(key)"))
        value = value.get(part) if isinstance(value, dict) else _item(value, part)
    key = ".".join(keys) or "the file"
    kind, message = problem["type"], problem["msg"]
    if kind == "extra_forbidden":
        return f"  {key}: unknown key{suggest(keys[-1], _fields_at(problem['loc'][:-1]))}"
    if kind == "union_tag_invalid":
        tag = problem["ctx"]["tag"]
        known = problem["ctx"]["expected_tags"].replace("'", "").split(", ")
        field = problem["ctx"]["discriminator"].strip("'")
        return f"  {key}.{field}: no `{tag}`{suggest(tag, known)}"
    if kind == "missing":
        return f"  {key}: missing"
    if kind == "value_error":
        return f"  {key}: {problem['ctx']['error']}" if keys else f"  {problem['ctx']['error']}"
    return f"  {key}: {message[0].lower()}{message[1:]}, not {problem['input']!r}"


def _item(value: Any, part: Any) -> Any:
    return value[part] if isinstance(value, list) and isinstance(part, int) else None


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    """Return the fields that are known at a place of the config, for suggestions."""
    schema = Config.model_json_schema()
    node: dict[str, Any] = schema
    for part in location:
        options = [node, *node.get("anyOf", []), *node.get("oneOf", [])]
        found: dict[str, Any] = {}
        for option in options:
            option = _resolve(option, schema)
            # A mapping with checked keys has its values' schema under the keys' pattern.
            values: dict[str, Any] = next(iter(option.get("patternProperties", {}).values()), {})
            found = option.get("properties", {}).get(part) or values
            if not found and part in _tags(option):
                found = option
            if found:
                break
        node = _resolve(found, schema)
    if "oneOf" in node or "anyOf" in node:
        options = [_resolve(o, schema) for o in node.get("oneOf", []) + node.get("anyOf", [])]
        return sorted({name for option in options for name in option.get("properties", {})})
    return list(node.get("properties", {}))


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        found: dict[str, Any] = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        return found
    return node


def _tags(option: dict[str, Any]) -> list[str]:
    fields = option.get("properties", {})
    tag = fields.get("kind") or fields.get("family") or {}
    return list(tag.get("enum", [tag.get("const")]))


def json_schema() -> dict[str, Any]:
    """Return the JSON schema, as kept in `workflow/schemas/config.schema.json` for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Config.model_json_schema()


def load(path: Path) -> Config:
    """Read a YAML file (for notebooks and tests; the workflow gets its config from Snakemake)."""
    import yaml

    raw = yaml.safe_load(Path(path).read_text())
    if not isinstance(raw, dict):
        raise UserError(f"{path}: a config is a mapping of keys, see config/README.md")
    return parse(raw, str(path))


if __name__ == "__main__":  # `make schema`
    print(json.dumps(json_schema(), indent=1))
