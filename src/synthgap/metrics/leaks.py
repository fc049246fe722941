"""What tells image files apart without looking at the pictures: codec, size, chroma subsampling.

The classic false result of telling real from generated images is one of JPEG against PNG: the real
ones had been compressed, the others had not. So files are described by all that their headers say,
and the pixels by traces that JPEG leaves there even in a lossless file.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin
from scipy.stats import chi2_contingency

# A JPEG's tables come before its pixels, within this much unless it carries a large preview.
HEADER_BYTES = 65536
CHROMA = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0", -1: "unknown"}
# Differences of files that chance makes less often than this are called leaks.
LEVEL = 0.001


@dataclass(frozen=True)
class FileFacts:
    """What an encoded image's header says."""

    codec: str
    """`png`, `webp lossless`, `webp lossy`, `jpeg`..."""
    width: int
    height: int
    mode: str
    """Pillow's: RGB, L..."""
    chroma: str = ""
    """subsampling of a JPEG or lossy WebP"""
    quantisation: str = ""
    """short hash of a JPEG's tables"""

    @property
    def label(self) -> str:
        """In words."""
        parts = [self.codec, self.chroma, f"{self.width} x {self.height}", self.mode]
        parts += [f"tables {self.quantisation}"] if self.quantisation else []
        return " ".join(filter(None, parts))


def file_facts(header: bytes) -> FileFacts:
    """Return what the first `HEADER_BYTES` of an encoded image tell.

    Raises:
        OSError: they are no image's.
    """
    with Image.open(io.BytesIO(header)) as image:
        codec, chroma, tables = (image.format or "").lower(), "", ""
        if codec == "webp":
            lossless = b"VP8L" in header[:64]
            codec, chroma = ("webp lossless", "") if lossless else ("webp lossy", "4:2:0")
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            codec = "jpeg"  # Pillow calls a few of them MPO
            chroma = CHROMA[JpegImagePlugin.get_sampling(image)] if image.layers == 3 else "grey"
            tables = hashlib.sha256(repr(sorted(image.quantization.items())).encode()).hexdigest()
        return FileFacts(codec, *image.size, image.mode, chroma, tables[:8])


def mismatch(sides: Sequence[Iterable[FileFacts]]) -> tuple[float, float]:
    """Return how far files of several sides differ in what their headers say.

    Returns:
        the largest total variation distance of two sides' shares of each kind of file, 0..1; and
        the probability of such shares by chance (chi-squared), 1 where all files are of one kind.
    """
    counts = [Counter(side) for side in sides]
    kinds = sorted({kind for count in counts for kind in count}, key=lambda kind: kind.label)
    table = np.asarray([[count[kind] for kind in kinds] for count in counts], np.float64)
    shares = table / table.sum(1, keepdims=True)
    pairs = [(a, b) for a in range(len(shares)) for b in range(a)]
    distance = max(float(np.abs(shares[a] - shares[b]).sum() / 2) for a, b in pairs)
    chance = 1.0 if len(kinds) == 1 else float(chi2_contingency(table).pvalue)
    return distance, chance


def block_edges(images: NDArray[np.uint8], period: int = 8) -> NDArray[np.float64]:
    """Return how much brightness jumps at the borders of 8 x 8 blocks, relative to elsewhere.

    1 without a grid; above 1 where blocks were quantised on their own, as JPEG does, at the
    images' own scale. A generator with cells of that size shows, too.

    Args:
        images: uint8 (n, h, w, 3), sides of 2 * `period` at least.

    Returns:
        (n,); 1 for flat images.
    """
    grey = images.astype(np.float64).mean(3)
    ratios = []
    for axis in (1, 2):
        jumps = np.abs(np.diff(grey, axis=axis)).mean(3 - axis)
        at = np.arange(jumps.shape[1]) % period == period - 1
        ratios.append((jumps[:, at].mean(1), jumps[:, ~at].mean(1)))
    border, inside = (sum(values) for values in zip(*ratios, strict=True))
    found: NDArray[np.float64] = np.ones(len(images))
    np.divide(border, inside, out=found, where=inside > 0)
    return found


def shares(facts: Iterable[FileFacts], at_most: int = 5) -> Mapping[str, float]:
    """Return the shares of the most frequent kinds of files, the rest as `other`."""
    counts = Counter(fact.label for fact in facts)
    total = sum(counts.values())
    common = counts.most_common(at_most)
    found = {label: count / total for label, count in common}
    if rest := total - sum(count for _, count in common):
        found["other"] = rest / total
    return found
