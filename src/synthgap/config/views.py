"""Views: what a config may say of them, and the options that a job gets."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from synthgap.config.hub_user import HubUser, Published
from synthgap.config.sections import Count, FolderName, Name, Section
from synthgap.errors import UserError
from synthgap.views.cutoff import half_width_from_nyquist

Share = Annotated[float, Field(gt=0, le=1)]
ShareOrNone = Annotated[float, Field(ge=0, le=1)]
Mask = Literal["rectangle", "circle"]
Encoding = Literal["clip", "offset", "minmax"]
Lossless = Literal["webp", "png"]
# JPEG's quantisation is of the size of what a high-pass leaves, and its blocks put back high
# frequencies that a low-pass took away; so views of frequencies are lossless always.
Codec = Literal["webp", "png", "jpeg"]


class DepthModel(Section):
    """A published depth model."""

    title: str
    model: str = Field(description="hub id")
    revision: str | None = Field(pattern=r"^[0-9a-f]{40}$")
    parameters: Count
    license: str
    download_gb: Annotated[float, Field(gt=0)]


@cache
def depth_models() -> dict[str, DepthModel]:
    """Return the built-in depth models by name."""
    import yaml

    raw = yaml.safe_load(Path(__file__).with_name("depth_models.yaml").read_bytes())
    try:
        return {name: DepthModel.model_validate(entry) for name, entry in raw.items()}
    except ValidationError as error:
        raise UserError(f"depth_models.yaml: {error}") from None


class DepthView(HubUser):
    """Structure without texture (paper A, section 3.1)."""

    noun = "depth model"
    needed_files = ("config.json", "preprocessor_config.json")

    kind: Literal["depth"]
    estimator: Literal["depth-anything", "distance-transform"] = Field(
        "depth-anything",
        description="`distance-transform` needs no model; it is for drawings and digits",
    )
    model: FolderName = Field(
        "depth-anything-v2-large",
        description="a built-in depth model, a hub id or a folder (depth-anything)",
    )
    revision: Name | None = Field(None, description="the hub's commit (depth-anything)")
    input_size: Annotated[int, Field(ge=14, multiple_of=14)] = Field(
        518, description="pixels of the shorter side in the network (depth-anything)"
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(
        "bilinear", description="how maps come back to the image's size (depth-anything)"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="`auto`: bfloat16 on a GPU, float32 on a CPU (depth-anything)"
    )
    batch_size: Count = Field(32, description="images a call (depth-anything)")
    threads: Count = Field(8, description="CPU threads that read and write (depth-anything)")
    normalise: Literal["image", "metric"] = Field(
        "image", description="each map by its own range, or 0 to `max_depth` for all"
    )
    max_depth: Annotated[float, Field(gt=0)] | None = Field(
        None, description="depth of the largest level, in the model's unit (metric)"
    )
    bits: Literal[8, 16] = Field(8, description="a pixel; classifiers read 8")
    codec: Codec = Field("png", description="png is smallest for maps; 16 bits need it")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.normalise == "metric") != (self.max_depth is not None):
            raise ValueError("`max_depth` is needed with `normalise: metric`, and only there")
        if self.bits == 16 and self.codec != "png":
            raise ValueError(f"16 bits need `codec: png`, {self.codec} has 8")
        if self.estimator == "distance-transform":
            settings = {*DISTANCE_TRANSFORM_SETTINGS}
            if foreign := sorted(self.model_fields_set - settings):
                raise ValueError(f"`{foreign[0]}` is of the estimator depth-anything")
        else:
            self.check_model()
        return self

    @staticmethod
    def built_in() -> Mapping[str, Published]:
        """Return the built-in depth models by name."""
        return depth_models()

    @property
    def needs_model(self) -> bool:
        """Whether the estimator has weights."""
        return self.estimator == "depth-anything"

    def options(self, side: int) -> dict[str, Any]:
        """Return what shapes the images."""
        if not self.needs_model:
            return self.model_dump(include=DISTANCE_TRANSFORM_SETTINGS)
        model, revision = self.origin
        return self.model_dump(exclude={"threads"}) | {"model": model, "revision": revision}


DISTANCE_TRANSFORM_SETTINGS = {"kind", "estimator", "normalise", "max_depth", "bits", "codec"}


class PassView(Section):
    """Low or high spatial frequencies (papers A and C)."""

    kind: Literal["low_pass", "high_pass"]
    half_width: Count | None = Field(
        None, description="half of the mask's side, in pixels of the spectrum; either this"
    )
    nyquist: Share | None = Field(None, description="or the same as a fraction of Nyquist")
    mask: Mask = "rectangle"
    encode: Encoding | None = Field(
        None, description="`clip` by default for a low-pass, `offset` for a high-pass"
    )
    settings: Literal["text", "code"] = Field(
        "text", description="`code`: as paper A's public code has it"
    )
    codec: Lossless = "webp"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.half_width is None) == (self.nyquist is None):
            raise ValueError("give either `half_width` or `nyquist`")
        if self.settings == "code":
            if self.nyquist is None or self.mask != "rectangle" or self.encode:
                raise ValueError(
                    "`settings: code` takes `nyquist` alone: paper A's code has a rectangle and "
                    "stretches each channel"
                )
            if self.kind == "high_pass" and self.nyquist == 1:
                raise ValueError("`settings: code` cuts at 1 - nyquist, which is 0 here")
        return self

    def options(self, side: int) -> dict[str, Any]:
        """Return what shapes the images, for images of `side` pixels.

        Raises:
            UserError: the cut-off is under one pixel.
        """
        share, encode = self.nyquist, self.encode
        if self.settings == "code" and share:
            encode = "minmax"
            # That code cuts its high-pass at 1 - c, so a pair of one c does not add up.
            share = 1 - share if self.kind == "high_pass" else share
            width: int | None = int(share * side / 2)
            if not width:
                raise UserError(
                    f"`settings: code` cuts {self.kind} at {share:.3g} of Nyquist, which is under "
                    f"one pixel at a side of {side}"
                )
        else:
            width = half_width_from_nyquist(share, side) if share else self.half_width
        encode = encode or ("clip" if self.kind == "low_pass" else "offset")
        return self.model_dump(include={"kind", "mask", "codec"}) | {
            "half_width": width,
            "encode": encode,
        }


class BandView(Section):
    """A band of spatial frequencies (paper C)."""

    kind: Literal["band_pass"]
    low: Annotated[int, Field(ge=0)] | None = Field(
        None, description="half-width up to which frequencies are removed"
    )
    high: Count | None = Field(None, description="half-width up to which frequencies are kept")
    nyquist: Annotated[list[ShareOrNone], Field(min_length=2, max_length=2)] | None = Field(
        None, description="the same two as fractions of Nyquist"
    )
    mask: Mask = "rectangle"
    encode: Encoding | None = Field(
        None, description="`offset` by default, `clip` for a band from 0"
    )
    codec: Lossless = "webp"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        ends = [self.low, self.high]
        if (None in ends) == (self.nyquist is None) or (self.nyquist and ends != [None, None]):
            raise ValueError("give either `low` and `high`, or `nyquist` with both ends")
        low, high = self.nyquist or ends
        assert low is not None
        assert high is not None
        if low >= high:
            raise ValueError(f"the lower end ({low}) must be below the upper one ({high})")
        return self

    def options(self, side: int) -> dict[str, Any]:
        """Return what shapes the images, for images of `side` pixels."""
        low, high = self.low, self.high
        if self.nyquist:
            ends = [half_width_from_nyquist(share, side) if share else 0 for share in self.nyquist]
            low, high = ends
            if low == high:
                raise UserError(f"nyquist: {self.nyquist} is an empty band at a side of {side}")
        encode = self.encode or ("offset" if low else "clip")
        kept = self.model_dump(include={"kind", "mask", "codec"})
        return kept | {"low": low, "high": high, "encode": encode}


class _Part(Section):
    """A view whose settings are its options as they are."""

    codec: Codec = "webp"

    def options(self, side: int) -> dict[str, Any]:
        """Return what shapes the images."""
        return self.model_dump()


class PatchesView(_Part):
    """Square patches in random order: texture without structure."""

    kind: Literal["patches"]
    size: Count = Field(description="side of a patch in pixels")


class CropView(_Part):
    """The central square (paper C)."""

    kind: Literal["center_crop"]
    size: Count = Field(description="side in pixels")


class RandomCropsView(_Part):
    """Squares at random places, several an image (paper C)."""

    kind: Literal["random_crops"]
    size: Count = Field(description="side in pixels")
    count: Count = Field(4, description="crops an image")


class ResizeView(_Part):
    """The same image in fewer pixels."""

    kind: Literal["resize"]
    size: Count = Field(description="side in pixels")


class JpegView(_Part):
    """What JPEG leaves: its traces in all images alike."""

    kind: Literal["jpeg"]
    quality: Annotated[int, Field(ge=1, le=95)] = Field(description="of libjpeg's scale")
    chroma: Literal["4:4:4", "4:2:2", "4:2:0"] = Field(
        "4:2:0", description="subsampling of the colours"
    )
    codec: Lossless = "webp"


View = Annotated[
    DepthView
    | PassView
    | BandView
    | PatchesView
    | CropView
    | RandomCropsView
    | ResizeView
    | JpegView,
    Field(discriminator="kind"),
]


def check_view(name: str, view: View, side: int) -> None:
    """Check that what is measured in pixels fits images of `side` pixels; ValueError if not."""
    try:
        options = view.options(side)
    except UserError as error:
        raise ValueError(f"views.{name}: {error}") from None
    width = options.get("half_width", options.get("high", 0))
    if width > side // 2:
        raise ValueError(f"views.{name}: {width} is beyond Nyquist, {side // 2} here")
    if options["kind"] == "high_pass" and options["mask"] == "rectangle" and 2 * width == side:
        raise ValueError(f"views.{name}: a half-width of {width} leaves nothing of {side} pixels")
    size = options.get("size", 0)
    if size > side:
        raise ValueError(f"views.{name}: size {size} is larger than the image, {side}")
