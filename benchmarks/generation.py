"""Compare the generation loop with its bare pipeline, and with one image at a time.

All ways run in one process, in turns, on the same weights. They are random, in the sizes that
`--architecture` names (speed does not depend on values, and nothing is downloaded), or those of
`--pipeline FOLDER`.

    python benchmarks/generation.py --output benchmarks/results/generation.json
"""

import argparse
import copy
import json
import os
import platform
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
import PIL
import torch
import transformers
from generator_flops import AUTOENCODERS, DENOISERS  # the released sizes

from synthgap.generators.generation import Tally, generate_resumably
from synthgap.generators.pipeline import TextToImage, call_arguments

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from generator_options import generator_options
from tiny_pipelines.families import stable_diffusion_1
from tiny_pipelines.parts import SCALED_LINEAR, autoencoder_levels
from tiny_pipelines.tokenizers import clip_tokenizer

# Side in pixels, steps and precision; a CPU takes float32 for all.
SETTINGS: dict[str, tuple[int, int, str]] = {
    "tiny": (64, 10, "float32"),
    "small": (64, 10, "float32"),
    "sd15": (512, 50, "float16"),
    "sdxl": (1024, 50, "float16"),
}
# 26 million parameters on 8 x 8 latents: on a CPU, too, a batch then reads the weights once for
# all its images, and the denoiser takes nearly all of the time.
SMALL_UNET: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (128, 256, 256),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "cross_attention_dim": 128,
}
CLIP_L, CLIP_BIG_G = (768, 12, 12), (1280, 32, 20)  # width, layers, heads
NAMES = ("tench", "goldfish", "shark", "hen", "owl", "church", "parachute", "guitar")
WAYS = ("ours, class names", "ours, captions", "bare", "batch 1")
TARGETS = {"bare": 0.98, "batch 1": 1.3}
KEPT_SIDE = 512  # of the images in the memory test: larger, so that any that stayed would show


def text_encoder(kind: str, width: int, layers: int, heads: int) -> Any:
    """Return CLIP's text half with the real vocabulary's size."""
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "projection_dim": width}
    depth = {"num_hidden_layers": layers, "num_attention_heads": heads}
    return getattr(transformers, kind)(transformers.CLIPTextConfig(**sizes, **depth))


def build(architecture: str, device: str, dtype: torch.dtype) -> Any:
    """Return a pipeline with random weights, made on the device."""
    if architecture == "tiny":
        return stable_diffusion_1()
    torch.manual_seed(0)
    small, xl = architecture == "small", architecture == "sdxl"
    vae = autoencoder_levels() | {"block_out_channels": (16, 32, 32, 32)}
    vae = vae if small else AUTOENCODERS["sd"]["config"]
    unet = SMALL_UNET if small else DENOISERS[architecture]["config"]
    with torch.device(device):
        scale = 0.13025 if xl else 0.18215
        modules = {
            "vae": diffusers.AutoencoderKL(**vae, scaling_factor=scale),
            "unet": diffusers.UNet2DConditionModel(**unet),
            "text_encoder": text_encoder("CLIPTextModel", *((128, 2, 4) if small else CLIP_L)),
        }
        if xl:
            modules["text_encoder_2"] = text_encoder("CLIPTextModelWithProjection", *CLIP_BIG_G)
    parts: dict[str, Any] = {name: module.to(dtype) for name, module in modules.items()}
    parts["tokenizer"] = clip_tokenizer()
    if xl:
        parts["scheduler"] = diffusers.EulerDiscreteScheduler(**SCALED_LINEAR, steps_offset=1)
        parts["tokenizer_2"] = clip_tokenizer(pad="!")
        return diffusers.StableDiffusionXLPipeline(**parts, add_watermarker=False)
    parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    parts["scheduler"] = diffusers.PNDMScheduler(
        **SCALED_LINEAR, skip_prk_steps=True, steps_offset=1
    )
    return diffusers.StableDiffusionPipeline(**parts)


