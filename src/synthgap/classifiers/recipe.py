"""How a classifier is trained. Light, as the Snakefile uses it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from synthgap.errors import UserError

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Strength = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SemiSupervised(BaseModel):
    """How to learn from images whose labels are not used."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    method: Literal["freematch", "flexmatch"] = Field(
        description="how sure a network must be of an image, by class, to learn from its own answer"
    )
    unlabelled_ratio: Count = Field(7, description="unlabelled images a step for each labelled one")
    weight: Strength = Field(1.0, description="of the unlabelled images' loss")
    fairness: Strength = Field(
        0.01, description="weight of the term that keeps answers diverse; of freematch alone"
    )
    decay: Share = Field(
        0.999, description="a step, of the averages that freematch's thresholds come from"
    )


class Recipe(BaseModel):
    """How to train."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    epochs: Count = 15
    batch_size: Count = Field(
        64, description="images a step at most; an epoch is cut into nearly equal batches"
    )
    micro_batch: Count | None = Field(
        None,
        description="images at once on the device, whose gradients add up to the batch's; batch "
        "norms see these alone. All of them if left out",
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field(
        "adamw",
        description="decay adds to the gradient (adam, sgd) or shrinks the weights (adamw)",
    )
    betas: Annotated[list[Share], Field(min_length=2, max_length=2)] = Field(
        [0.9, 0.999],
        description="decay of Adam's averages of the gradient and of its square; the first is "
        "Nesterov's momentum of sgd",
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        3e-3, description="the highest, after warm-up"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        0.05,
        description="of matrices and kernels, not of biases, norms, tokens and position embeddings",
    )
    warmup_epochs: Annotated[int, Field(ge=0)] = Field(1, description="linear, from near 0")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="after warm-up: to 0, or constant"
    )
    label_smoothing: Share = 0.1
    gradient_clip: Annotated[float, Field(ge=0)] = Field(
        0.0, description="highest norm of the whole gradient; 0 clips nothing"
    )
    ema_decay: Share = Field(
        0.0,
        description="a step, of a moving average of the weights, which is what is validated and "
        "kept; 0 does without",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the network's products; weights and loss stay in float32"
    )
    input_size: Count | None = Field(
        None, description="side in pixels of what the network sees; the images' own if left out"
    )
    test_share: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="share of an image's side that is validated and tested on, its middle, in the "
        "network's size: 0.875 is the middle 224 of 256 pixels; 1 is all of it",
    )
    shift: Annotated[int, Field(ge=0)] = Field(3, description="largest random shift in pixels")
    flip: bool = Field(False, description="mirror half of the images")
    crop_min_area: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="random resized crop of at least this share of the area; 1 crops nothing"
    )
    rand_augment: Annotated[float, Field(ge=0, le=10)] = Field(
        0.0, description="magnitude of RandAugment, two operations an image; 0 does without"
    )
    rand_augment_deviation: Strength = Field(
        0.5, description="standard deviation of each operation's magnitude"
    )
    three_augment: bool = Field(
        False, description="each image in grey, solarised or blurred (Touvron et al. 2022)"
    )
    colour_jitter: Share = Field(
        0.0, description="brightness, contrast and saturation change by this share at most"
    )
    cutmix: bool = Field(False, description="mix patches and labels within a batch")
    mixup: Strength = Field(
        0.0,
        description="alpha of mixup, which fades pairs of a batch into each other; 0 does without. "
        "With cutmix, each batch has one of the two by chance",
    )

    labels_per_class: Count | None = Field(
        None,
        description="images of each class whose labels are used, drawn by the training's seed; all "
        "if left out. The others are left out, too, without `semi_supervised`",
    )
    semi_supervised: SemiSupervised | None = Field(
        None, description="learn from the other images without their labels"
    )

    @model_validator(mode="after")
    def _warms_up_within(self) -> Self:
        if self.warmup_epochs > self.epochs:
            raise ValueError("warmup_epochs must not be above epochs")
        return self

    @model_validator(mode="after")
    def _tests_at_a_size(self) -> Self:
        if self.test_share < 1 and not self.input_size:
            raise ValueError("test_share: set input_size, which the middle is resized to")
        return self

    @model_validator(mode="after")
    def _has_two_versions(self) -> Self:
        if not self.semi_supervised:
            return self
        if not self.labels_per_class:
            raise ValueError("semi_supervised: say in labels_per_class how many labels there are")
        if not self.rand_augment:
            raise ValueError("semi_supervised: set rand_augment, which makes the strong versions")
        if self.cutmix or self.mixup:
            raise ValueError("semi_supervised: leave out cutmix and mixup, which mix labels")
        return self

    @property
    def about_labels(self) -> dict[str, Any]:
        """What the metrics table says of the labels; nothing where all are used."""
        if not self.labels_per_class:
            return {}
        method = self.semi_supervised.method if self.semi_supervised else "supervised"
        return {"labels_per_class": self.labels_per_class, "method": method}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Return the recipe of a config's mapping.

        Raises:
            UserError: a key is unknown, or a value of the wrong kind or out of range.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            told = [
                f"{'.'.join(map(str, one['loc'])) or 'recipe'}: {one['msg']}"
                for one in error.errors(include_url=False)
            ]
            raise UserError(f"recipe: {'; '.join(told)}; see config/README.md") from None
