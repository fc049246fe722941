"""What is made here is read elsewhere, by the libraries that people have and without a network.

The snippets are those of docs/data.md.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from synthgap.cards import read_split, write_card
from synthgap.classifiers import evaluation
from synthgap.classifiers.architectures import build_seeded
from synthgap.config import load as load_config
from synthgap.config.cards import card
from synthgap.data.shards import Sample, ShardWriter, gather, tar_members
from synthgap.diffusion.autoencoder import build_autoencoder
from synthgap.diffusion.pipelines import CADI, DiTI, EDMPipeline, EDMUNet
from synthgap.diffusion.text_to_image import build_text_encoder
from synthgap.diffusion.tokenizer import make_tokenizer

ROOT = Path(__file__).parents[2]
CLASSES = ("red fox", "Äpfel")
COUNTS = {"train": (7, 6), "val": (2,), "test": (3,)}


def sample(split, index):
    # As `generate_images` writes them: some have details that the first ones lack.
    details = {"batch_size": 4, "batch": 0}
    if index > 5:
        details |= {"refused": ["black"], "truncated": {"clip": 3}, "attempt_seed": 2**62 + index}
    label, offset = index % 2, {"train": 0, "val": 100, "test": 200}[split]
    return Sample(f"{label:04d}-{offset + index:06d}", label, CLASSES[label],
                  f"{CLASSES[label]}, bright", index, details)  # fmt: skip


@pytest.fixture(scope="module", params=["png", "webp", "jpeg"])
def source(request, tmp_path_factory):
    """A source's folder as the workflow lays it out, its card in it."""
    folder = tmp_path_factory.mktemp("images") / "flow-g1-classname"
    rng, splits = np.random.default_rng(0), []
    for split, shards in COUNTS.items():
        tars, index = [], 0
        for number, count in enumerate(shards):
            tars.append(folder / split / "rgb" / f"{number:05d}.tar")
            tars[-1].parent.mkdir(parents=True, exist_ok=True)
            with ShardWriter(tars[-1], request.param) as shard:
                for _ in range(count):
                    shard.add(sample(split, index), rng.integers(0, 256, (8, 8, 3), np.uint8))
                    index += 1
                shard.facts = {"versions": {"torch": "2"}, "device": "cpu"}
        manifest = tars[0].parent / "manifest.parquet"
        gather(tars, manifest)
        splits.append(read_split(split, manifest))
    study = load_config(ROOT / "config/config.yaml")
    about = card(study, folder.name) | {"image_format": request.param}
    (folder / "README.md").write_text(write_card(about, splits))
    return folder


def members(source, split):
    found = {}
    for tar in sorted((source / split / "rgb").glob("*.tar")):
        found |= tar_members(tar)
    return found


def extension(source):
    return next(name for name in members(source, "val")).rpartition(".")[2]


def run_offline(tmp_path, code, *arguments):
    """Run Python without a network and with caches of its own; return what it prints as JSON."""
    environment = {
        "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"),
        "PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_webdataset_reads_several_shards(source):
    import webdataset

    suffix = extension(source)
    shards = f"{source}/train/rgb/{{00000..00001}}.tar"
    dataset = webdataset.WebDataset(shards, shardshuffle=False).decode("pil")
    found = list(dataset.to_tuple("__key__", suffix, "cls", "json", "txt"))
    assert [key for key, *_ in found] == [sample("train", i).key for i in range(13)]
    for index, (_, image, label, told, prompt) in enumerate(found):
        expected = sample("train", index)
        assert (image.mode, image.size) == ("RGB", (8, 8))
        assert (label, prompt) == (expected.class_index, expected.prompt)
        assert (told["class_name"], told["details"]) == (expected.class_name, expected.details)


HF = """
import hashlib, json, sys
from datasets import Image, load_dataset
folder, suffix, way = sys.argv[1:]
if way == "card":
    whole = load_dataset(folder)
else:
    files = {"train": f"{folder}/train/rgb/*.tar"}
    whole = {"train": load_dataset("webdataset", data_files=files, split="train")}
told = {}
for split, part in whole.items():
    raw = part.cast_column(suffix, Image(decode=False))
    told[split] = [
        [row["__key__"], row["cls"], row["txt"], row["json"]["details"],
         hashlib.sha256(row[suffix]["bytes"]).hexdigest()]
        for row in raw
    ]
    assert part[0][suffix].size == (8, 8)
names = getattr(whole["train"].features["cls"], "names", None)
print(json.dumps({"splits": told, "names": names}))
"""


