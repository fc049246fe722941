"""Compare the generation loop with its bare pipeline, and with a loop of one image at a time.

All run in one process, in turns, on the same weights: random ones in the sizes `--architecture`
names, as speed does not depend on values, or those of `--pipeline FOLDER`.

    python benchmarks/generation.py --output benchmarks/results/generation.json
"""

import argparse
import copy
import json
import os
import random
import re
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import diffusers
import torch
import transformers
from generator_flops import AUTOENCODERS, DENOISERS  # the released sizes

from synthgap.generators.generation import Tally, generate_resumably
from synthgap.generators.loading import call_arguments, load_pipeline
from synthgap.generators.pipeline import TextToImage

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from generator_options import generator_options
from tiny_pipelines.families import stable_diffusion_1
from tiny_pipelines.parts import SCALED_LINEAR, autoencoder_levels
from tiny_pipelines.tokenizers import clip_tokenizer

# Side in pixels, steps, and the precision on a GPU; on a CPU it is float32.
SETTINGS: dict[str, tuple[int, int, str]] = {
    "tiny": (64, 10, "float32"), "small": (64, 10, "float32"),
    "sd15": (512, 50, "float16"), "sdxl": (1024, 50, "float16"),
}  # fmt: skip
# 26 million parameters on 8 x 8 latents: a batch pays as on a GPU, as weights are read once for it.
SMALL_UNET: dict[str, Any] = {
    "sample_size": 8, "block_out_channels": (128, 256, 256), "layers_per_block": 1,
    "attention_head_dim": 4, "cross_attention_dim": 128,
    **{name: DENOISERS["sdxl"]["config"][name] for name in ("down_block_types", "up_block_types")},
}  # fmt: skip
NAMES = ("tench", "goldfish", "shark", "hen", "owl", "church", "parachute", "guitar")
WAYS = ("ours, class names", "ours, captions", "bare", "batch 1")
TARGETS = {"bare": 0.98, "batch 1": 1.3}


def text(width: int, layers: int, heads: int) -> transformers.CLIPTextConfig:
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "projection_dim": width}
    return transformers.CLIPTextConfig(**sizes, num_hidden_layers=layers, num_attention_heads=heads)


def build(architecture: str, device: str, dtype: torch.dtype) -> Any:
    """Return a pipeline with random weights, made on the device."""
    if architecture == "tiny":
        return stable_diffusion_1()
    torch.manual_seed(0)
    diffusers.logging.set_verbosity_error()
    small, xl = architecture == "small", architecture == "sdxl"
    levels = autoencoder_levels() | {"block_out_channels": (16, 32, 32, 32)}
    vae = levels if small else AUTOENCODERS["sd"]["config"]
    unet = SMALL_UNET if small else DENOISERS[architecture]["config"]
    clip = (128, 2, 4) if small else (768, 12, 12)
    with torch.device(device):
        parts: dict[str, Any] = {
            "vae": diffusers.AutoencoderKL(**vae, scaling_factor=0.13025 if xl else 0.18215),
            "unet": diffusers.UNet2DConditionModel(**unet),
            "text_encoder": transformers.CLIPTextModel(text(*clip)),
        }
        if xl:
            parts["text_encoder_2"] = transformers.CLIPTextModelWithProjection(text(1280, 32, 20))
    parts = {name: part.to(dtype).eval() for name, part in parts.items()}
    parts["tokenizer"] = clip_tokenizer()
    parts["scheduler"] = diffusers.EulerDiscreteScheduler(**SCALED_LINEAR, steps_offset=1)
    if xl:
        parts["tokenizer_2"] = clip_tokenizer(pad="!")
        return diffusers.StableDiffusionXLPipeline(**parts, add_watermarker=False)
    parts |= {"safety_checker": None, "feature_extractor": None}
    return diffusers.StableDiffusionPipeline(**parts, requires_safety_checker=False)


def twin(pipeline: Any) -> Any:
    """Return a pipeline with the same weights and otherwise parts of its own."""
    other = copy.copy(pipeline)
    for name, part in pipeline.components.items():
        if part is not None and not isinstance(part, torch.nn.Module):
            setattr(other, name, copy.deepcopy(part))
    return other


