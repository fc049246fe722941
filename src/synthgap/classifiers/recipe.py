"""How a classifier is trained. Light, as the Snakefile uses it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from synthgap.errors import UserError

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Strength = Annotated[float, Field(ge=0, allow_inf_nan=False)]


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
    optimizer: Literal["adam", "adamw"] = Field(
        "adamw", description="decay adds to the gradient (adam) or shrinks the weights (adamw)"
    )
    betas: Annotated[list[Share], Field(min_length=2, max_length=2)] = Field(
        [0.9, 0.999], description="decay of Adam's averages of the gradient and of its square"
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        3e-3, description="the highest, after warm-up"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        0.05, description="of matrices and kernels, not of biases and norms"
    )
    warmup_epochs: Annotated[int, Field(ge=0)] = Field(1, description="linear, from near 0")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="after warm-up: to 0, or constant"
    )
    label_smoothing: Share = 0.1
    gradient_clip: Annotated[float, Field(ge=0)] = Field(
        0.0, description="highest norm of the whole gradient; 0 clips nothing"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the network's products; weights and loss stay in float32"
    )
    input_size: Count | None = Field(
        None, description="side in pixels of what the network sees; the images' own if left out"
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

    @model_validator(mode="after")
    def _warms_up_within(self) -> Self:
        if self.warmup_epochs > self.epochs:
            raise ValueError("warmup_epochs must not be above epochs")
        return self

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
