"""Text-to-image models that the workflow trains: paper B's, at any size."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from synthgap.config.hub_user import HubUser, Published
from synthgap.config.sections import (
    Count,
    FolderName,
    Fraction,
    Name,
    Pattern,
    Positive,
    PromptKind,
    Section,
    Seed,
    Share,
)
from synthgap.hub import HubModel


class TrainedAutoencoder(Section):
    """A small variational autoencoder, trained on the real training images."""

    made_here: ClassVar[bool] = True

    kind: Literal["trained"] = "trained"
    channels: list[Count] = Field(
        [8, 16, 32, 48],
        min_length=1,
        description="channels a level; each level but the first halves the side",
    )
    latent_channels: Count = 8
    steps: Count = 300
    batch_size: Count = 32
    learning_rate: Positive = 4e-3
    seed: Seed = 0
    threads: Count = Field(1, description="CPU threads; a fixed number, as it moves last digits")

    @property
    def hub_model(self) -> HubModel | None:
        """What is downloaded: nothing."""
        return None

    @property
    def shrinks(self) -> int:
        """How many pixels make a latent one."""
        return int(2 ** (len(self.channels) - 1))


class PretrainedAutoencoder(HubUser):
    """A published `AutoencoderKL`, itself or a pipeline's `vae`."""

    made_here: ClassVar[bool] = False
    noun = "autoencoder"
    needed_files = ()

    kind: Literal["pretrained"]
    model: FolderName = Field(description="a hub id or a folder")
    revision: Name | None = Field(None, description="the hub's commit; pins what is downloaded")
    shrinks: Count = Field(8, description="how many pixels make a latent one")
    batch_size: Count = Field(64, description="images encoded at once")
    threads: Count = Field(8, description="CPU threads")

    @staticmethod
    def built_in() -> Mapping[str, Published]:
        """Return none: they are named by their ids."""
        return {}

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.check_model()
        return self


class UntrainedTextEncoder(Section):
    """A small T5 encoder of random weights, over the words of the captions.

    Words are told apart, in their order, and the denoiser's own layers learn what they mean.
    """

    made_here: ClassVar[bool] = True

    kind: Literal["untrained"] = "untrained"
    width: Annotated[int, Field(ge=16, multiple_of=4)] = 64
    layers: Count = 2
    max_tokens: Annotated[int, Field(ge=2)] = Field(32, description="longest prompt, in tokens")
    dtype: Literal["float32"] = "float32"
    batch_size: Count = Field(64, description="texts encoded at once")
    seed: Seed = 0
    threads: Count = Field(1, description="CPU threads; a fixed number, as it moves last digits")

    @property
    def hub_model(self) -> HubModel | None:
        """What is downloaded: nothing."""
        return None


class PretrainedTextEncoder(HubUser):
    """A published T5 encoder, itself or a pipeline's."""

    made_here: ClassVar[bool] = False
    noun = "text encoder"
    needed_files = ()

    kind: Literal["pretrained"]
    model: FolderName = Field(description="a hub id or a folder, such as google/flan-t5-xl")
    revision: Name | None = Field(None, description="the hub's commit; pins what is downloaded")
    max_tokens: Annotated[int, Field(ge=2)] = Field(256, description="longest prompt, in tokens")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "bfloat16", description="to compute and to store in"
    )
    batch_size: Count = Field(64, description="texts encoded at once")
    threads: Count = Field(8, description="CPU threads")

    @staticmethod
    def built_in() -> Mapping[str, Published]:
        """Return none: they are named by their ids."""
        return {}

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.check_model()
        return self


Autoencoder = Annotated[TrainedAutoencoder | PretrainedAutoencoder, Field(discriminator="kind")]
TextEncoder = Annotated[UntrainedTextEncoder | PretrainedTextEncoder, Field(discriminator="kind")]


class DiTDenoiser(Section):
    """DiT-I; the defaults are for a laptop, paper B's are in config/studies/text-to-image.yaml."""

    kind: Literal["dit-i"] = "dit-i"
    patch_size: Count = 1
    width: Count = 128
    layers: Count = Field(4, description="transformer blocks")
    heads: Count = 4
    text_heads: Count = 4
    text_layers: Annotated[int, Field(ge=0)] = 2
    text_registers: Count = 4
    layer_scale: Positive = Field(0.1, description="what LayerScale starts from")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width % 4:
            raise ValueError(f"width: {self.width} is no multiple of 4, as positions need")
        _check_heads("width", self.width, self, "heads", "text_heads")
        return self


