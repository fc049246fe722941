"""Compositional benchmarks: what a config may say of GenEval and DPG-Bench."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from synthgap.config.sections import Count, FolderName, Name, Section

STANDARD_IMAGES = 4


class Benchmark(Section):
    """What both have."""

    prompts: FolderName = Field(description="the official file; your own copy")
    rewritten: FolderName | None = Field(
        None,
        description="text file: what generators are asked for instead, a line a prompt (paper B's "
        "extended prompts); scores are named after it",
    )
    images: Count = Field(
        STANDARD_IMAGES, description="of each prompt; another number than 4 needs `few`"
    )
    few: bool = Field(
        False,
        description="allow another set of prompts, or fewer images; scores are named after their "
        "number",
    )
    image_size: Annotated[int, Field(ge=8)] | None = Field(
        None, description="side in pixels of the images judged; as the generator renders if not set"
    )
    shards: Count = Field(1, description="jobs that a generator's images are made by")
    generators: list[Name] | None = Field(
        None, min_length=1, description="some of `generators`; all if not set"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.images != STANDARD_IMAGES and not self.few:
            raise ValueError(
                f"images: the benchmark has {STANDARD_IMAGES} a prompt; add `few: true` for scores "
                "that are named after their number"
            )
        for option in self._files():
            path = getattr(self, option)
            if path is not None and not Path(path).exists():
                raise ValueError(f"{option}: no such file or folder: {path} (~ is not known)")
        return self

    def _files(self) -> list[str]:
        return ["prompts", "rewritten"]


class GenEval(Benchmark):
    """GenEval (Ghosh et al. 2023): an object detector judges 553 short prompts."""

    detector: FolderName = Field(description="the detector's weights, a .pth file for mmdet 2.x")
    detector_config: FolderName | None = Field(
        None, description="of the detector; mmdet's own if not set"
    )
    clip_folder: FolderName | None = Field(
        None, description="folder with ViT-L-14.pt, for jobs without network; downloaded if not set"
    )

    def _files(self) -> list[str]:
        return [*super()._files(), "detector", "detector_config", "clip_folder"]


class DpgBench(Benchmark):
    """DPG-Bench (Hu et al. 2024): mPLUG-large answers questions on 1065 long prompts."""

    prompts_folder: FolderName | None = Field(
        None, description="folder of ITEM_ID.txt; the prompts in the file if not set"
    )
    model: FolderName = Field(
        "iic/mplug_visual-question-answering_coco_large_en",
        description="ModelScope's name of the model, or a folder, for jobs without network",
    )

    @model_validator(mode="after")
    def _fills_a_grid(self) -> Self:
        if self.images > STANDARD_IMAGES:
            raise ValueError(f"images: a grid has {STANDARD_IMAGES} cells")
        return self

    def _files(self) -> list[str]:
        return [*super()._files(), "prompts_folder"]


class Compositional(Section):
    """Compositional benchmarks, each optional."""

    geneval: GenEval | None = None
    dpg_bench: DpgBench | None = None

    @model_validator(mode="after")
    def _any(self) -> Self:
        if not self.benchmarks:
            raise ValueError("name `geneval`, `dpg_bench` or both, or leave `compositional` out")
        return self

    @property
    def benchmarks(self) -> dict[str, GenEval | DpgBench]:
        """Those that are asked for, by the name in paths and results."""
        found = {"geneval": self.geneval, "dpg-bench": self.dpg_bench}
        return {name: benchmark for name, benchmark in found.items() if benchmark is not None}
