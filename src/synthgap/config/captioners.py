"""Captioners: what a config may say of them, and the options that a job gets."""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, ValidationError, field_validator, model_validator

from synthgap.config.hub_user import HubUser, Published
from synthgap.config.sections import Count, FolderName, Name, Section
from synthgap.errors import UserError, suggest
from synthgap.hub import HubModel, is_folder

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# What of a service decides how replies are fetched, and not what they say.
TRANSPORT = {
    "base_url", "key_variable", "concurrency", "timeout", "attempts", "price", "batch", "cache",
    "answers_as",
}  # fmt: skip
# Not said to captioners at all, or in other words.
NO_OPTIONS = {"composites", "max_failed", "prompt", "composite_prompt", "threads"}
# What the request itself is made of.
RESERVED_ARGUMENTS = {
    "model", "messages", "stream", "n", "max_tokens", "max_completion_tokens", "temperature",
}  # fmt: skip


class CaptionModel(Section):
    """A published vision-language model."""

    title: str
    model: str = Field(description="hub id")
    revision: str | None = Field(pattern=r"^[0-9a-f]{40}$")
    license: str
    download_gb: Annotated[float, Field(gt=0)]
    prunes: bool


def _read(name: str) -> Any:
    import yaml

    return yaml.safe_load(Path(__file__).with_name(name).read_bytes())


@cache
def caption_models() -> dict[str, CaptionModel]:
    """Return the built-in vision-language models by name."""
    try:
        raw = _read("caption_models.yaml")
        return {name: CaptionModel.model_validate(entry) for name, entry in raw.items()}
    except ValidationError as error:
        raise UserError(f"caption_models.yaml: {error}") from None


@cache
def caption_prompts() -> dict[str, str]:
    """Return the built-in prompts by name."""
    prompts: dict[str, str] = _read("caption_prompts.yaml")
    return prompts


def _named_or_text(prompt: str) -> str:
    """Check a prompt: one of the built-in names, or a text of several words."""
    if prompt not in caption_prompts():
        if len(prompt.split()) < 2:
            raise ValueError(
                f"no prompt `{prompt}`{suggest(prompt, caption_prompts())}; or write the text of "
                "one, of two words at least"
            )
        if "\0" in prompt:
            raise ValueError("a prompt has no NUL character")
        if unknown := set(re.findall(r"{(.*?)}", prompt)) - {"class_name"}:
            raise ValueError(f"`{{{min(unknown)}}}` is not known in a prompt; {{class_name}} is")
    return prompt


class _Captioner(Section):
    """What all captioners have."""

    composites: bool = Field(False, description="also caption the composites (paper B)")
    max_failed: Share = Field(
        0.01, description="share of a shard's images that may be left without a caption"
    )

    @property
    def hub_model(self) -> HubModel | None:
        """What is downloaded, where the model comes from a hub."""
        return None

    @property
    def transport(self) -> str:
        """How a service is reached, as JSON: nothing that shapes its replies."""
        return "{}"


class _Asking(_Captioner):
    """What captioners have that ask a model."""

    prompt: str = Field(description="a built-in prompt's name, or its text")
    composite_prompt: str = Field("paper-b-cutmix", description="the same, for composites")

    @field_validator("prompt", "composite_prompt")
    @classmethod
    def _known(cls, prompt: str) -> str:
        return _named_or_text(prompt)

    def options(self, composite: bool = False) -> dict[str, Any]:
        """Return what shapes the captions of real images, or of composites."""
        prompt = self.composite_prompt if composite else self.prompt
        text = caption_prompts().get(prompt, prompt)
        name = prompt
        if prompt not in caption_prompts():
            name = f"own-{hashlib.sha256(prompt.encode()).hexdigest()[:8]}"
        told = self.model_dump(mode="json", exclude=NO_OPTIONS | TRANSPORT)
        return told | {"prompt": text, "prompt_name": name}


class _Measuring(_Captioner):
    """What measures pixels, without settings."""

    kind: str

    @property
    def label(self) -> str:
        """What the plan calls it."""
        return self.kind

    def options(self, composite: bool = False) -> dict[str, Any]:
        """Return what shapes the captions."""
        return {"kind": self.kind}


class AttributesCaptioner(_Measuring):
    """Measures drawn figures: no model, no network."""

    kind: Literal["attributes"] = "attributes"


class ColoursCaptioner(_Measuring):
    """Measures the colours and light of photographs: no model, no network."""

    kind: Literal["colours"]


