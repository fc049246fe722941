"""Compare the generation loop with its bare pipeline, and with a loop of one image at a time.

All run in one process, in turns, on the same weights: random ones in the sizes `--architecture`
names, as speed does not depend on values, or those of `--pipeline FOLDER`.

    python benchmarks/generation.py --output benchmarks/results/generation.json
"""

import argparse
import copy
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import diffusers
import torch
import transformers
from generator_flops import AUTOENCODERS, DENOISERS  # the released sizes

from synthgap.generators.generation import Tally, generate_resumably
from synthgap.generators.pipeline import TextToImage, call_arguments

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from generator_options import generator_options
from tiny_pipelines.families import stable_diffusion_1
from tiny_pipelines.parts import SCALED_LINEAR, autoencoder_levels
from tiny_pipelines.tokenizers import clip_tokenizer

# Side in pixels, steps, and the precision on a GPU; on a CPU it is float32.
SETTINGS: dict[str, tuple[int, int, str]] = {
    "tiny": (64, 10, "float32"),
    "small": (64, 10, "float32"),
    "sd15": (512, 50, "float16"),
    "sdxl": (1024, 50, "float16"),
}
# 26 million parameters on latents of 8 x 8: large weights for few values, so that a batch pays on
# a CPU as it does on a GPU, and the denoiser takes nearly all of the time.
SMALL_UNET: dict[str, Any] = {
    "sample_size": 8, "block_out_channels": (128, 256, 256), "layers_per_block": 1,
    "attention_head_dim": 4, "cross_attention_dim": 128,
    **{name: DENOISERS["sdxl"]["config"][name] for name in ("down_block_types", "up_block_types")},
}  # fmt: skip
# Width, layers and heads of the text encoders: a small one, CLIP's and OpenCLIP bigG's.
SMALL_TEXT, CLIP_L, CLIP_G = (128, 2, 4), (768, 12, 12), (1280, 32, 20)
NAMES = ("tench", "goldfish", "shark", "hen", "owl", "church", "parachute", "guitar")
WAYS = ("ours, class names", "ours, captions", "bare", "batch 1")
TARGETS = {"bare": 0.98, "batch 1": 1.3}
KEPT_SIDE = 512  # of images in the memory test: large, so that any that stay would show


def text(width: int, layers: int, heads: int) -> transformers.CLIPTextConfig:
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "projection_dim": width}
    return transformers.CLIPTextConfig(**sizes, num_hidden_layers=layers, num_attention_heads=heads)


def build(architecture: str, device: str, dtype: torch.dtype) -> Any:
    """Return a pipeline with random weights, made on the device."""
    if architecture == "tiny":
        return stable_diffusion_1()
    torch.manual_seed(0)
    small, xl = architecture == "small", architecture == "sdxl"
    levels = autoencoder_levels() | {"block_out_channels": (16, 32, 32, 32)}
    vae = levels if small else AUTOENCODERS["sd"]["config"]
    scale = 0.13025 if xl else 0.18215
    unet = SMALL_UNET if small else DENOISERS[architecture]["config"]
    with torch.device(device):
        parts: dict[str, Any] = {
            "vae": diffusers.AutoencoderKL(**vae, scaling_factor=scale),
            "unet": diffusers.UNet2DConditionModel(**unet),
            "text_encoder": transformers.CLIPTextModel(text(*(SMALL_TEXT if small else CLIP_L))),
        }
        if xl:
            parts["text_encoder_2"] = transformers.CLIPTextModelWithProjection(text(*CLIP_G))
    parts = {name: part.to(dtype) for name, part in parts.items()}
    parts["tokenizer"] = clip_tokenizer()
    if xl:
        parts["tokenizer_2"] = clip_tokenizer(pad="!")
        parts["scheduler"] = diffusers.EulerDiscreteScheduler(**SCALED_LINEAR, steps_offset=1)
        return diffusers.StableDiffusionXLPipeline(**parts, add_watermarker=False)
    scheduler = diffusers.PNDMScheduler(**SCALED_LINEAR, skip_prk_steps=True, steps_offset=1)
    parts |= {"scheduler": scheduler, "safety_checker": None, "feature_extractor": None}
    return diffusers.StableDiffusionPipeline(**parts, requires_safety_checker=False)


def twin(pipeline: Any) -> Any:
    """Return a pipeline with the same weights and otherwise parts of its own."""
    other = copy.copy(pipeline)
    for name, part in pipeline.components.items():
        if part is not None and not isinstance(part, torch.nn.Module):
            setattr(other, name, copy.deepcopy(part))
    return other


