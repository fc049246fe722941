"""Training a small text-to-image model and generating with it, killed and undisturbed."""

import json
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import DiffusionPipeline, PixArtAlphaPipeline
from PIL import Image
from safetensors.torch import load_file

from generator_options import generator_options
from synthgap.config import TrainedModel
from synthgap.config.text_to_image import DiTDenoiser, TrainedAutoencoder, UntrainedTextEncoder
from synthgap.data.captions import CAPTION_SCHEMA
from synthgap.data.shards import Sample, ShardWriter, gather, read_rows
from synthgap.diffusion.tokenizer import make_tokenizer
from synthgap.errors import UserError
from synthgap.generators.pipeline import TextToImage
from synthgap.prompts import make_prompts

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
AUTOENCODER = TrainedAutoencoder(channels=[8, 8], latent_channels=2, steps=6)
TEXT_ENCODER = UntrainedTextEncoder(width=16, layers=1, max_tokens=12)
SMALL = TrainedModel(
    denoiser=DiTDenoiser(width=32, layers=1, heads=2, text_heads=2, text_layers=1),
    steps=12, batch_size=4, sheet_every=6,
)  # fmt: skip
OPTIONS = generator_options(
    steps=2, guidance_scale=2.0, image_size=16, batch_size=2,
    arguments={
        "max_sequence_length": 12, "use_resolution_binning": False, "clean_caption": False,
    },
)  # fmt: skip


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Eight images of two classes, with captions: a manifest and a captions file."""
    folder = tmp_path_factory.mktemp("real")
    rng = np.random.default_rng(0)
    samples = [Sample(f"{i % 2:04d}-{i:06d}", i % 2, ("zero", "one")[i % 2]) for i in range(8)]
    with ShardWriter(folder / "00000.tar", "png") as shard:
        for sample in samples:
            shard.add(sample, rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    gather([shard.tar], folder / "manifest.parquet")
    captions = [
        {"key": s.key, "class_name": s.class_name, "caption": "a thin stroke", "status": "ok"}
        for s in samples
    ]
    pq.write_table(pa.Table.from_pylist(captions, CAPTION_SCHEMA), folder / "captions.parquet")
    run("build_text_encoder", captions=folder / "captions.parquet",
        encoder=TEXT_ENCODER.model_dump_json(), folder=folder / "text")  # fmt: skip
    subprocess.run(autoencoder_command(folder, folder / "scratch", folder / "vae"), check=True)
    run("encode_latents", images=shard.tar, autoencoder=folder / "vae", threads=1, gpus=0,
        latents=folder / "latents.safetensors")  # fmt: skip
    for kind in SMALL.captions:
        run("encode_texts", images=shard.tar, captions=folder / "captions.parquet", kind=kind,
            text_encoder=folder / "text", max_tokens=12, dtype="float32", threads=1, gpus=0,
            texts=folder / f"{kind}.safetensors")  # fmt: skip
    return folder


def run(command, **options):
    """Call a command in this process, with as many threads as it has."""
    command = import_module(command)
    given = [x for name, value in options.items() for x in (f"--{name.replace('_', '-')}", value)]
    threads = torch.get_num_threads()
    command.main(command.options().parse_args(list(map(str, given))))
    torch.set_num_threads(threads)


def autoencoder_command(real, scratch, folder):
    return [
        sys.executable, SCRIPTS / "train_autoencoder.py",
        "--manifest", real / "manifest.parquet", "--autoencoder", AUTOENCODER.model_dump_json(),
        "--checkpoint-seconds", "0", "--scratch", scratch, "--folder", folder,
    ]  # fmt: skip


def train_command(real, scratch, pipeline):
    texts = [x for kind in SMALL.captions for x in ("--texts", real / f"{kind}.safetensors")]
    return [
        sys.executable, SCRIPTS / "train_generator.py",
        "--latents", real / "latents.safetensors", *texts,
        "--autoencoder", real / "vae", "--text-encoder", real / "text",
        "--model", json.dumps(SMALL.options()), "--threads", "1", "--gpus", "0",
        "--checkpoint-seconds", "0", "--scratch", scratch, "--pipeline", pipeline,
        "--history", pipeline.with_name("history.parquet"),
        "--sheets", pipeline.with_name("sheets"),
    ]  # fmt: skip


def kill_when(command, happened):
    """Start a command and kill it with SIGKILL as soon as `happened()`; it must not finish."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def same_files(one, other):
    return (
        one.read_bytes() == other.read_bytes()
        if one.is_file()
        else contents(one) == contents(other)
    )


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def pipeline(real, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "flow"
    scratch = folder.with_name("scratch")
    subprocess.run(train_command(real, scratch, folder), check=True, capture_output=True)
    assert not scratch.exists()
    return folder


@pytest.mark.long
def test_killed_training_goes_on_to_the_same_pipeline(real, pipeline, tmp_path):
    command = train_command(real, tmp_path / "scratch", tmp_path / "flow")
    kill_when(command, lambda: any((tmp_path / "scratch").glob("*/checkpoint.pt")))
    assert not (tmp_path / "flow").exists()
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "going on after" in result.stderr
    assert contents(tmp_path / "flow") == contents(pipeline)
    for name in ("sheets", "history.parquet"):
        assert same_files(tmp_path / name, pipeline.with_name(name))


@pytest.mark.long
def test_two_processes_train_the_same_pipeline(real, pipeline, tmp_path):
    python, *rest = train_command(real, tmp_path / "scratch", tmp_path / "flow")
    launcher = ["-m", "synthgap.torchrun", "--standalone", "--nproc-per-node=2", "--"]
    log = tmp_path / "train.log"
    subprocess.run([python, *launcher, *rest, "--log", log], check=True, capture_output=True)
    assert "took" in log.read_text()
    weights = "transformer/diffusion_pytorch_model.safetensors"
    one, two = (load_file(folder / weights) for folder in (pipeline, tmp_path / "flow"))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=0.05, atol=5e-3)
    assert not (tmp_path / "scratch").exists()


