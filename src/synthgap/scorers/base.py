"""What scorers share: checks, loading of folders and files, and OpenAI's preprocessing."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import transforms

from synthgap import tensor_files
from synthgap.errors import UserError
from synthgap.tensor_files import one_line

DTYPES = ("float32", "bfloat16", "float16")
# Of the images that CLIP was trained on; torchvision's other numbers are ImageNet's.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Pictures = Sequence[Image.Image]


class TorchScorer(ABC):
    """A scorer (`synthgap.scorers.Scorer`) whose networks are torch's."""

    metric: str
    name: str
    needs_prompt = True
    identity: dict[str, Any]

    def __init__(self, spec: Mapping[str, Any], device: str) -> None:
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()  # what matters of it is raised
        self.dtype_name = spec.get("dtype", "float32")
        if self.dtype_name not in DTYPES:
            raise UserError(f"unknown dtype {self.dtype_name!r}; known: {', '.join(DTYPES)}")
        self.dtype: torch.dtype = getattr(torch, self.dtype_name)
        self.device, self.cut = device, 0

    def score(
        self, images: Sequence[NDArray[np.uint8]], prompts: Sequence[str]
    ) -> NDArray[np.float32]:
        """Return the scores, float32 (N,); see `synthgap.scorers.Scorer`."""
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise UserError(
                    f"images must be uint8 (H, W, 3), not {image.dtype} of shape {image.shape}"
                )
        if self.needs_prompt:
            if len(prompts) != len(images):
                raise UserError(f"{len(images)} images need as many prompts, not {len(prompts)}")
            for place, prompt in enumerate(prompts):
                if not prompt.strip():
                    raise UserError(f"prompt {place} is empty, and {self.metric} needs one")
        if len(images) == 0:
            return np.zeros(0, np.float32)
        cut = self.cut
        try:
            with torch.inference_mode():
                scores = self._score([Image.fromarray(image) for image in images], list(prompts))
        except BaseException:
            self.cut = cut  # a batch that did not fit comes again
            raise
        found: NDArray[np.float32] = scores.float().cpu().numpy()
        return found

    @abstractmethod
    def _score(self, images: Pictures, prompts: list[str]) -> Tensor:
        """Return scores (N,) of at least one image."""

    def _stack(self, images: Pictures, transform: Callable[[Image.Image], Tensor]) -> Tensor:
        pixels = torch.stack([transform(image) for image in images])
        return pixels.to(self.device, self.dtype)

    def _truncated(
        self, texts: list[list[int]], limit: int, end: int | None, padding: int
    ) -> tuple[Tensor, Tensor]:
        """Return token ids and mask, both (N, longest), on the device, and count what is cut.

        Args:
            texts: token ids with their marks of begin and end.
            limit: most tokens of a text.
            end: id that a text which is cut ends in; None leaves the last of those that stay.
        """
        ids = []
        for text in texts:
            if len(text) > limit:
                self.cut += 1
                text = text[:limit] if end is None else [*text[: limit - 1], end]
            ids.append(text)
        longest = max(map(len, ids))
        padded = [text + [padding] * (longest - len(text)) for text in ids]
        mask = [[1] * len(text) + [0] * (longest - len(text)) for text in ids]
        return torch.tensor(padded, device=self.device), torch.tensor(mask, device=self.device)


def cosines(left: Tensor, right: Tensor) -> Tensor:
    """Return the cosines, float32 (N,), of features (N, D), row by row."""
    return (F.normalize(left.float(), dim=-1) * F.normalize(right.float(), dim=-1)).sum(dim=-1)


def openai_transform(side: int) -> Callable[[Image.Image], Tensor]:
    """Return what OpenAI's `clip.load` does to an image: float32 (3, side, side).

    The shorter side becomes `side` pixels (bicubic, antialiased), then the centre is cut out.
    """
    made: Callable[[Image.Image], Tensor] = transforms.Compose(
        [
            transforms.Resize(side, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(side),
            transforms.ToTensor(),
            transforms.Normalize(CLIP_MEAN, CLIP_STD),
        ]
    )
    return made


def load_model(
    network: Any, folder: Path, dtype: torch.dtype, device: str, *, remote_code: bool = False
) -> Any:
    """Return a model of transformers from its folder, all its weights loaded.

    Args:
        network: class of transformers, such as `CLIPModel`.
        remote_code: run Python code that comes with the folder.

    Raises:
        UserError: the folder holds another model, or not all of it.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is no folder of a model: it has no config.json")
    try:
        model, report = network.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=remote_code,
        )
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise UserError(
            f"{folder}: cannot be loaded as {network.__name__}: {one_line(error)}"
        ) from error
    if missing := sorted(report["missing_keys"]):
        # transformers would leave them as they were drawn at random.
        raise UserError(
            f"{folder}: the weights lack {len(missing)} tensors of the network, the first being "
            f"{missing[0]}"
        )
    return model.to(device).eval()


def load_part(part: Any, folder: Path, **settings: Any) -> Any:
    """Return a tokenizer or image processor of transformers; UserError where there is none."""
    try:
        return part.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **settings
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{folder}: cannot be loaded as {part.__name__}: {one_line(error)}"
        ) from error


def load_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a published .pt or .pth file by name, without running code from it.

    Where they lie under `state_dict`, as in training checkpoints, they are taken from there.

    Raises:
        UserError: the file is damaged or holds something else.
    """
    content = tensor_files.load(file)
    if isinstance(content, dict):
        content = content.get("state_dict", content)
    if not isinstance(content, dict) or not all(isinstance(t, Tensor) for t in content.values()):
        raise UserError(f"{file}: holds no tensors by name")
    return dict(content)


def fill(network: nn.Module, tensors: Mapping[str, Tensor], file: Path) -> None:
    """Put tensors into a network; UserError unless they are exactly its own."""
    try:
        missing, unexpected = network.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise UserError(f"{file}: weights of another network: {one_line(error)}") from error
    if missing:
        raise UserError(
            f"{file}: the weights lack {len(missing)} tensors of the network, the first being "
            f"{missing[0]}"
        )
    if unexpected:
        raise UserError(f"{file}: weights of another network, with a tensor {unexpected[0]}")


def linear_stack(tensors: Mapping[str, Tensor], file: Path) -> nn.Sequential:
    """Return the head of the improved aesthetic predictor, float32: (N, width) to (N, 1).

    Five linear layers without an activation between them; its dropouts do nothing once trained.
    LAION's predictor and ImageReward both end in it.

    Args:
        tensors: `layers.0.weight`, `layers.0.bias`..., numbered as with the dropouts.

    Raises:
        UserError: other tensors than those.
    """
    places = (0, 2, 4, 6, 7)
    shapes = [
        tensors[f"layers.{n}.weight"].shape for n in places if f"layers.{n}.weight" in tensors
    ]
    if len(shapes) < len(places) or any(len(shape) != 2 for shape in shapes) or shapes[-1][0] != 1:
        raise UserError(f"{file}: its tensors are not those of a stack of five linear layers")
    layers = nn.ModuleDict(
        {str(n): nn.Linear(s[1], s[0]) for n, s in zip(places, shapes, strict=True)}
    )
    fill(nn.ModuleDict({"layers": layers}), {n: t.float() for n, t in tensors.items()}, file)
    return nn.Sequential(*layers.values()).eval()


def weights_of(path: Path) -> dict[str, str]:
    """Return the SHA-256 of a file of weights, or of all in a folder, by name."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    found = {}
    for file in files:
        with file.open("rb") as opened:
            found[file.name] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found
