"""The Jina-CLIP score (Koukounas et al. 2024): the cosine of an image and its prompt.

Paper B prints numbers such as 38.45, which are the cosine times 100; here it is the cosine, -1..1.
The model's own code encodes, without a task's instruction: prompts are cut at 512 tokens (its
default). That code is fetched with the model, and runs only where it is trusted.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from synthgap.errors import UserError, suggest
from synthgap.scorers.base import (
    Pictures,
    TorchScorer,
    cosines,
    load_model,
    load_part,
    weights_of,
)

MAX_TOKENS = 512
VERSIONS = ("v1", "v2")


def make_scorer(
    spec: Mapping[str, Any], models: Mapping[str, Path], device: str
) -> "JinaClipScorer":
    """Return the scorer of kind `jina-clip`."""
    return JinaClipScorer(spec, models["clip"], device)


class JinaClipScorer(TorchScorer):
    """Scores by `encode_image` and `encode_text` of a model that brings its own code.

    Args:
        spec: `version`, of which the metric is named, and `trust_remote_code`.
        folder: of the model; with its code, or with that in the hub's cache.
    """

    name = "jina_clip_score"

    def __init__(self, spec: Mapping[str, Any], folder: Path, device: str) -> None:
        super().__init__(spec, device)
        version = spec.get("version", "v2")
        if version not in VERSIONS:
            raise UserError(f"unknown version of Jina CLIP `{version}`{suggest(version, VERSIONS)}")
        if not spec.get("trust_remote_code", False):
            raise UserError(
                f"{folder}: Jina CLIP runs code that comes with its weights; read it, and set "
                "trust_remote_code: true if you trust it"
            )
        self.metric = f"jina_clip_score_{version}"
        self.model = self._load(folder)
        self.tokenizer = load_part(transformers.AutoTokenizer, folder)
        for method in ("encode_image", "encode_text"):
            if not hasattr(self.model, method):
                raise UserError(f"{folder}: no Jina CLIP: its code has no `{method}`")
        self.identity = {
            "kind": "jina-clip",
            "version": version,
            "weights": weights_of(folder),
            "preprocessing": "the model's own",
            "max_tokens": MAX_TOKENS,
            "scale": "cos",
            "dtype": self.dtype_name,
        }

    def _load(self, folder: Path) -> Any:
        network = transformers.AutoModel
        try:
            return load_model(network, folder, self.dtype, self.device, remote_code=True)
        except UserError as error:
            config = folder / "config.json"
            # `repository--module.Class` under auto_map: the code lies in another repository.
            if config.is_file() and "--" in config.read_text():
                raise UserError(
                    f"{error}; its config.json names code in other repositories, which must be in "
                    "the hub's cache (HF_HOME): load the model once where there is network"
                ) from error
            raise

    def _score(self, images: Pictures, prompts: list[str]) -> Tensor:
        lengths = map(len, self.tokenizer(prompts, verbose=False)["input_ids"])
        self.cut += sum(length > MAX_TOKENS for length in lengths)
        told: dict[str, Any] = {"batch_size": len(images), "show_progress_bar": False}
        seen = self.model.encode_image(list(images), **told)
        read = self.model.encode_text(prompts, **told, max_length=MAX_TOKENS)
        return cosines(torch.from_numpy(np.asarray(seen)), torch.from_numpy(np.asarray(read)))
