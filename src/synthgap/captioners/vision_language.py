"""A vision-language model of transformers as captioner, on one's own device.

LLaVA-NeXT encodes the whole image, resized to one square tile, and then the enlarged image in
tiles of that size. Paper B (appendix D) leaves out the tokens of the latter, and, of a composite
with a small pasted image, keeps those of the tile in which it lies. Here the tiles that are left
out do not pass the vision tower either.
"""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava_next.modeling_llava_next import (
    get_anyres_image_grid_shape,
    unpad_image,
)

from synthgap.captioners import Picture, Reply
from synthgap.devices import is_too_large
from synthgap.errors import UserError, suggest
from synthgap.hub import origin

log = logging.getLogger("synthgap")

DTYPES = ("auto", "float32", "bfloat16", "float16")
# Of a spec: what `VisionLanguageCaptioner` takes, and what only tells where things come from.
SETTINGS = ("prompt", "prune", "max_new_tokens", "dtype", "batch_size", "image_size")
NAMES = ("kind", "model", "revision", "prompt_name")
PRUNED_FAMILY = "llava_next"

Box = tuple[float, float, float, float]


def load(
    spec: dict[str, Any], *, model: Path | None, device: str, cache: Path | None
) -> "VisionLanguageCaptioner":
    """Load the captioner of kind `transformers`.

    Args:
        spec: `prompt` and, with the defaults of `VisionLanguageCaptioner`, `prune`,
            `max_new_tokens`, `dtype`, `batch_size` and `image_size`; `model` names it in tables.
        model: folder of the model.
        cache: not used.

    Raises:
        UserError: an unknown setting, no folder, or what `VisionLanguageCaptioner` refuses.
    """
    for key in spec:
        if key not in (*NAMES, *SETTINGS):
            raise UserError(f"captioner 'transformers' has no `{key}`{suggest(key, SETTINGS)}")
    if model is None:
        raise UserError("the captioner 'transformers' needs the folder of its model")
    if "prompt" not in spec:
        raise UserError("captioner 'transformers': `prompt`, the text to ask with, is missing")
    settings = {key: spec[key] for key in SETTINGS if key in spec}
    return VisionLanguageCaptioner(
        model, device=device, name=spec.get("model") or model.name, **settings
    )