class ModelCaptioner(HubUser, _Asking):
    """A vision-language model of transformers on one's own GPUs (paper B, appendix D)."""

    noun = "captioner's model"

    kind: Literal["transformers"]
    model: FolderName = Field(
        "llava-next-llama3-8b", description="a built-in model, a hub id or a folder"
    )
    revision: Name | None = Field(None, description="the hub's commit; pins what is downloaded")
    prune: bool = Field(
        False, description="keep the base image's tokens only (LLaVA-NeXT), as paper B does"
    )
    max_new_tokens: Count = Field(200, description="of a caption")
    image_size: Annotated[int, Field(ge=8)] | None = Field(
        None, description="side in pixels that images are brought to first; as they are if left out"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="`auto`: bfloat16 on a GPU, float32 on a CPU"
    )
    batch_size: Count = Field(32, description="images a call; recorded, as it moves last digits")
    threads: Count = Field(4, description="CPU threads")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        self.check_model()
        known = caption_models().get(self.model)
        if known and self.prune and not known.prunes:
            raise ValueError(f"prune: {known.title} has no tokens to prune; leave it out")
        if self.prune and not known and is_folder(self.model):
            family = json.loads(Path(self.model, "config.json").read_text()).get("model_type")
            if family != "llava_next":
                raise ValueError(f"prune: {self.model} is a {family}; only llava_next is pruned")
        return self

    @staticmethod
    def built_in() -> Mapping[str, Published]:
        """Return the built-in vision-language models by name."""
        return caption_models()

    @property
    def label(self) -> str:
        """What the plan calls it."""
        return self.model

    def options(self, composite: bool = False) -> dict[str, Any]:
        """Return what shapes the captions of real images, or of composites."""
        model, revision = self.origin
        return super().options(composite) | {"model": model, "revision": revision}


class TokenPrice(Section):
    """What a service asks for, in US dollars a million tokens."""

    input: Price
    output: Price


class Batches(Section):
    """The service's batch endpoint: cheaper, within a day."""

    requests: Annotated[int, Field(ge=1, le=50_000)] = Field(
        50_000, description="most requests of a file"
    )
    megabytes: Positive = Field(190.0, description="most megabytes (10^6 bytes) of a file")
    open: Count = Field(100, description="batches that are with the service at once")
    window: Annotated[str, Field(pattern=r"^[1-9][0-9]*h$")] = Field(
        "24h", description="within which the service is to finish"
    )
    poll_seconds: Positive = Field(60.0, description="between two looks at the batches")
    resubmit: Count = Field(5, description="passes, one after the other, that may bring no reply")
    price_factor: Share = Field(0.5, description="what a batch costs, of the usual price")


class ServiceCaptioner(_Asking):
    """Any service that speaks OpenAI's protocol: hosted, or vLLM on the cluster."""

    kind: Literal["service"]
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9/][A-Za-z0-9_./:@+-]*$")] = Field(
        description="as the service names it"
    )
    answers_as: str | None = Field(
        None, description="another name of the model in its replies, for an alias"
    )
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s'\"]+$")] = Field(
        "https://api.openai.com/v1", description="address, mostly up to `/v1`"
    )
    key_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = Field(
        "OPENAI_API_KEY",
        description="environment variable that holds the key; null for a service without",
    )
    detail: Literal["low", "high", "auto"] = Field("low", description="how closely it looks")
    image_size: Annotated[int, Field(ge=8)] | None = Field(
        None, description="side in pixels that images are sent at; as they are if left out"
    )
    max_tokens: Count = Field(200, description="of a caption")
    token_argument: Literal["max_completion_tokens", "max_tokens"] = Field(
        "max_completion_tokens", description="what the service calls `max_tokens`; older: the same"
    )
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="the service's own if left out; some models take none"
    )
    arguments: dict[str, JsonValue] = Field({}, description="further fields of the request")
    concurrency: Count = Field(32, description="requests at once")
    timeout: Positive = Field(120.0, description="seconds to wait for a whole reply")
    attempts: Count = Field(6, description="tries for a request, with growing pauses")
    price: TokenPrice | None = Field(None, description="for costs; unknown if left out")
    batch: Batches | None = Field(None, description="`{}` to use the batch endpoint")
    cache: FolderName = Field(
        "captions-cache", description="folder of all replies, so that none is paid for twice"
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        try:
            parts = urlsplit(self.base_url)
            whole = bool(parts.hostname) and parts.port != 0
        except ValueError:
            whole = False
        if not whole:
            raise ValueError(
                f"base_url: `{self.base_url}` is no address, such as http://node7:8000/v1"
            )
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "base_url: no user name, key or query in an address; put the key into the "
                "environment and name its variable as `key_variable`"
            )
        try:
            json.dumps(self.arguments, allow_nan=False)
        except ValueError:
            raise ValueError("arguments: numbers must be finite") from None
        if reserved := RESERVED_ARGUMENTS & self.arguments.keys():
            raise ValueError(f"arguments: `{min(reserved)}` is set by other keys or the workflow")
        return self

    @property
    def label(self) -> str:
        """What the plan calls it."""
        return self.model

    @property
    def transport(self) -> str:
        """How a service is reached, as JSON: nothing that shapes its replies."""
        return self.model_dump_json(include=TRANSPORT - {"cache"})


Captioner = Annotated[
    AttributesCaptioner | ColoursCaptioner | ModelCaptioner | ServiceCaptioner,
    Field(discriminator="kind"),
]