@pytest.mark.long
def test_killed_autoencoder_goes_on_to_the_same_weights(real, tmp_path):
    command = autoencoder_command(real, tmp_path / "scratch", tmp_path / "vae")
    kill_when(command, lambda: any((tmp_path / "scratch").glob("*/checkpoint.pt")))
    subprocess.run(command, check=True, capture_output=True)
    assert contents(tmp_path / "vae") == contents(real / "vae")
    assert not (tmp_path / "scratch").exists()


def test_sheets_and_history_tell_how_it_learnt(pipeline):
    sheets = sorted(pipeline.with_name("sheets").iterdir())
    assert [sheet.name for sheet in sheets] == ["step-00000006.png", "step-00000012.png"]
    with Image.open(sheets[-1]) as sheet:
        # Eight images, and samples at two guidance scales.
        assert sheet.size == (8 * 16, 3 * 16)
    history = pq.read_table(pipeline.with_name("history.parquet")).to_pylist()
    assert [row["step"] for row in history] == [12]
    assert 0 < history[0]["loss"] < 3


def test_saved_pipeline_is_a_stock_one(pipeline):
    loaded = DiffusionPipeline.from_pretrained(pipeline)
    assert type(loaded) is PixArtAlphaPipeline
    assert not list(pipeline.rglob("*.bin"))
    assert not list(pipeline.rglob("*.py"))


def test_tokenizer_knows_its_words_and_spells_others():
    tokenizer = make_tokenizer(["zero, a thin stroke", "one"], 12)
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("zero, a thick stroke")["input_ids"])
    assert pieces[:3] == ["▁zero", ",", "▁a"]
    assert "".join(pieces).replace("▁", " ") == " zero, a thick stroke</s>"
    assert "<unk>" not in pieces


def test_image_depends_on_its_own_prompt_and_seed_only(pipeline):
    model = TextToImage(pipeline, OPTIONS, "cpu")
    together = model.generate(["zero", "one", "zero, a thin stroke"], [1, 2, 3]).pixels.astype(int)
    alone = model.generate(["one"], [2]).pixels.astype(int)
    assert together.shape == (3, 16, 16, 3)
    assert np.abs(together[1] - alone[0]).max() <= 1
    assert np.abs(model.generate(["one"], [3]).pixels - alone).max() > 1
    assert np.array_equal(model.generate(["one"], [2]).pixels, alone)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arguments": {"true_cfg_scale": 4.0}}, "takes no argument `true_cfg_scale`"),
        ({"arguments": {"num_inference_step": 4}}, "did you mean `num_inference_steps`"),
    ],
)
def test_arguments_the_pipeline_does_not_take_are_named(pipeline, change, said):
    with pytest.raises(UserError, match=said):
        TextToImage(pipeline, OPTIONS | change, "cpu")


def test_folder_that_is_no_pipeline_is_named(tmp_path):
    with pytest.raises(UserError, match=r"is no diffusers pipeline: it has no model_index\.json"):
        TextToImage(tmp_path, OPTIONS, "cpu")