class Watched:
    """A pipeline that notes the time inside its calls, and how long a GPU waits between them.

    For the GPU a call lasts from its first forward to its last kernel. All else counts as idle,
    also tokenizing, and the little that the GPU does to check and move the pixels.
    """

    def __init__(self, pipeline: Any, device: str) -> None:
        self.pipeline, self.seconds, self.events = pipeline, 0.0, []  # start, end, start, ...
        parts = pipeline.components.values() if device.startswith("cuda") else ()
        modules = [part for part in parts if isinstance(part, torch.nn.Module)]
        self.hooks = [module.register_forward_pre_hook(self._begin) for module in modules]

    def __getattr__(self, name: str) -> Any:  # after an error, `ours` asks more of the pipeline
        return getattr(self.pipeline, name)

    def __call__(self, **arguments: Any) -> Any:
        started = time.perf_counter()
        output = self.pipeline(**arguments)
        self.seconds += time.perf_counter() - started
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
        self.args, self.settings = args, {"dtype": dtype, "steps": args.steps or steps}
        self.settings["image_size"] = args.side or side
        self.options = generator_options(model="any/name", **self.settings)
        self.options["guidance_scale"] = None  # the pipeline's own default
        if args.pipeline:
            self.pipeline = load_pipeline(args.pipeline, self.options).to(args.device)
        else:
            self.pipeline = build(name, args.device, getattr(torch, dtype)).to(args.device)
        self.pipeline.set_progress_bar_config(disable=True)
        self.arguments = call_arguments(type(self.pipeline), self.options)

    def model(self, prompts: list[str]) -> Any:
        """Return a fresh model, with no prompt encoded yet, on the weights that are there."""
        repeated = {text for text in prompts if prompts.count(text) > 1}
        loaded = twin(self.pipeline)
        with mock.patch("synthgap.generators.pipeline.load_pipeline", return_value=loaded):
            return TextToImage("", self.options, self.args.device, repeated)

    def run(self, way: str, n: int) -> dict[str, Any]:
        """Make n images in one of WAYS and return the times."""
        prompts, form = prompts_of(way, n), self.args.format
        model = self.model(prompts) if way.startswith("ours") else None
        pipeline = Watched(model.pipeline if model else twin(self.pipeline), self.args.device)
        size, output = (self.args.batch_size, "np") if way == "bare" else (1, "pil")
        with tempfile.TemporaryDirectory() as folder:
            wall, cpu = time.perf_counter(), time.process_time()
            if model:
                model.pipeline = pipeline
                self.ours(model, prompts, Path(folder), self.settings["image_size"])
            for start in () if model else range(0, n, size):
                seeds = [torch.Generator("cpu").manual_seed(start + i) for i in range(size)]
                given = {"prompt": prompts[start : start + size], "generator": seeds}
                images = pipeline(**given, **self.arguments | {"output_type": output}).images
                if way == "batch 1":  # at Pillow's defaults, but without loss, as WebP is for ours
                    images[0].save(Path(folder) / f"{start:08d}.{form}", lossless=True)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        inside = pipeline.seconds if self.args.device == "cpu" else None  # a GPU is done later
        times = {"wall_s": wall, "calls_s": inside, "cpu_s": cpu}
        return {"images": n, **times, "idle": pipeline.idle_share()}

    def ours(self, model: Any, prompts: list[str], folder: Path, size: int) -> None:
        rows = [{"key": str(i), "prompt": text, "seed": i} for i, text in enumerate(prompts)]
        settings = {"size": size, "image_format": self.args.format, "tally": Tally()}
        settings |= {"batch_size": self.args.batch_size, "workers": self.args.threads}
        for _ in generate_resumably(rows, lambda: model, folder=folder, max_failed=0, **settings):
            pass  # an image that failed would not be encoded, and the time be too good


def prompts_of(way: str, n: int) -> list[str]:
    """Return eight class names in turn, or n captions that all differ."""
    form = "a photo of a {}" if "names" in way else "a small red {} in the grass, picture {}"
    return [form.format(NAMES[i % len(NAMES)], i) for i in range(n)]


def memory(args: argparse.Namespace, name: str, n: int) -> dict[str, Any]:
    """Return a fresh process's resident MiB before each batch of n images, and its peak."""
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
        bench.ours(model, prompts, Path(folder), 512)  # pixels, so that images that stay would show
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1)
    return {"images": n, "peak_mib": peak, "before_each_batch_mib": resident}


def benchmark(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Return settings, medians, ratios and raw times of one pipeline."""
    with ProcessPoolExecutor(1, max_tasks_per_child=1) as processes:
        used = [processes.submit(memory, args, name, k * args.images).result() for k in (1, 4)]
    bench = Bench(args, name)
    images = dict.fromkeys(WAYS, args.images) | {"batch 1": max(1, args.images // 4)}
    for way in WAYS:  # to warm up
        bench.run(way, 1 if way == "batch 1" else args.batch_size)
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for i in range(args.repeats):
        for way in random.Random(i).sample(WAYS, len(WAYS)):  # none always follows another
            runs[way].append(bench.run(way, images[way]))
    return bench.settings | summary(runs) | {"host_memory": used, "raw": runs}


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return medians, and ratios: each is taken within a repetition, then their median."""
    ways, ratios = dict[str, Any](), dict[str, Any]()
    for way, found in runs.items():
        idle = [run["idle"] for run in found if run["idle"] is not None]
        added = [1 - run["calls_s"] / run["wall_s"] for run in found if run["calls_s"]]
        ways[way] = {
            "images_per_s": median(run["images"] / run["wall_s"] for run in found),
            "cpu_s_per_image": median(run["cpu_s"] / run["images"] for run in found),
            "time_outside_calls": median(added) if added else None,
            "gpu_idle_between_batches": median(idle) if idle else None,
        }
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
        asked = {k: v for k, v in vars(args).items() if k not in ("output", "pipeline")}
        versions = {one.__name__: one.__version__ for one in (torch, diffusers, transformers)}
        cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        machine = {"cpu": cpu and cpu[1], "cores": os.cpu_count(), "gpu": gpu}
        facts = {"machine": machine, "versions": versions, "settings": asked}
        args.output.write_text(json.dumps(facts | {"pipelines": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
