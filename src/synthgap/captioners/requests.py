"""What a service is asked and what it answers: the same one by one and in batches."""

import base64
import io
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synthgap.captioners import Finish, Picture, Reply
from synthgap.data.images import ImageFormat, encode
from synthgap.errors import UserError

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
_KINDS: dict[bytes, ImageFormat] = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}


# Codes and statuses of errors, by what they mean.
QUOTA = {"insufficient_quota", "billing_hard_limit_reached"}
REFUSED = {"content_policy_violation", "content_filter"}
PASSING = {408, 409, 429}


class MalformedReplyError(Exception):
    """The service answered, but not in its protocol."""


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Part(_Lenient):
    text: str = ""


class _Message(_Lenient):
    content: str | list[_Part] | None = None
    refusal: str | None = None


class _Choice(_Lenient):
    message: _Message
    finish_reason: str | None = None


class _Usage(_Lenient):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(_Lenient):
    model: str | None = None
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def request_body(spec: Mapping[str, Any], picture: Picture) -> dict[str, Any]:
    """Return the body of the request for one picture.

    Args:
        spec: the options of `synthgap.config.captioners.ServiceCaptioner`.
    """
    content = picture.read()
    image_format = next((k for start, k in _KINDS.items() if content.startswith(start)), None)
    if image_format is None:
        raise UserError(f"{picture.key}: neither PNG, JPEG nor WebP, and so not to be sent")
    if side := spec["image_size"]:
        pixels = picture.pixels()
        if pixels.shape[:2] != (side, side):
            image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
            content = encode(np.asarray(image), image_format)
    address = f"data:image/{image_format};base64,{base64.b64encode(content).decode()}"
    body: dict[str, Any] = {
        "model": spec["model"],
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "text",
                        "text": spec["prompt"].replace("{class_name}", picture.class_name),
                    },
                    {
                        "type": "image_url",
                        "image_url": {"url": address, "detail": spec["detail"]},
                    },
                ],
            }
        ],
        spec["token_argument"]: spec["max_tokens"],
        **spec["arguments"],
    }
    if spec["temperature"] is not None:
        body["temperature"] = spec["temperature"]
    return body


def read_completion(
    content: bytes | str,
    asked: str,
    price: Mapping[str, float] | None,
    *,
    factor: float = 1.0,
    seconds: float | None = None,
    attempts: int = 1,
) -> Reply:
    """Return the reply that a completion holds.

    Args:
        content: the body of the answer, JSON.
        asked: the model that was asked.
        price: US dollars a million tokens, `input` and `output`.
        factor: share of the price that is paid.

    Raises:
        MalformedReplyError: it is not in the protocol.
    """
    try:
        completion = _Completion.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise MalformedReplyError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    choice = completion.choices[0]
    finishes: dict[str | None, Finish] = {"length": "length", "content_filter": "refused"}
    finish = finishes.get(choice.finish_reason, "stop")
    if choice.message.refusal:
        finish = "refused"
    usage = completion.usage or _Usage()
    tokens = usage.prompt_tokens, usage.completion_tokens
    content_or_parts = choice.message.content or ""
    if not isinstance(content_or_parts, str):
        content_or_parts = "".join(part.text for part in content_or_parts)
    return Reply(
        text=content_or_parts or choice.message.refusal or "",
        finish=finish,
        model=completion.model or asked,
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        cost_usd=cost(tokens[0], tokens[1], price, factor),
        seconds=None if seconds is None else round(seconds, 3),
        attempts=attempts,
    )


def require_model(replies: Iterable[Reply], asked: str, answers_as: str | None) -> None:
    """Raise UserError where another model answered than was asked.

    An owner in front, and a date or version behind, only tell more exactly which one it is.

    Args:
        answers_as: another name that the service has for the model.
    """
    for answered in {reply.model for reply in replies if reply.finish != "failed"}:
        own = answered.rpartition("/")[2]
        names = [name.rpartition("/")[2] for name in (asked, answers_as or asked)]
        if not any(re.fullmatch(re.escape(name) + r"([-@:_]v?\d.*)?", own) for name in names):
            raise UserError(
                f"captioner.model: asked {asked}, and {answered} answered; if that is what you "
                f"mean, set `answers_as: {answered}`"
            )


def cost(
    input_tokens: int | None,
    output_tokens: int | None,
    price: Mapping[str, float] | None,
    factor: float = 1.0,
) -> float | None:
    """Return US dollars, or None where tokens or price are not known."""
    if price is None or input_tokens is None or output_tokens is None:
        return None
    return factor * (input_tokens * price["input"] + output_tokens * price["output"]) / 1e6


def reason(content: bytes | str, key: str = "") -> tuple[str, str]:
    """Return code and message of a service's error, as far as it tells them, without the key."""
    try:
        told = json.load(io.StringIO(content if isinstance(content, str) else content.decode()))
    except ValueError:
        return "", ""
    if isinstance(told, list) and told:  # as one large service has it
        told = told[0]
    error = told.get("error", told) if isinstance(told, dict) else {}
    if not isinstance(error, dict):
        return "", without(str(error), key)[:300]
    message = without(str(error.get("message") or ""), key)[:300]
    return str(error.get("code") or error.get("type") or ""), message


def read_key(variable: str | None) -> str:
    """Return the service's key from the environment; raises UserError where there is none."""
    if variable is None:
        return "none"
    if key := os.environ.get(variable, "").strip():
        if re.fullmatch(r"[!-~]+", key):
            return key
        raise UserError(
            f"the environment variable {variable} holds no key: keys are printable ASCII without "
            "blanks or line breaks"
        )
    raise UserError(
        f"the environment variable {variable} is not set; it is to hold the key of the captioning "
        "service (`captioner.key_variable`; null for a service that needs none)"
    )


def quiet_clients() -> None:
    """Keep the clients from logging a line a request."""
    for noisy in ("httpx2", "httpx", "openai"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def without(text: str, key: str) -> str:
    """Return a service's message without the key, should it repeat it."""
    return text.replace(key, "***") if len(key) > 4 else text