@pytest.fixture
def prompts(tmp_path):
    rows = make_prompts(
        "classname", ["zero", "one"], {}, source="tiny-classname", split="train",
        samples_per_class=5, seed=0,
    )  # fmt: skip
    table = pa.Table.from_pylist([row | {"details": json.dumps(row["details"])} for row in rows])
    pq.write_table(table, tmp_path / "prompts.parquet")
    return tmp_path / "prompts.parquet"


def generate_command(prompts, pipeline, scratch, tar, max_failed=0, **options):
    return [
        sys.executable, SCRIPTS / "generate_images.py",
        "--prompts", prompts, "--pipeline", pipeline,
        "--generator", json.dumps(OPTIONS | options), "--shard", "0", "--shards", "1",
        "--threads", "1", "--max-failed", str(max_failed), "--scratch", scratch, "--tar", tar,
    ]  # fmt: skip


@pytest.mark.long
def test_killed_generation_goes_on_to_the_same_shard(pipeline, prompts, tmp_path):
    undisturbed = tmp_path / "undisturbed.tar"
    command = generate_command(prompts, pipeline, tmp_path / "s1", undisturbed)
    subprocess.run(command, check=True, capture_output=True)
    tar, scratch = tmp_path / "killed.tar", tmp_path / "s2"
    command = generate_command(prompts, pipeline, scratch, tar)
    kill_when(command, lambda: any(scratch.glob("*/batch-*.sealed")))
    assert not tar.exists()
    # What a message advises, to allow more failures, loses nothing.
    command = generate_command(prompts, pipeline, scratch, tar, max_failed=9)
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "going on after" in result.stderr
    assert tar.read_bytes() == undisturbed.read_bytes()
    assert (
        tar.with_suffix(".parquet").read_bytes() == undisturbed.with_suffix(".parquet").read_bytes()
    )
    assert not scratch.exists()


@pytest.mark.long
def test_other_settings_do_not_take_up_old_batches(pipeline, prompts, tmp_path):
    scratch, tar = tmp_path / "scratch", tmp_path / "00000.tar"
    kill_when(
        generate_command(prompts, pipeline, scratch, tar),
        lambda: any(scratch.glob("*/batch-*.sealed")),
    )
    command = generate_command(prompts, pipeline, scratch, tar, guidance_scale=5.0)
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "going on after" not in result.stderr
    assert read_rows(tar).num_rows == 10


def test_prompts_without_a_column_are_refused(pipeline, prompts, tmp_path):
    table = pq.read_table(prompts)
    pq.write_table(table.drop_columns(["seed"]), prompts)
    command = generate_command(prompts, pipeline, tmp_path / "s", tmp_path / "00000.tar")
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.endswith("has no column `seed`; write_prompts makes such a file\n")
    assert "Traceback" not in result.stderr


def test_prompts_are_those_of_the_paper_and_seeds_are_their_own():
    captions = {0: [("k0", "a thin stroke"), ("k1", "a bold stroke")], 1: [("k2", "dim")]}
    options = {"source": "flow-caption", "samples_per_class": 3, "seed": 0}
    rows = make_prompts("caption", ["zero", "one"], captions, split="train", **options)
    assert [row["prompt"] for row in rows[:4]] == [
        "zero, a thin stroke", "one, dim", "zero, a bold stroke", "one, dim",
    ]  # fmt: skip
    assert rows[0]["details"] == {"captioned": "k0"}
    other = make_prompts("caption", ["zero", "one"], captions, split="test", **options)
    seeds = [row["seed"] for row in rows + other]
    assert len(set(seeds)) == len(seeds)
    more = make_prompts(
        "caption", ["zero", "one"], captions, split="train", **options | {"samples_per_class": 9}
    )
    assert more[:6] == rows


def test_empty_prompt_is_what_guidance_compares_with(pipeline):
    """Guidance 1 must not use the empty prompt, and larger guidance must."""
    model = TextToImage(pipeline, OPTIONS, "cpu")
    calls = []
    forward = model.pipeline.transformer.forward

    def count(latents, *args, **kwargs):
        calls.append(len(latents))
        return forward(latents, *args, **kwargs)

    model.pipeline.transformer.forward = count
    model.generate(["one"], [0])
    model.arguments["guidance_scale"] = 1.0
    with torch.no_grad():
        model.generate(["one"], [0])
    assert calls == [2, 2, 1, 1]