class CADDenoiser(Section):
    """CAD-I; the defaults are for a laptop, paper B's are in config/studies/text-to-image.yaml."""

    kind: Literal["cad-i"]
    patch_size: Count = 1
    num_latents: Count = 16
    width: Count = 128
    data_width: Count = 64
    num_blocks: Count = 2
    layers: Count = Field(2, description="of computing in each block")
    interface_heads: Count = 4
    heads: Count = 4
    text_heads: Count = 4
    text_layers: Annotated[int, Field(ge=0)] = 2
    text_registers: Count = 4
    layer_scale: Positive = Field(0.1, description="what LayerScale starts from")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_heads("width", self.width, self, "heads", "text_heads", "interface_heads")
        between = min(self.width, self.data_width)
        _check_heads("the smaller of width and data_width", between, self, "interface_heads")
        return self


def _check_heads(what: str, width: int, denoiser: Section, *names: str) -> None:
    for name in names:
        if width % (heads := getattr(denoiser, name)):
            raise ValueError(f"{name}: {heads} heads do not divide {what}, {width}")


Denoiser = Annotated[DiTDenoiser | CADDenoiser, Field(discriminator="kind")]


class CompositeAugmentation(Section):
    """Composites among what is learnt from, where an image is noisy enough (appendix E)."""

    pattern: Pattern = Field("all", description="one of `composites`")
    probability: Share = 0.5
    above: Annotated[float, Field(ge=0, lt=1000)] = Field(
        400, description="tau: the timestep, of 1000, up to which there are none"
    )


class CropAugmentation(Section):
    """Parts of images among what is learnt from (appendix F)."""

    probability: Share = 0.5
    smallest: Fraction = Field(0.5, description="least side of a crop, as a share of the image's")


class TrainedModel(Section):
    """A text-to-image model that the workflow trains on the real training images."""

    autoencoder: Name = Field("small", description="one of `autoencoders`")
    text_encoder: Name = Field("small", description="one of `text_encoders`")
    denoiser: Denoiser = DiTDenoiser()
    start: FolderName | None = Field(
        None,
        description="what its weights begin as: another of `trained_models`, or a pipeline folder, "
        "which may be of another resolution or data set; random if left out",
    )
    captions: list[PromptKind] = Field(
        ["classname", "caption"],
        min_length=1,
        description="how images are described; several are drawn from evenly",
    )
    composites: CompositeAugmentation | None = None
    crops: CropAugmentation | None = None
    objective: Literal["flow", "epsilon"] = Field("flow", description="what is predicted")
    steps: Count = Field(600, description="optimiser steps")
    batch_size: Count = 64
    micro_batch: Count | None = Field(
        None, description="images that a process takes at once; all of its share if left out"
    )
    learning_rate: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 60
    schedule: Literal["constant", "cosine"] = "cosine"
    gradient_clip: Annotated[float, Field(ge=0)] = Field(1.0, description="0 for none")
    ema_decay: Fraction = 0.995
    drop_text: Share = Field(0.1, description="share of prompts emptied, for guidance")
    self_conditioning: Share = Field(
        0.9, description="how often CAD-I goes on from its own latents"
    )
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = Field(False, description="compile the denoiser with torch.compile")
    sheet_every: Count | None = Field(
        None, description="steps between contact sheets of samples; one at the end if left out"
    )
    seed: Seed = 0
    processes: Count = Field(1, description="that share each batch, each with a GPU of its own")
    nodes: Count = Field(1, description="of a cluster, that the processes are spread over")
    threads: Count = Field(1, description="CPU threads; a fixed number, as it moves last digits")

    @model_validator(mode="after")
    def _shared(self) -> Self:
        if self.batch_size % self.processes:
            raise ValueError(
                f"batch_size: {self.batch_size} images cannot be shared by {self.processes} "
                "processes"
            )
        if self.processes % self.nodes:
            raise ValueError(
                f"nodes: {self.processes} processes cannot be spread evenly over {self.nodes} nodes"
            )
        return self

    @property
    def learns_from(self) -> dict[str, str]:
        """The sources it is trained on, by what options of them begin with."""
        found = {"": "real"}
        if self.composites:
            found["composite_"] = f"cutmix-{self.composites.pattern}"
        return found

    def kinds_of(self, source: str) -> list[PromptKind]:
        """Return how images of a source are described: composites by their captions alone."""
        return list(self.captions) if source == "real" else ["long"]

    @property
    def augmentation(self) -> str:
        """What is made of the images besides, in words: "CutMix all, p 0.5 above 400"."""
        told = []
        if used := self.composites:
            told.append(f"CutMix {used.pattern}, p {used.probability:g} above {used.above:g}")
        if self.crops:
            told.append(f"crops from {self.crops.smallest:g}, p {self.crops.probability:g}")
        return "; ".join(told) or "none"

    def options(self) -> dict[str, Any]:
        """Return what `train_generator` needs to know."""
        return self.model_dump(
            mode="json",
            exclude={"autoencoder", "text_encoder", "start", "threads", "processes", "nodes"},
        )