class VisionLanguageCaptioner:
    """Ask a model for a text on each picture, a batch at a time, by greedy decoding.

    Sampling and beams that the folder's generation_config.json may ask for are not used.

    Args:
        folder: as on the hub: config.json, safetensors, tokenizer, image processor and chat
            template of any model of `AutoModelForImageTextToText` that has a decoder only.
        prompt: what to ask; `{class_name}` becomes the picture's class name.
        prune: for LLaVA-NeXT, keep the tokens of the base image only, and of a picture whose
            `box` is at most half as high and half as wide as the image, those of the tile in which
            the box's centre lies, in rows with the newline embedding behind each.
        max_new_tokens: at which a text is cut off.
        dtype: of the weights; `auto` is bfloat16 on a GPU and float32 on a CPU.
        batch_size: pictures a forward pass. Halved, for good, when memory runs out.
        image_size: side in pixels that images are brought to before the model's own processor sees
            them; None leaves them as they are. It decides the number of tiles: LLaVA-NeXT makes two
            of a square image of up to 336 px, and four of a larger one.
        device: torch's.
        name: what tables call the model; by default the folder's name.

    Raises:
        UserError: the folder holds no such model, or not all of it, or a setting does not suit it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        prompt: str,
        prune: bool = False,
        max_new_tokens: int = 200,
        dtype: str = "auto",
        batch_size: int = 32,
        image_size: int | None = None,
        device: str = "cpu",
        name: str | None = None,
    ) -> None:
        if dtype not in DTYPES:
            raise UserError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")
        if dtype == "auto":
            dtype = "float32" if device == "cpu" else "bfloat16"
        _check_family(folder, prune)
        # What generation warns of, it would for every batch.
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
        self.processor, self.model = _load(folder, getattr(torch, dtype), device)
        self.tokenizer = self.processor.tokenizer
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.ends = _make_greedy(self.model.generation_config, self.tokenizer)
        self.name = name or folder.name
        self.origin = origin(folder)
        self.prompt, self.prune, self.max_new_tokens = prompt, prune, max_new_tokens
        self.image_size = image_size
        self.device, self.at_once, self.fits = device, batch_size, batch_size

    def caption(self, pictures: Sequence[Picture]) -> list[Reply]:
        """Return the model's text on each picture; their sizes may differ.

        A batch moves the last digits of its pictures' numbers, and so, seldom, a word.

        Raises:
            UserError: the device has no room for a single one.
        """
        images = [self._image(picture) for picture in pictures]
        replies: list[Reply] = []
        while len(replies) < len(pictures):
            batch = slice(len(replies), len(replies) + self.fits)
            found = self._ask(pictures[batch], images[batch])
            # Out here no traceback holds on to tensors any more.
            if found is None:
                self._halve(len(images[batch]))
            else:
                replies += found
        return replies

    def _image(self, picture: Picture) -> Image.Image:
        image = Image.fromarray(picture.pixels())
        if self.image_size is None:
            return image
        return image.resize((self.image_size, self.image_size), Image.Resampling.BICUBIC)

    @torch.inference_mode()
    def _ask(self, pictures: Sequence[Picture], images: list[Image.Image]) -> list[Reply] | None:
        """Return the replies of one batch, or None where it does not fit in memory."""
        start = time.perf_counter()
        try:
            inputs = self._inputs(pictures, images)
            output = self.model.generate(**inputs, max_new_tokens=self.max_new_tokens)
        except RuntimeError as error:
            if not is_too_large(error):
                raise
            return None
        made = output[:, inputs["input_ids"].shape[1] :].tolist()
        given = inputs["attention_mask"].sum(dim=1).tolist()
        seconds = (time.perf_counter() - start) / len(pictures)
        return [self._reply(*tokens, seconds) for tokens in zip(made, given, strict=True)]

    def _reply(self, made: list[int], given: int, seconds: float) -> Reply:
        """Return the reply that tokens spell, where an end token is followed by padding."""
        end = next((place for place, token in enumerate(made) if token in self.ends), None)
        made = made if end is None else made[: end + 1]
        return Reply(
            self.tokenizer.decode(made, skip_special_tokens=True),
            finish="length" if end is None else "stop",
            model=self.origin,
            input_tokens=given,
            output_tokens=len(made),
            seconds=seconds,
        )

    def _halve(self, tried: int) -> None:
        """Go on with batches half as large as the one that did not fit."""
        if self.device != "cpu":
            torch.cuda.empty_cache()
        if tried == 1:
            raise UserError(
                f"{self.name}: not even one picture fits in the memory of {self.device}; take a "
                "larger device, a smaller model or fewer max_new_tokens"
            )
        self.fits = tried // 2
        log.info("%d pictures do not fit in memory; going on with %d", tried, self.fits)

    def _inputs(self, pictures: Sequence[Picture], images: list[Image.Image]) -> dict[str, Any]:
        """Return what `generate` takes, on the device."""
        conversations = []
        for picture, image in zip(pictures, images, strict=True):
            prompt = self.prompt.replace("{class_name}", picture.class_name)
            content = [{"type": "image", "image": image}, {"type": "text", "text": prompt}]
            conversations.append([{"role": "user", "content": content}])
        inputs = self.processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        if self.prune:
            inputs = self._pruned(inputs, [picture.box for picture in pictures])
        return dict(inputs.to(self.device, self.model.dtype))

    def _pruned(
        self, inputs: transformers.BatchFeature, boxes: list[Box | None]
    ) -> transformers.BatchFeature:
        """Put tokens of the image that were made here in place of pixels."""
        sizes = inputs["image_sizes"].tolist()
        features = image_tokens(self.model, inputs["pixel_values"], sizes, boxes)
        rows = []
        for ids, mask, tokens in zip(
            inputs["input_ids"], inputs["attention_mask"], features, strict=True
        ):
            ids = ids[mask.bool()]
            held = ids == self.model.config.image_token_id
            rows.append(ids[~held | (held.cumsum(0) <= len(tokens))])
        pruned = transformers.BatchFeature(
            self.tokenizer.pad({"input_ids": rows}, return_tensors="pt")
        )
        made = BaseModelOutputWithPooling(pooler_output=features)
        pruned["mm_encoder_outputs"] = {"image": made}
        return pruned


def image_tokens(
    model: Any, tiles: Tensor, sizes: list[list[int]], boxes: list[Box | None]
) -> list[Tensor]:
    """Return what is left of images for a LLaVA-NeXT to see, in the order of its packed form.

    Args:
        model: a `LlavaNextForConditionalGeneration`.
        tiles: (images, tiles, 3, side, side), as its image processor makes them; the base image is
            the first tile.
        sizes: height and width of each image in pixels.
        boxes: what adds the tokens of a tile where it is small; see `VisionLanguageCaptioner`.

    Returns:
        A tensor (tokens, width) for each image, on the model's device.
    """
    places = [
        _place(model.config, size, box) if box and max(box[2:]) <= 0.5 else None
        for size, box in zip(sizes, boxes, strict=True)
    ]
    used = [
        image[[0]] if place is None else image[[0, 1 + place[0]]]
        for image, place in zip(tiles, places, strict=True)
    ]
    encoded = _encode(model, torch.cat(used)).split([len(one) for one in used])
    found = []
    for (base, *others), place in zip(encoded, places, strict=True):
        if place is not None:
            rows = others[0][place[1].to(base.device)]
            newline = model.model.image_newline.to(base).expand(len(rows), 1, -1)
            base = torch.cat([base, torch.cat([rows, newline], dim=1).flatten(0, 1)])
        found.append(base)
    return found


def _place(config: Any, size: list[int], box: Box) -> tuple[int, Tensor]:
    """Return the number of the tile in which a box's centre lies, and its tokens.

    The image is fitted into its tiles with padding, whose tokens the packed form leaves out: those
    returned, (rows, columns), are the numbers within the tile of the tokens that show the image.
    """
    side = config.vision_config.image_size // config.vision_config.patch_size
    rows, columns = get_anyres_image_grid_shape(
        size, config.image_grid_pinpoints, config.vision_config.image_size
    )
    numbers = torch.arange(rows * columns * side**2).view(rows, columns, side, side)
    grid = unpad_image(numbers.transpose(1, 2).reshape(1, rows * side, columns * side), size)[0]
    top, left, height, width = box
    centre = int((top + height / 2) * len(grid)), int((left + width / 2) * grid.shape[1])
    tile = int(grid[centre]) // side**2
    within = grid // side**2 == tile
    return tile, grid[within].view(int(within.any(dim=1).sum()), -1) % side**2


def _encode(model: Any, tiles: Tensor) -> Tensor:
    """Return the tokens (tiles, tokens, width) of tiles (tiles, 3, side, side)."""
    layers = model.config.vision_feature_layer
    hidden = model.model.vision_tower(
        tiles.to(model.device, model.dtype), output_hidden_states=layers, return_dict=True
    ).hidden_states
    chosen = (
        hidden[layers]
        if isinstance(layers, int)
        else torch.cat([hidden[layer] for layer in layers], dim=-1)
    )
    if model.config.vision_feature_select_strategy == "default":
        chosen = chosen[:, 1:]  # without the class token
    tokens: Tensor = model.model.multi_modal_projector(chosen)
    return tokens


def _check_family(folder: Path, prune: bool) -> None:
    """Refuse a folder of another kind before its weights are read."""
    if not (folder / "config.json").exists():
        raise UserError(f"{folder} is no vision-language model: it has no config.json")
    config = json.loads((folder / "config.json").read_text())
    family = config.get("model_type")
    if prune and family != PRUNED_FAMILY:
        raise UserError(
            f"prune: only LLaVA-NeXT ({PRUNED_FAMILY}) has tokens to prune, and {folder} is a "
            f"{family}; leave `prune` out, or take a model of that family"
        )
    if config.get("is_encoder_decoder"):
        raise UserError(f"{folder}: a {family} has an encoder for text; only decoders are called")


def _load(folder: Path, dtype: torch.dtype, device: str) -> tuple[Any, Any]:
    """Return the processor and the model of a folder, with all its weights."""
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        processor = transformers.AutoProcessor.from_pretrained(folder, **local)
        model, report = transformers.AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=dtype,
            device_map=device,
            use_safetensors=True,
            output_loading_info=True,
            **local,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and is_too_large(error):
            raise UserError(f"{folder}: the model itself does not fit on {device}") from error
        raise UserError(
            f"{folder}: cannot be loaded as a vision-language model: {error}"
        ) from error
    if missing := sorted(report["missing_keys"]):
        # transformers would leave them as they were drawn at random.
        raise UserError(
            f"{folder}: the weights lack {len(missing)} tensors of the network, the first "
            f"being {missing[0]}"
        )
    if not getattr(processor, "image_processor", None):
        raise UserError(f"{folder}: it has no processor of images and text")
    if not processor.chat_template:
        raise UserError(
            f"{folder}: it has no chat template (chat_template.jinja), without which it is not "
            "known how this model is asked"
        )
    return processor, model


def _make_greedy(config: Any, tokenizer: Any) -> set[int]:
    """Set a generation config to greedy decoding, and return the tokens at which a text ends."""
    config.do_sample, config.num_beams, config.use_cache = False, 1, True
    if config.eos_token_id is None:
        config.eos_token_id = tokenizer.eos_token_id
    ends = config.eos_token_id
    return set(ends) if isinstance(ends, list) else {ends}
