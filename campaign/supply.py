"""Weights and model folders that bring code: planted wherever some are loaded, and never run.

Each trial plants one in one place; a file outside tells whether its code ran. Some trials look at
the lock, at the models that are known by name and at downloads instead.
"""

import io
import json
import os
import pickle
import random
import re
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from campaign import rows
from campaign.forked import HEAVY, ROOT, listing, run_command
from campaign.rows import REFUSED, RIGHT, Row

PART = "supply"
MEGABYTES = 6000
SECONDS = 120


def trial(seed: int, number: int, folder: Path) -> Row:
    """Run one trial in an empty folder of its own; return its row."""
    rng = rows.chance(seed, PART, number)
    looks = list(LOOKS)
    if number % 8 == 0:
        fault = looks[number // 8 % len(looks)]
        given, outcome = LOOKS[fault](rng, folder)
    else:
        fault, given, outcome = _planted(rng, number, folder)
    return rows.row(PART, seed, number, fault=fault, hit=given, outcome=outcome)


trials = rows.in_folder(trial)


def _planted(rng: random.Random, number: int, folder: Path) -> tuple[str, str, str]:
    work = folder / "work"
    work.mkdir()
    canary = folder / "ran"
    target = list(_TARGETS)[(number - number // 8 - 1) % len(_TARGETS)]
    given = _TARGETS[target](rng, work, canary)
    # A checkpoint that is damaged goes, and the work begins anew.
    may = ("work/results", *(("work/planted",) if target == "checkpoint" else ()))
    before = listing(folder, may)
    ended = run_command(
        "campaign.supply:load", [target], work, modules=HEAVY, megabytes=MEGABYTES, seconds=SECONDS
    )
    outcome = ended.outcome("loaded without a word")
    if canary.exists():
        outcome = "DEFECT its code ran"
    elif listing(folder, may) != before:
        outcome = "DEFECT wrote elsewhere"
    elif outcome == "DEFECT loaded without a word" and target in HARMLESS:
        outcome = RIGHT
    return "code or a pickle, planted", f"{target}: {given}", outcome


def load() -> None:
    """In a trial's process: load what was planted, as the commands do."""
    from synthgap.errors import UserError

    try:
        LOADERS[sys.argv[1]](Path("planted"))
    except UserError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


# Code in files.


class _Ran:
    """An object that, unpickled, has its code run."""

    def __init__(self, canary: Path, way: str) -> None:
        self.canary, self.way = str(canary), way

    def __reduce__(self) -> Any:
        ways: dict[str, Any] = {
            "os.system": (os.system, (f"touch {self.canary}",)),
            "exec": (exec, (f"open({self.canary!r}, 'w').close()",)),
            "open": (open, (self.canary, "w")),
            "eval": (eval, (f"open({self.canary!r}, 'w').close()",)),
        }
        return ways[self.way]


def _pickled(rng: random.Random, canary: Path) -> tuple[str, bytes]:
    """Bytes that run code where they are unpickled without care."""
    import numpy as np
    import torch

    way = rng.choice(["os.system", "exec", "open", "eval"])
    evil = _Ran(canary, way)
    kind = rng.choice(
        ["raw", "torch", "torch, old", "tensors beside", "numpy", "tar of torch", "zip"]
    )
    buffer = io.BytesIO()
    if kind == "raw":
        buffer.write(pickle.dumps({"state_dict": evil}, protocol=rng.choice([0, 2, 4])))
    elif kind == "torch":
        torch.save({"state_dict": evil}, buffer)
    elif kind == "torch, old":
        torch.save({"a": evil}, buffer, _use_new_zipfile_serialization=False)
    elif kind == "tensors beside":
        torch.save({"weight": torch.zeros(2), "more": [evil]}, buffer)
    elif kind == "numpy":
        np.save(buffer, np.array([evil], dtype=object), allow_pickle=True)
    elif kind == "tar of torch":
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name in ("sys_info", "pickle", "tensors", "storages"):
                content = pickle.dumps(evil, protocol=2)
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    else:
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(evil, protocol=2))
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/byteorder", "little")
    return f"{kind}, by {way}", buffer.getvalue()


def _file(rng: random.Random, work: Path, canary: Path) -> str:
    told, content = _pickled(rng, canary)
    (work / "planted").write_bytes(content)
    return told


def _beside(name: str) -> Callable[[random.Random, Path, Path], str]:
    def plant(rng: random.Random, work: Path, canary: Path) -> str:
        told, content = _pickled(rng, canary)
        (work / "planted").mkdir()
        (work / "planted" / name).write_bytes(content)
        return told

    return plant


@cache
def _models() -> Path:
    """Small right models, made once."""
    sys.path[:0] = [str(ROOT / "tests")]
    import tiny_encoders
    from tiny_pipelines import build

    folder = Path(tempfile.mkdtemp(prefix="supply-"))
    for name in ("clip", "dinov2", "timm_vit", "mocov3"):
        getattr(tiny_encoders, name)(folder / name)
    build("sd15", folder / "sd15")
    return folder


def _code(canary: Path) -> str:
    return (
        f"open({str(canary)!r}, 'w').close()\n"
        "from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizer\n"
        "from diffusers import DiffusionPipeline\n"
        "class Evil(PreTrainedModel): pass\n"
        "class EvilConfig(PretrainedConfig): model_type = 'evil'\n"
        "class EvilTokenizer(PreTrainedTokenizer): pass\n"
        "class EvilPipeline(DiffusionPipeline): pass\n"
    )


AUTO_MAP = dict.fromkeys(("AutoModel", "AutoModelForDepthEstimation", "AutoModelForImageTextToText", "AutoProcessor", "AutoImageProcessor"), "evil.Evil") | {"AutoConfig": "evil.EvilConfig", "AutoTokenizer": ["evil.EvilTokenizer", None]}  # fmt: skip


def _in_model(base: str) -> Callable[[random.Random, Path, Path], str]:
    """A model's folder whose weights are pickles, or whose files name code of its own."""

    def plant(rng: random.Random, work: Path, canary: Path) -> str:
        planted = work / "planted"
        shutil.copytree(_models() / base, planted)
        kind = rng.choice(["pickle as safetensors", "pickle alone", "code", "code, renamed type"])
        if not (planted / "preprocessor_config.json").exists():
            (planted / "preprocessor_config.json").write_text("{}")
        weights = next(planted.rglob("*.safetensors"))
        if kind == "pickle as safetensors":
            told, content = _pickled(rng, canary)
            weights.write_bytes(content)
            return f"{kind}: {told}"
        if kind == "pickle alone":
            told, content = _pickled(rng, canary)
            weights.unlink()
            for name in ("pytorch_model.bin", "model.ckpt", "tf_model.h5", "flax_model.msgpack"):
                (weights.parent / name).write_bytes(content)
            return f"{kind}: {told}"
        (planted / "evil.py").write_text(_code(canary))
        for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json",
                     "processor_config.json"):  # fmt: skip
            path = planted / name
            told = json.loads(path.read_text()) if path.exists() else {}
            told |= {"auto_map": AUTO_MAP, "custom_pipelines": {"evil": {"impl": "evil"}}}
            if kind == "code, renamed type":
                told |= {"model_type": "evil", "architectures": ["Evil"],
                         "processor_class": "Evil", "image_processor_type": "Evil",
                         "tokenizer_class": "EvilTokenizer"}  # fmt: skip
            path.write_text(json.dumps(told))
        return kind

    return plant


def _pipeline(rng: random.Random, work: Path, canary: Path) -> str:
    planted = work / "planted"
    shutil.copytree(_models() / "sd15", planted)
    index = json.loads((planted / "model_index.json").read_text())
    kind = rng.choice(["pipeline.py", "component", "custom component", "pickle as safetensors",
                       "pickle alone", "tokenizer", "text encoder", "installed module", "rubbish"])  # fmt: skip
    code = _code(canary)
    if kind == "pipeline.py":
        name = rng.choice(["pipeline", "evil"])
        (planted / f"{name}.py").write_text(code)
        index["_class_name"] = rng.choice([[name, "EvilPipeline"], "EvilPipeline"])
    elif kind == "component":
        (planted / "unet" / "evil.py").write_text(code)
        index["unet"] = ["evil", "Evil"]
    elif kind == "custom component":
        (planted / "evil.py").write_text(code)
        index["scheduler"] = ["evil", "Evil"]
    elif kind in ("pickle as safetensors", "pickle alone"):
        weights = rng.choice(sorted(planted.rglob("*.safetensors")))
        told, content = _pickled(rng, canary)
        kind = f"{kind}, {weights.parent.name}: {told}"
        if "alone" in kind:
            weights.unlink()
            for name in ("diffusion_pytorch_model.bin", "pytorch_model.bin", "model.ckpt"):
                (weights.parent / name).write_bytes(content)
        else:
            weights.write_bytes(content)
    elif kind in ("tokenizer", "text encoder"):
        part = planted / kind.replace(" ", "_")
        (part / "evil.py").write_text(code)
        name = "tokenizer_config.json" if kind == "tokenizer" else "config.json"
        told = json.loads((part / name).read_text())
        told |= {"auto_map": AUTO_MAP}
        (part / name).write_text(json.dumps(told))
    elif kind == "installed module":
        index["unet"] = rng.choice([["os", "system"], ["builtins", "exec"], ["subprocess", "Popen"],
                                    ["torch", "load"], ["antigravity", "x"]])  # fmt: skip
    else:
        index = rng.choice(
            [[], {}, {"_class_name": 7}, {"_class_name": "X", "unet": []}, "x", None]
        )
    (planted / "model_index.json").write_text(json.dumps(index))
    return kind


_TARGETS: dict[str, Callable[[random.Random, Path, Path], str]] = {
    "classifier": _file,
    "realism": _file,
    "inception": _file,
    "lpips": _file,
    "scorer": _file,
    "checkpoint": _beside("checkpoint.pt"),
    "features": _beside("made.parquet"),
    "timm folder": _beside("model.safetensors"),
    "pipeline": _pipeline,
    "clip": _in_model("clip"),
    "dinov2": _in_model("dinov2"),
    "timm": _in_model("timm_vit"),
    "mocov3": _in_model("mocov3"),
    "depth": _in_model("dinov2"),
    "captioner": _in_model("clip"),
    "text encoder": _in_model("sd15"),
    "autoencoder": _in_model("sd15"),
    "more pipelines": _pipeline,
}
# A folder that names code of its own besides a right model loads without that code.
HARMLESS = ("pipeline", "more pipelines", "clip", "dinov2", "timm", "mocov3", "autoencoder",
            "text encoder", "checkpoint")  # fmt: skip


def _encoder(family: str, size: int, **more: Any) -> Callable[[Path], object]:
    def load_it(planted: Path) -> object:
        from synthgap.encoders import make_encoder

        spec: dict[str, Any] = {"family": family, "dtype": "float32"} | more
        if family != "inception":
            numbers = [0.5, 0.5, 0.5]
            spec |= {"image_size": size, "interpolation": "bicubic", "crop": 1.0, "mean": numbers,
                     "std": numbers}  # fmt: skip
        return make_encoder(spec, model=planted)

    return load_it


def _load(module: str, function: str, *more: object) -> Callable[[Path], object]:
    def load_it(planted: Path) -> object:
        import importlib

        return getattr(importlib.import_module(module), function)(planted, *more)

    return load_it


def _load_pipeline(planted: Path) -> object:
    from synthgap.generators.loading import load_pipeline

    options = {"scheduler": None, "dtype": "float32", "variant": None, "trust_remote_code": False}
    return load_pipeline(planted, options)


def _load_text_encoder(planted: Path) -> object:
    import torch

    return _load("synthgap.diffusion.encoding", "load_text_encoder", "cpu", torch.float32)(planted)


def _load_checkpoint(planted: Path) -> object:
    from synthgap.checkpoint import Checkpoint

    return Checkpoint(planted, 1).load()


def _load_features(planted: Path) -> object:
    from synthgap.data.features import Features

    return Features([planted / "made.parquet"])


def _load_depth(planted: Path) -> object:
    from synthgap.views.depth_anything import DepthAnything

    return DepthAnything(planted)


def _load_captioner(planted: Path) -> object:
    import torch

    from synthgap.captioners.vision_language import _load as load_it

    return load_it(planted, torch.float32, "cpu")


LOADERS: dict[str, Callable[[Path], object]] = {
    "classifier": _load("synthgap.classifiers.evaluation", "load"),
    "realism": _load("synthgap.diffusion.realism", "load"),
    "inception": _encoder("inception", 299),
    "lpips": _load("synthgap.metrics.perceptual", "_read"),
    "scorer": _load("synthgap.scorers.base", "load_tensors"),
    "checkpoint": _load_checkpoint,
    "features": _load_features,
    "timm folder": _load("synthgap.model_folder", "read_weights"),
    "pipeline": _load_pipeline,
    "more pipelines": _load_pipeline,
    "clip": _encoder("clip", 28),
    "dinov2": _encoder("dinov2", 56),
    "timm": _encoder("timm", 32),
    "mocov3": _encoder("mocov3", 32),
    "depth": _load_depth,
    "captioner": _load_captioner,
    "text encoder": _load_text_encoder,
    "autoencoder": _load("synthgap.diffusion.encoding", "load_autoencoder", "cpu"),
}

# Looks at what the project ships.


def _lock(rng: random.Random, folder: Path) -> tuple[str, str]:
    """Every package of the lock has a version and hashes, and each requirement is in it."""
    import tomllib

    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", " "))]
    bad = [line[:60] for line in lines if "==" not in line or "--hash=sha256:" not in line]
    if bad:
        return f"{len(lines)} packages", f"DEFECT without version or hash: {bad[0]}"
    known = {re.split(r"[=;\[ ]", line)[0].lower().replace("_", "-") for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    names = {re.split(r"[<>=;\[ ]", one)[0].lower().replace("_", "-") for one in asked}
    missing = sorted(names - known)
    told = f"{len(lines)} packages, {text.count('--hash=')} hashes"
    return told, f"DEFECT not in the lock: {missing[0]}" if missing else RIGHT


def _pinned(rng: random.Random, folder: Path) -> tuple[str, str]:
    """Each model that is known by name has a commit; each file by address has a hash."""
    import yaml

    models, loose = 0, []

    def look(value: Any, where: str) -> None:
        nonlocal models
        if isinstance(value, dict):
            if isinstance(value.get("model"), str) and "/" in value["model"]:
                models += 1
                if not re.fullmatch(r"[0-9a-f]{40}", str(value.get("revision"))):
                    loose.append(where)
            if "url" in value:
                models += 1
                pinned = re.search(r"/resolve/[0-9a-f]{40}/", value["url"])
                if not value.get("sha256") and not pinned:
                    loose.append(where)
            for key, one in value.items():
                look(one, f"{where}.{key}")
        elif isinstance(value, list):
            for place, one in enumerate(value):
                look(one, f"{where}[{place}]")

    for path in sorted((ROOT / "src/synthgap/config").glob("*.yaml")):
        look(yaml.safe_load(path.read_text()), path.stem)
    told = f"{models} models and files"
    return told, f"DEFECT open, not pinned: {', '.join(loose)}" if loose else RIGHT


def _download(rng: random.Random, folder: Path) -> tuple[str, str]:
    """A download whose bytes are changed on the way is refused."""
    import hashlib
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    from synthgap.errors import UserError
    from synthgap.weights import WeightFile, download_file

    right = rng.randbytes(10_000)
    wrong = bytearray(right)
    wrong[rng.randrange(len(wrong))] ^= 1 << rng.randrange(8)
    cut = rng.random() < 0.3
    sent = bytes(wrong[:-1] if cut else wrong)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    url = f"http://127.0.0.1:{server.server_port}/weights.pth"
    known = hashlib.sha256(right).hexdigest()[: rng.choice([8, 64])]
    try:
        download_file(
            WeightFile("weights.pth", url, known), folder / "weights.pth", pause_seconds=0
        )
    except UserError as error:
        outcome = REFUSED if "SHA-256" in str(error) else f"DEFECT {error}"
    else:
        outcome = "DEFECT taken"
    finally:
        server.shutdown()
        server.server_close()
    if list(folder.iterdir()) and outcome == REFUSED:
        outcome = "DEFECT left behind"
    return "one bit flipped" + ", one byte short" * cut, outcome


LOOKS: dict[str, Callable[[random.Random, Path], tuple[str, str]]] = {
    "lock": _lock,
    "pinned by revision": _pinned,
    "download": _download,
}