def twin(pipeline: Any) -> Any:
    """Return a pipeline with the same weights and otherwise parts of its own."""
    other = copy.copy(pipeline)
    for name, part in pipeline.components.items():
        if part is not None and not isinstance(part, torch.nn.Module):
            setattr(other, name, copy.deepcopy(part))
    return other


class Watched:
    """A pipeline that notes how long its device waits between calls.

    An event before the first forward of each call and one behind its last kernel: what lies
    between the end of a call and the next start is counted as idle, be it tokenizing, moving
    pixels or the loop. On a CPU nothing is noted.
    """

    def __init__(self, pipeline: Any, device: str) -> None:
        self.pipeline, self.begun = pipeline, True
        self.starts: list[torch.cuda.Event] = []
        self.ends: list[torch.cuda.Event] = []
        parts = pipeline.components.values() if device.startswith("cuda") else ()
        modules = [part for part in parts if isinstance(part, torch.nn.Module)]
        self.hooks = [module.register_forward_pre_hook(self._begin) for module in modules]

    def __call__(self, **arguments: Any) -> Any:
        self.begun = False
        output = self.pipeline(**arguments)
        if self.hooks:
            self.ends.append(self._event())
        return output

    def idle_share(self) -> float | None:
        """Return the idle share from the first call to the last; ends the watch."""
        for hook in self.hooks:
            hook.remove()
        if len(self.ends) < 2:
            return None
        torch.cuda.synchronize()
        pairs = zip(self.ends, self.starts[1:], strict=False)
        idle = sum(end.elapsed_time(start) for end, start in pairs)
        return idle / self.starts[0].elapsed_time(self.ends[-1])

    def _begin(self, *_: Any) -> None:
        if not self.begun:
            self.begun = True
            self.starts.append(self._event())

    def _event(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class Bench:
    """One pipeline and all ways of running it."""

    def __init__(self, args: argparse.Namespace, name: str) -> None:
        torch.set_num_threads(args.threads)
        side, steps, dtype = SETTINGS.get(name, (512, 30, "bfloat16"))
        dtype = args.dtype or ("float32" if args.device == "cpu" else dtype)
        side, steps = args.side or side, args.steps or steps
        self.args, self.settings = args, {"side": side, "steps": steps, "dtype": dtype}
        if args.pipeline:
            self.pipeline = diffusers.DiffusionPipeline.from_pretrained(
                args.pipeline, dtype=getattr(torch, dtype), local_files_only=True
            )
        else:
            self.pipeline = build(name, args.device, getattr(torch, dtype))
        self.pipeline = self.pipeline.to(args.device)
        self.pipeline.set_progress_bar_config(disable=True)
        options = generator_options(model="any/name", steps=steps, image_size=side, dtype=dtype)
        self.options = options | {"guidance_scale": None}  # the pipeline's own default
        self.arguments = call_arguments(type(self.pipeline), self.options)

    def model(self, prompts: Sequence[str]) -> Any:
        """Return a fresh model, no prompts encoded yet, on the weights that are there."""
        repeated = {text for text in prompts if prompts.count(text) > 1}
        loaded = twin(self.pipeline)
        with mock.patch("synthgap.generators.pipeline._load", return_value=loaded):
            return TextToImage("", self.options, self.args.device, repeated)

    def run(self, way: str, n: int) -> dict[str, Any]:
        """Make n images in one of WAYS and return the times."""
        prompts = prompts_of(way, n)
        model = self.model(prompts) if way.startswith("ours") else None
        pipeline = Watched(model.pipeline if model else twin(self.pipeline), self.args.device)
        inside = None
        with tempfile.TemporaryDirectory() as folder:
            wall, cpu = time.perf_counter(), time.process_time()
            if model:
                model.pipeline = pipeline
                inside = self.ours(model, prompts, Path(folder), self.settings["side"])
            elif way == "bare":
                for start in range(0, n, self.args.batch_size):
                    batch = prompts[start : start + self.args.batch_size]
                    self.call(pipeline, batch, start, "np")
            else:
                # `ours` stores WebP without loss; PNG is left at Pillow's default, as scripts do.
                how = {"lossless": True} if self.args.format == "webp" else {}
                for i, text in enumerate(prompts):
                    image = self.call(pipeline, [text], i, "pil").images[0]
                    image.save(Path(folder) / f"{i:08d}.{self.args.format}", **how)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        idle = pipeline.idle_share()
        return {"images": n, "wall_s": wall, "generate_s": inside, "cpu_s": cpu, "idle": idle}

    def ours(self, model: Any, prompts: Sequence[str], folder: Path, size: int) -> float:
        """Run the loop and return the seconds inside `generate`; the rest is what it adds."""
        tally = Tally()
        made = generate_resumably(
            [{"key": str(i), "prompt": text, "seed": i} for i, text in enumerate(prompts)],
            lambda: model,
            batch_size=self.args.batch_size,
            size=size,
            image_format=self.args.format,
            folder=folder,
            tally=tally,
            max_failed=0,  # images that fail are not encoded, and the times would be too good
            workers=self.args.threads,
        )
        for _ in made:
            pass
        return tally.seconds

    def call(self, pipeline: Any, prompts: Sequence[str], seed: int, output: str) -> Any:
        generators = [torch.Generator("cpu").manual_seed(seed + i) for i in range(len(prompts))]
        arguments = self.arguments | {"output_type": output}
        return pipeline(prompt=list(prompts), generator=generators, **arguments)


def prompts_of(way: str, n: int) -> list[str]:
    """Return eight repeated prompts for class names, else n different ones."""
    names = [NAMES[i % len(NAMES)] for i in range(n)]
    if "names" in way:
        return [f"a photo of a {name}" for name in names]
    return [f"a small red {name} in the grass, picture {i}" for i, name in enumerate(names)]


def memory(args: argparse.Namespace, name: str, n: int) -> dict[str, Any]:
    """Return this process's resident MiB before each batch of n images, and its peak.

    Two steps an image, as steps keep nothing, and images of KEPT_SIDE.
    """
    bench = Bench(argparse.Namespace(**vars(args) | {"steps": 2}), name)
    prompts = prompts_of("captions", n)
    model, resident = bench.model(prompts), []
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
    # One process each, so that one's freed memory does not serve the other.
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
    """Return medians, and ratios: each is taken within one repetition, then their median."""
    ways: dict[str, Any] = {}
    for way, found in runs.items():
        idle = [run["idle"] for run in found if run["idle"] is not None]
        ways[way] = {
            "images_per_s": median(run["images"] / run["wall_s"] for run in found),
            "cpu_s_per_image": median(run["cpu_s"] / run["images"] for run in found),
            "device_idle_between_batches": median(idle) if idle else None,
        }
    ratios: dict[str, Any] = {}
    for way in WAYS[:2]:
        for other, target in TARGETS.items():
            row = ratios[f"{way} / {other}"] = {"target": target}
            for name, key in (("speed", "wall_s"), ("cpu_efficiency", "cpu_s")):
                each = [
                    (theirs[key] / theirs["images"]) / (our[key] / our["images"])
                    for our, theirs in zip(runs[way], runs[other], strict=True)
                ]
                row |= {name: median(each), f"{name}_range": [min(each), max(each)]}
    return {"ways": ways, "ratios": ratios}


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


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
        libraries = {one.__name__: one.__version__ for one in (torch, diffusers, transformers, PIL)}
        asked = {key: value for key, value in vars(args).items() if key not in ("output", "names")}
        asked["pipeline"] = args.pipeline and args.pipeline.name
        facts = {
            "machine": machine(),
            "versions": {"python": platform.python_version()} | libraries,
            "settings": asked,
            "pipelines": results,
        }
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