class Watched:
    """A pipeline that notes how long its GPU waits between calls; on a CPU, nothing.

    A call lasts from before its first forward to behind its last kernel. All else counts as idle,
    also the tokenizing and the little that the GPU does itself to check and move the pixels.
    """

    def __init__(self, pipeline: Any, device: str) -> None:
        self.pipeline, self.events = pipeline, []  # a start, an end, the next start, ...
        parts = pipeline.components.values() if device.startswith("cuda") else ()
        modules = [part for part in parts if isinstance(part, torch.nn.Module)]
        self.hooks = [module.register_forward_pre_hook(self._begin) for module in modules]

    def __call__(self, **arguments: Any) -> Any:
        output = self.pipeline(**arguments)
        if self.hooks:
            self._note()
        return output

    def idle_share(self) -> float | None:
        """Return the idle share from the first call to the last, and stop watching."""
        for hook in self.hooks:
            hook.remove()
        if len(self.events) < 4:
            return None
        torch.cuda.synchronize()
        waits = zip(self.events[1:-1:2], self.events[2::2], strict=True)
        idle = sum(end.elapsed_time(start) for end, start in waits)
        return idle / self.events[0].elapsed_time(self.events[-1])

    def _begin(self, *_: Any) -> None:
        if len(self.events) % 2 == 0:
            self._note()

    def _note(self) -> None:
        self.events.append(torch.cuda.Event(enable_timing=True))
        self.events[-1].record()


class Bench:
    """One pipeline and all ways of running it."""

    def __init__(self, args: argparse.Namespace, name: str) -> None:
        torch.set_num_threads(args.threads)
        side, steps, dtype = SETTINGS.get(name, (512, 30, "bfloat16"))
        dtype = args.dtype or ("float32" if args.device == "cpu" else dtype)
        side, steps = args.side or side, args.steps or steps
        self.args, self.settings = args, {"side": side, "steps": steps, "dtype": dtype}
        if args.pipeline:
            load, kind = diffusers.DiffusionPipeline.from_pretrained, getattr(torch, dtype)
            self.pipeline = load(args.pipeline, dtype=kind, local_files_only=True).to(args.device)
        else:
            self.pipeline = build(name, args.device, getattr(torch, dtype)).to(args.device)
        self.pipeline.set_progress_bar_config(disable=True)
        options = generator_options(model="any/name", steps=steps, image_size=side, dtype=dtype)
        self.options = options | {"guidance_scale": None}  # the pipeline's own default
        self.arguments = call_arguments(type(self.pipeline), self.options)

    def model(self, prompts: Sequence[str]) -> Any:
        """Return a fresh model, with no prompt encoded yet, on the weights that are there."""
        repeated = {text for text in prompts if prompts.count(text) > 1}
        loaded = twin(self.pipeline)
        with mock.patch("synthgap.generators.pipeline._load", return_value=loaded):
            return TextToImage("", self.options, self.args.device, repeated)

    def run(self, way: str, n: int) -> dict[str, Any]:
        """Make n images in one of WAYS and return the times."""
        prompts, form, inside = prompts_of(way, n), self.args.format, None
        model = self.model(prompts) if way.startswith("ours") else None
        pipeline = Watched(model.pipeline if model else twin(self.pipeline), self.args.device)
        size, output = (self.args.batch_size, "np") if way == "bare" else (1, "pil")
        # `ours` stores WebP without loss; PNG is left at Pillow's default, as scripts do.
        how = {"lossless": True} if form == "webp" else {}
        with tempfile.TemporaryDirectory() as folder:
            wall, cpu = time.perf_counter(), time.process_time()
            if model:
                model.pipeline = pipeline
                inside = self.ours(model, prompts, Path(folder), self.settings["side"])
            for start in () if model else range(0, n, size):
                images = pipeline(
                    prompt=prompts[start : start + size],
                    generator=[torch.Generator("cpu").manual_seed(start + i) for i in range(size)],
                    **self.arguments | {"output_type": output},
                ).images
                if way == "batch 1":
                    images[0].save(Path(folder) / f"{start:08d}.{form}", **how)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        idle = pipeline.idle_share()
        return {"images": n, "wall_s": wall, "generate_s": inside, "cpu_s": cpu, "idle": idle}

    def ours(self, model: Any, prompts: Sequence[str], folder: Path, size: int) -> float:
        """Run the loop and return the seconds inside `generate`; the rest is what it adds."""
        rows = [{"key": str(i), "prompt": text, "seed": i} for i, text in enumerate(prompts)]
        tally, settings = Tally(), {"size": size, "image_format": self.args.format}
        settings |= {"batch_size": self.args.batch_size, "workers": self.args.threads}
        settings["max_failed"] = 0  # they are not encoded, and the times would be too good
        for _ in generate_resumably(rows, lambda: model, folder=folder, tally=tally, **settings):
            pass
        return tally.seconds


