"""Text-to-image generators: the built-in presets, a config's own entries, and what both come to."""

import ast
import datetime
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from synthgap.classifiers.recipe import Recipe
from synthgap.config.classifiers import TimmArchitecture
from synthgap.config.sections import (
    AskedKind,
    Count,
    FolderName,
    LicenceName,
    ModelName,
    Name,
    PerSplit,
    Section,
)
from synthgap.diffusion.edm import PIPELINE_CLASS
from synthgap.errors import UserError, suggest
from synthgap.hub import is_folder

Scalar = bool | int | float | str | None
Argument = Scalar | list[Scalar]
Dtype = Literal["float32", "bfloat16", "float16"]
Guidance = Annotated[float, Field(ge=0)]
GuidanceArgument = Literal["guidance_scale", "true_cfg_scale", "distilled_guidance_scale"]
Side = Annotated[int, Field(ge=8)]
Offload = Literal["none", "model", "sequential"]

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


FROM_PRESET = (
    "model", "revision", "variant", "released", "dtype", "guidance_argument", "offload",
)  # fmt: skip
FROM_SETTINGS = ("steps", "guidance_scale", "image_size", "scheduler")


class Settings(Section):
    """How a pipeline is called."""

    steps: Count
    guidance_scale: Guidance | None
    image_size: Side
    arguments: dict[str, Argument] = {}
    scheduler: Name | None = None


class Preset(Section):
    """A published model: where it comes from and the settings that it is known with."""

    title: str
    pipeline: str = Field(description="class of diffusers")
    model: str = Field(description="hub id")
    revision: str | None = Field(pattern=r"^[0-9a-f]{40}$")
    variant: Name | None
    released: datetime.date
    parameters: Count = Field(description="of the denoiser")
    license: str
    gated: bool
    download_gb: Annotated[float, Field(gt=0)]
    dtype: Dtype
    size_multiple: Count = Field(description="what an image's side must be a multiple of")
    guidance_argument: GuidanceArgument | None = Field(description="none: reads no guidance")
    guidance_above: Guidance | None = Field(
        description="scale above which a step takes two forward passes"
    )
    offload: Offload = "none"
    binned_size: Side | None = Field(
        None, description="smaller images are rendered at this size and shrunk"
    )
    settings: dict[Literal["authors", "paper"], Settings]


@cache
def presets() -> dict[str, Preset]:
    """Return the built-in presets by name, in order of release."""
    import yaml

    raw = yaml.safe_load(Path(__file__).with_name("presets.yaml").read_bytes())
    known = {}
    for name, entry in raw.items():
        try:
            known[name] = Preset.model_validate(entry)
        except ValidationError as error:
            [problem, *_] = error.errors()
            key = ".".join(map(str, problem["loc"]))
            raise UserError(f"presets.yaml: {name}.{key}: {problem['msg']}") from None
    return known


class Realism(Section):
    """A classifier of noised images that steers the sampler (paper C, section 6.3)."""

    of: Name = Field(description="the generator without it, whose images are the generated side")
    scale: Guidance = Field(description="weight of the classifier's gradient")
    architecture: TimmArchitecture = TimmArchitecture(family="timm", name="resnet50")
    recipe: Recipe = Recipe(epochs=20, batch_size=256, learning_rate=3e-4, shift=0)
    threads: Count = Field(1, description="CPU threads of its training")

    @model_validator(mode="after")
    def _noise_alone(self) -> Self:
        told = self.recipe.model_dump(exclude=NOISED_RECIPE, exclude_unset=True)
        off = Recipe(shift=0).model_dump()
        if foreign := [name for name, value in told.items() if value != off[name]]:
            raise ValueError(
                f"realism.recipe.{foreign[0]}: a classifier of noised images has noise in the "
                f"place of other augmentation; it takes {', '.join(sorted(NOISED_RECIPE))}"
            )
        return self


# What of a recipe holds without images.
NOISED_RECIPE = {
    "epochs",
    "batch_size",
    "micro_batch",
    "optimizer",
    "betas",
    "learning_rate",
    "weight_decay",
    "warmup_epochs",
    "schedule",
    "label_smoothing",
    "gradient_clip",
    "ema_decay",
    "precision",
}


class Search(Section):
    """Of several images of a prompt the one that scores best (paper B, table 7)."""

    candidates: Annotated[int, Field(ge=2)] = Field(description="images of each prompt")
    scorer: Name = Field(description="one of `alignment.scorers`")