@pytest.mark.parametrize("way", ["card", "files"])
def test_hugging_face_datasets_reads_them(source, way, tmp_path):
    suffix = extension(source)
    told = run_offline(tmp_path, HF, source, suffix, way)
    names = {"train": "train", "validation": "val", "test": "test"}
    assert set(told["splits"]) == (set(names) if way == "card" else {"train"})
    assert told["names"] == (list(CLASSES) if way == "card" else None)
    for split, rows in told["splits"].items():
        ours, content = names[split], members(source, names[split])
        expected = [sample(ours, i) for i in range(sum(COUNTS[ours]))]
        assert [row[:3] for row in rows] == [[s.key, s.class_index, s.prompt] for s in expected]
        for row, one in zip(rows, expected, strict=True):
            assert row[4] == hashlib.sha256(content[f"{one.key}.{suffix}"]).hexdigest()
            if way == "card":  # without it, only what the first samples have is kept
                assert row[3] == one.details


TIMM = {
    "resnet18": {"channels": [4, 8, 8, 16], "layers": [1, 1, 1, 1]},
    "convnext_atto": {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16], "patch_size": 2},
    "vit_tiny_patch16_224": {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1,
                             "num_heads": 2},
}  # fmt: skip

LOAD_TIMM = """
import json, sys
import timm, torch
from safetensors import safe_open
from safetensors.torch import load_file

path, images = sys.argv[1:]
with safe_open(path, "pt") as file:
    about = json.loads(file.metadata()["synthgap"])
model = timm.create_model(
    about["architecture"]["name"],
    num_classes=len(about["classes"]),
    checkpoint_path=path,
    **about["architecture"].get("options", {}),
).eval()
assert not [name for name in sys.modules if name.startswith("synthgap")]
with torch.inference_mode():
    logits = model(load_file(images)["images"])
print(json.dumps({"logits": logits.tolist(), "classes": about["classes"]}))
"""


@pytest.mark.parametrize("name", TIMM)
def test_timm_loads_classifiers(name, tmp_path):
    from safetensors.torch import save_file

    spec = {"family": "timm", "name": name, "options": TIMM[name]}
    model = build_seeded(spec, len(CLASSES), 0).eval()
    path = tmp_path / "seed-0.safetensors"
    evaluation.save(model, evaluation.About(spec, list(CLASSES)), path)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    images = evaluation.normalise(torch.from_numpy(pictures)).contiguous()
    save_file({"images": images}, tmp_path / "images.safetensors")
    told = run_offline(tmp_path, LOAD_TIMM, path, tmp_path / "images.safetensors")
    assert told["classes"] == list(CLASSES)
    expected = evaluation.predict(model, pictures, 3)
    np.testing.assert_allclose(told["logits"], expected, atol=1e-4)


LOAD_DIFFUSERS = """
import json, sys
import torch
import synthgap.diffusion.pipelines
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained(sys.argv[1])
pipeline.set_progress_bar_config(disable=True)
image = pipeline(
    "a small seven", num_inference_steps=2, guidance_scale=3.0, height=16, width=16,
    max_sequence_length=8, clean_caption=False, use_resolution_binning=False,
    generator=torch.Generator().manual_seed(0),
).images[0]
print(json.dumps([type(pipeline).__name__, type(pipeline.transformer).__name__, image.size]))
"""

LOAD_EDM = """
import json, sys
from synthgap.diffusion.pipelines import EDMPipeline

pipeline = EDMPipeline.from_pretrained(sys.argv[1])
pipeline.set_progress_bar_config(disable=True)
images = pipeline([0, 1], num_inference_steps=2).images
print(json.dumps([type(pipeline.unet).__name__, len(images), images[0].size]))
"""

SMALL = {"sample_size": 8, "width": 16, "heads": 2, "text_width": 16, "text_heads": 2}
SIZES = {
    DiTI: SMALL | {"layers": 1},
    CADI: SMALL | {"num_latents": 4, "data_width": 8, "num_blocks": 1, "layers": 1,
                   "interface_heads": 2},
}  # fmt: skip


@pytest.mark.parametrize("kind", SIZES)
def test_diffusers_loads_text_to_image_models(kind, tmp_path):
    from diffusers import DDIMScheduler, PixArtAlphaPipeline

    tokenizer = make_tokenizer(["a small seven", "a large one"], 8)
    PixArtAlphaPipeline(
        tokenizer=tokenizer,
        text_encoder=build_text_encoder(tokenizer, 16, 1),
        vae=build_autoencoder(16, [4, 4], 4),
        transformer=kind(**SIZES[kind]),
        scheduler=DDIMScheduler(),
    ).save_pretrained(tmp_path / "model")
    told = run_offline(tmp_path, LOAD_DIFFUSERS, tmp_path / "model")
    assert told == ["PixArtAlphaPipeline", kind.__name__, [16, 16]]


def test_edm_models_are_loaded_by_their_own_pipeline(tmp_path):
    network = EDMUNet(
        sample_size=8, channels=4, multipliers=[1], blocks=1, attention=[], classes=2, sources=2
    )
    EDMPipeline(network).save_pretrained(tmp_path / "model")
    told = run_offline(tmp_path, LOAD_EDM, tmp_path / "model")
    assert told == ["EDMUNet", 2, [8, 8]]