def prompts_of(way: str, n: int) -> list[str]:
    """Return eight class names in turn, or n captions that all differ."""
    names = [NAMES[i % len(NAMES)] for i in range(n)]
    if "names" in way:
        return [f"a photo of a {name}" for name in names]
    return [f"a small red {name} in the grass, picture {i}" for i, name in enumerate(names)]


def memory(args: argparse.Namespace, name: str, n: int) -> dict[str, Any]:
    """Return this process's resident MiB before each batch of n images, and its peak."""
    bench = Bench(argparse.Namespace(**vars(args) | {"steps": 2}), name)  # steps keep nothing
    prompts, resident = prompts_of("captions", n), []
    model = bench.model(prompts)
    generate = model.generate

    def watched(*given: Any) -> Any:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(round(pages * os.sysconf("SC_PAGESIZE") / 2**20, 1))
        return generate(*given)

    model.generate = watched
    with tempfile.TemporaryDirectory() as folder:
        bench.ours(model, prompts, Path(folder), KEPT_SIDE)
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1)
    return {"images": n, "peak_mib": peak, "before_each_batch_mib": resident}


def benchmark(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Return settings, medians, ratios and raw times of one pipeline."""
    # A process each, so that one does not live on what the other left.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        counts = (args.images, 4 * args.images)
        used = [processes.submit(memory, args, name, n).result() for n in counts]
    bench = Bench(args, name)
    images = dict.fromkeys(WAYS, args.images) | {"batch 1": max(1, args.images // 4)}
    for way in WAYS:  # to warm up
        bench.run(way, 1 if way == "batch 1" else args.batch_size)
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(args.repeats):
        for way in WAYS:
            runs[way].append(bench.run(way, images[way]))
    return bench.settings | summary(runs) | {"host_memory": used, "raw": runs}


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return medians, and ratios: each is taken within a repetition, then their median."""
    ways: dict[str, Any] = {}
    for way, found in runs.items():
        idle = [run["idle"] for run in found if run["idle"] is not None]
        ways[way] = {
            "images_per_s": median(run["images"] / run["wall_s"] for run in found),
            "cpu_s_per_image": median(run["cpu_s"] / run["images"] for run in found),
            "gpu_idle_between_batches": median(idle) if idle else None,
        }
    ratios: dict[str, Any] = {}
    for way, other in ((way, other) for way in WAYS[:2] for other in TARGETS):
        ratios[f"{way} / {other}"] = row = {"target_speed": TARGETS[other]}
        for name, key in (("speed", "wall_s"), ("images_per_cpu_s", "cpu_s")):
            pairs = zip(runs[way], runs[other], strict=True)
            each = [b[key] / b["images"] / (a[key] / a["images"]) for a, b in pairs]
            row |= {name: median(each), f"{name}_range": [min(each), max(each)]}
    return {"ways": ways, "ratios": ratios}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pipeline", type=Path, help="a diffusers pipeline folder")
    which.add_argument("--architecture", nargs="+", choices=SETTINGS, help="random weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--images", type=int, default=64, help="a repetition; batch 1: a quarter")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, help="instead of the architecture's")
    parser.add_argument("--side", type=int, help="pixels, instead of the architecture's")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--format", choices=("png", "webp"), default="png")
    parser.add_argument("--threads", type=int, default=1, help="as a generator's; also encoders")
    parser.add_argument("--output", type=Path, help="where to write the results as JSON")
    args = parser.parse_args()
    if args.images % args.batch_size:
        parser.error("--images must be a multiple of --batch-size: other sizes are other speeds")
    default = ["small"] if args.device == "cpu" else ["sd15", "sdxl"]
    args.names = [args.pipeline.name] if args.pipeline else args.architecture or default
    return args


def main() -> None:
    args = options()
    results = {name: benchmark(args, name) for name in args.names}
    short = {name: {k: v for k, v in row.items() if k != "raw"} for name, row in results.items()}
    print(json.dumps(short, indent=1))
    if args.output:
        asked = {key: value for key, value in vars(args).items() if key not in ("output", "names")}
        asked["pipeline"] = args.pipeline and args.pipeline.name
        versions = {one.__name__: one.__version__ for one in (torch, diffusers, transformers)}
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpus = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        machine = {
            "cpu": cpus[0] if cpus else None,
            "cores": len(os.sched_getaffinity(0)),
            "gpu": gpu,
        }
        facts = {"machine": machine, "versions": versions, "settings": asked}
        args.output.write_text(json.dumps(facts | {"pipelines": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