class Generator(Section):
    """A text-to-image pipeline and how it is called; what is left out comes from the preset."""

    preset: str | None = Field(None, description="a built-in model, see docs/adding-a-generator.md")
    settings: Literal["authors", "paper"] = Field(
        "authors", description="of the preset: the model card's, or those of paper A's code"
    )
    trained: ModelName | None = Field(None, description="a model of `trained_models`")
    edm: Name | None = Field(None, description="a model of `edm_models`")
    step: Count | None = Field(
        None, description="that model as it was after so many steps; at its end if left out"
    )
    model: FolderName | None = Field(None, description="a hub id or a diffusers pipeline folder")
    revision: Name | None = Field(None, description="the hub's commit; pins what is downloaded")
    variant: Name | None = Field(None, description="of the weight files, `fp16` say")
    trust_remote_code: bool = Field(
        False, description="run code that comes with the model; only for models you trust"
    )
    released: datetime.date | None = Field(None, description="release date, the figures' x axis")
    license: LicenceName | None = Field(
        None, description="of the model, for the dataset card; the preset's if left out"
    )
    dtype: Dtype | None = Field(None, description="float32 where no preset says otherwise")
    guidance_scale: Guidance | None = None
    guidance_argument: GuidanceArgument | None = Field(
        None, description="the call's argument that takes the guidance scale"
    )
    class_labels: Literal["order"] | list[Annotated[int, Field(ge=0)]] | None = Field(
        None,
        description="of a pipeline that is told a class and no prompt: the model's number for each "
        "class, or `order` where both number them alike",
    )
    realism: Realism | None = Field(None, description="steer the sampler towards real images")
    search: Search | None = Field(
        None, description="test-time scaling: make several images, keep the one that scores best"
    )
    steps: Count | None = Field(None, description="inference steps")
    image_size: Side | None = Field(
        None, description="side in pixels that the model renders; stored at the real images' size"
    )
    scheduler: Name | None = Field(None, description="scheduler class of diffusers, if another")
    arguments: dict[str, Argument] = Field(
        {}, description="further arguments of the pipeline's call"
    )
    batch_size: int | str = Field(
        "auto", description="images a call, or `auto`; recorded, as it moves last digits"
    )
    attempts: Count = Field(3, description="tries for an image, each with a seed of its own")
    max_failed: Annotated[int, Field(ge=0)] = Field(
        0, description="images a split that may fail before the run stops"
    )
    compile: bool = Field(False, description="compile the denoiser with torch.compile")
    channels_last: bool = Field(False, description="memory format of denoiser and autoencoder")
    vae_slicing: bool = Field(False, description="decode one image at a time, to save memory")
    offload: Offload | None = Field(
        None, description="keep idle parts in host memory, for cards that are too small"
    )
    samples_per_class: PerSplit | None = Field(
        None, description="images, if not `synthetic.samples_per_class`"
    )
    prompts: list[AskedKind] | None = Field(
        None, min_length=1, description="kinds of prompt, if not `synthetic.prompts`"
    )
    shards: PerSplit | None = Field(None, description="shards a split, if not `synthetic.shards`")
    threads: Count = Field(1, description="CPU threads; a fixed number, as it moves last digits")

    @field_validator("batch_size")
    @classmethod
    def _number_or_auto(cls, value: int | str) -> int | str:
        if value != "auto" and (isinstance(value, str) or value < 1):
            raise ValueError(f"a whole number from 1, or `auto`, not {value!r}")
        return value

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        own = [self.trained, self.edm, self.preset or self.model]
        if sum(one is not None for one in own) != 1:
            raise ValueError(
                "give exactly one of `preset`, `trained`, `edm` and `model`; only `model` may join "
                "a `preset`, as a copy of its weights"
            )
        if self.step is not None and (self.trained is None or self.realism):
            raise ValueError("step: only of a `trained` model, and without `realism`")
        if self.prompts is not None and self.class_labels is not None:
            raise ValueError("prompts: a pipeline with `class_labels` is told a class alone")
        if self.preset is None:
            if "settings" in self.model_fields_set:
                raise ValueError("`settings` chooses among a preset's; there is none here")
            for key in ("steps",) if self._is_edm else ("steps", "guidance_scale"):
                if getattr(self, key) is None:
                    raise ValueError(f"`{key}` is missing; only a preset has a default")
        if self.model is not None and is_folder(self.model) and not Path(self.model).is_dir():
            raise ValueError(
                f"model: no folder {self.model}; a hub id is `owner/name`, ~ is not known"
            )
        if reserved := RESERVED_ARGUMENTS & self.arguments.keys():
            raise ValueError(f"arguments: `{min(reserved)}` is set by other keys or the workflow")
        return self

    @model_validator(mode="after")
    def _fits_the_preset(self) -> Self:
        if self.preset is None:
            return self
        known = presets()
        if self.preset not in known:
            raise ValueError(f"no preset `{self.preset}`{suggest(self.preset, known)}")
        preset = known[self.preset]
        if self.settings not in preset.settings:
            raise ValueError(f"preset {self.preset} is newer than the paper; leave `settings` out")
        settings = preset.settings[self.settings]
        guidance = self.guidance_argument or preset.guidance_argument
        if guidance is None and self.guidance_scale:
            raise ValueError(f"{preset.title} reads no guidance; leave `guidance_scale` out")
        side = self.image_size or settings.image_size
        if side % preset.size_multiple:
            raise ValueError(
                f"image_size: {preset.title} renders sides that are multiples of "
                f"{preset.size_multiple}, not {side}"
            )
        return self

    @model_validator(mode="after")
    def _suits_the_class(self) -> Self:
        """Check what the pipeline's class decides, where that is known without a download."""
        preset = presets()[self.preset] if self.preset else None
        pipeline = preset.pipeline if preset else None
        if self.model is not None and is_folder(self.model):
            index = Path(self.model, "model_index.json")
            if not index.exists():
                raise ValueError(f"model: {self.model} is no pipeline: it has no model_index.json")
            pipeline = json.loads(index.read_text()).get("_class_name")
            if preset and pipeline != preset.pipeline:
                raise ValueError(
                    f"model: {self.model} holds a {pipeline}, and {self.preset} is a "
                    f"{preset.pipeline}"
                )
        if isinstance(pipeline, str) and (accepted := arguments_of(pipeline)):
            guidance = self.resolved(8).guidance_argument
            for name in [*self.arguments, *([guidance] if guidance else [])]:
                if name not in accepted:
                    raise ValueError(
                        f"arguments: {pipeline} takes no `{name}`{suggest(name, accepted)}"
                    )
        return self

    @model_validator(mode="after")
    def _guides(self) -> Self:
        """Refuse guidance that would silently be off, or be set twice."""
        whole = self.resolved(8)
        if whole.guidance_argument in whole.arguments:
            raise ValueError(
                f"arguments: give `{whole.guidance_argument}` as `guidance_scale`, once"
            )
        for scale in (
            whole.guidance_scale if whole.guidance_argument == "true_cfg_scale" else None,
            whole.arguments.get("true_cfg_scale"),
        ):
            away = whole.arguments.get("negative_prompt")
            if isinstance(scale, int | float) and scale > 1 and away is None:
                raise ValueError(
                    "true_cfg_scale guides only with something to guide away from; add "
                    "`arguments: {negative_prompt: ' '}`, a blank serves"
                )
        return self

    @property
    def _is_edm(self) -> bool:
        """Whether it is a pipeline of `synthgap.diffusion.edm`, which has no guidance."""
        index = Path(self.model or "", "model_index.json")
        if self.edm is not None or self.model is None or not index.is_file():
            return self.edm is not None
        return bool(json.loads(index.read_text()).get("_class_name") == PIPELINE_CLASS)

    @model_validator(mode="after")
    def _suits_edm(self) -> Self:
        if self.edm is not None:
            for key in ("guidance_scale", "guidance_argument", "realism", "scheduler"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key}: models of `edm_models` have none; leave it out")
        return self

    @property
    def told_classes(self) -> bool:
        """Whether its pipeline is told classes, and no prompts."""
        return self.class_labels is not None or self.edm is not None

    @property
    def passes_a_step(self) -> int | None:
        """Forward passes of the denoiser a step, 2 with guidance; None without a preset."""
        if self.preset is None:
            return None
        whole, above = self.resolved(8), presets()[self.preset].guidance_above
        true_scale = whole.arguments.get("true_cfg_scale")
        if isinstance(true_scale, int | float) and true_scale > 1:
            return 2
        return 2 if above is not None and (whole.guidance_scale or 0) > above else 1

    @property
    def hub_model(self) -> str | None:
        """The hub id, where the model comes from there."""
        model = self.model
        if model is None and self.preset is not None:
            model = presets()[self.preset].model
        return None if model is None or is_folder(model) else model

    def resolved(self, image_size: int) -> "Generator":
        """Return a generator without a preset: all its settings filled in.

        Args:
            image_size: what the model renders where nothing else says so.
        """
        defaults: dict[str, Any] = {
            "dtype": "float32",
            "guidance_argument": "guidance_scale",
            "image_size": image_size,
            "offload": "none",
        }
        filled: dict[str, Any] = {}
        if self.preset is not None:
            preset = presets()[self.preset]
            settings = preset.settings[self.settings]
            defaults = {name: getattr(preset, name) for name in FROM_PRESET}
            defaults |= {name: getattr(settings, name) for name in FROM_SETTINGS}
            filled = {"preset": None, "arguments": settings.arguments | self.arguments}
            if self.dtype not in (None, preset.dtype):
                defaults["variant"] = None  # half-precision weights would lose what is asked for
            if self.model is not None:  # a copy of the preset's weights, under its own name
                defaults["revision"] = None
                files = Path(self.model).rglob(f"*.{defaults['variant']}*.safetensors")
                if is_folder(self.model) and next(files, None) is None:
                    defaults["variant"] = None
        for name, value in defaults.items():
            if getattr(self, name) is None:
                filled[name] = value
        return self.model_copy(update=filled)


@cache
def arguments_of(pipeline: str) -> tuple[str, ...]:
    """Return the arguments that a diffusers pipeline's call takes; nothing if it is not installed.

    Read from the source: importing a pipeline takes seconds, and a config is checked in one.
    """
    spec = find_spec("diffusers")
    if spec is None or spec.origin is None:
        return ()
    for file in sorted(Path(spec.origin).parent.glob("pipelines/*/pipeline_*.py")):
        source = file.read_text()
        if f"\nclass {pipeline}(" in source:
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.ClassDef) and node.name == pipeline:
                    for method in node.body:
                        if isinstance(method, ast.FunctionDef) and method.name == "__call__":
                            names = [*method.args.args[1:], *method.args.kwonlyargs]
                            return tuple(argument.arg for argument in names)
    return ()
