"""What the metrics of images are called on page and figures, and which way is better."""

from __future__ import annotations

import re
from typing import NamedTuple


class Title(NamedTuple):
    """A metric in words."""

    text: str
    percent: bool = False
    """a share, told in percent"""
    better: int = 0
    """1: higher is better, -1: lower is; 0: it depends on what is asked"""

    @property
    def with_arrow(self) -> str:
        """The title with an arrow towards the better side."""
        return self.text + {1: " ↑", -1: " ↓", 0: ""}[self.better]


# Plain name of a metric -> its title. The order is that of columns and panels.
TITLES = {
    "density": Title("Density"),
    "coverage": Title("Coverage", percent=True),
    "precision": Title("Precision", percent=True),
    "recall": Title("Recall", percent=True),
    "fid": Title("FID", better=-1),
    "kid": Title("KID", better=-1),
    "fd_dinov2": Title("FD-DINOv2", better=-1),
    "kd_dinov2": Title("KD-DINOv2", better=-1),
    "fd": Title("Fréchet distance", better=-1),
    "kd": Title("Kernel distance", better=-1),
    "vendi_within_class": Title("Vendi score within classes"),
    "top1_accuracy": Title("Class recognised", percent=True, better=1),
    "class_probability": Title("Probability of the class asked for", percent=True, better=1),
    "clipscore": Title("CLIPScore", better=1),
    "jina_clip_score": Title("Jina CLIP score", better=1),
    "pickscore": Title("PickScore", better=1),
    "hpsv2_1": Title("HPSv2.1", better=1),
    "imagereward": Title("ImageReward", better=1),
    "laion_aesthetic": Title("LAION aesthetic score", better=1),
    "geneval_overall": Title("GenEval", percent=True, better=1),
    "dpg_bench": Title("DPG-Bench", percent=True, better=1),
    "lpips": Title("LPIPS to the nearest training image", better=1),
    "ssim": Title("SSIM with the nearest training image", better=-1),
}
_WORDS = {"euclidean": "Euclidean", "gaussian": "Gaussian", "rgb": "RGB", "all-pairs": "all pairs"}


def plain_name(metric: str) -> str:
    """The longest name of `TITLES` that a metric's name begins with, or all of it."""
    known = [name for name in TITLES if metric == name or metric.startswith(f"{name}_")]
    return max(known, key=len, default=metric)


def title_of(metric: str) -> Title:
    """A metric's title; its own name in words where it is not known."""
    return TITLES.get(plain_name(metric), Title(metric.replace("_", " ")))


def variant_note(metric: str) -> str:
    """What is behind the plain name: "k = 5, Euclidean"; "of 500 images"."""
    name = plain_name(metric)
    if name not in TITLES:
        return ""
    variant = metric.removeprefix(name).strip("_").replace("_", " ")
    words = variant.removesuffix("nearest").replace("all pairs", "all-pairs").split()
    words = [re.sub(r"^k(\d+)$", r"k = \1", word) for word in words]
    words = [re.sub(r"^n(\d+)$", r"of \1 images", word) for word in words]
    return ", ".join(_WORDS.get(word, word) for word in words)


def digits_for(largest: float) -> int:
    """Decimals that say something of numbers up to so much, as of FID and KID."""
    return 2 if largest >= 1 else 3 if largest >= 0.1 else 5
