"""Images and texts as denoisers see them."""

import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import AutoencoderKL
from transformers import T5EncoderModel

import encode_latents
import encode_texts
from synthgap.data.captions import CAPTION_SCHEMA
from synthgap.data.images import decode
from synthgap.data.shards import Sample, ShardWriter, read_shard
from synthgap.diffusion.autoencoder import build_autoencoder
from synthgap.diffusion.encoded import Latents, Texts
from synthgap.diffusion.encoding import (
    load_autoencoder,
    load_text_encoder,
    posterior,
    tokenize,
)
from synthgap.diffusion.text_to_image import build_text_encoder
from synthgap.diffusion.tokenizer import make_tokenizer
from synthgap.errors import UserError

NAMES = ["seven", "nine"]
CAPTIONS = {"a": "A thin digit, to the left", "b": "A bold digit", "d": "A thin digit, to the left"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A shard of five images (one of which failed), its captions, and both encoders."""
    folder = tmp_path_factory.mktemp("encoding")
    rng = np.random.default_rng(0)
    rows = []
    with ShardWriter(folder / "00000.tar", "png") as writer:
        for i, key in enumerate("abcd"):
            sample = Sample(key, i % 2, NAMES[i % 2])
            writer.add(sample, rng.integers(0, 256, (16, 24, 3), dtype=np.uint8))
            known = key in CAPTIONS
            row = dict.fromkeys(CAPTION_SCHEMA.names) | {
                "key": key,
                "class_index": i % 2,
                "class_name": NAMES[i % 2],
                "caption": CAPTIONS.get(key, ""),
                "status": "ok" if known else "refused",
            }
            rows.append(row)
        writer.add_failed(Sample("e", 0, NAMES[0]), "unreadable")
    pq.write_table(pa.Table.from_pylist(rows, CAPTION_SCHEMA), folder / "captions.parquet")
    torch.manual_seed(0)
    build_autoencoder(16, [4, 4, 4], 4).save_pretrained(folder / "vae")
    tokenizer = make_tokenizer([*NAMES, *CAPTIONS.values()], 32)
    tokenizer.save_pretrained(folder / "text/tokenizer")
    build_text_encoder(tokenizer, 16, 1).save_pretrained(folder / "text/text_encoder")
    return folder


def run(command: ModuleType, *options: object) -> None:
    """Call a command in this process, which has imported everything already."""
    given = [*map(str, options), "--threads", torch.get_num_threads(), "--gpus", 0]
    command.main(command.options().parse_args(list(map(str, given))))


def latents(folder: Path, out: str, autoencoder: str = "vae", **more: object):
    flags = [x for name, value in more.items() for x in (f"--{name.replace('_', '-')}", value)]
    places = ["--images", folder / "00000.tar", "--autoencoder", folder / autoencoder]
    run(encode_latents, *places, "--latents", folder / out, *flags)


def texts(folder: Path, kind: str, out: str, *more: object, most: int = 32):
    places = ["--images", folder / "00000.tar", "--text-encoder", folder / "text"]
    settings = ["--kind", kind, "--max-tokens", most, "--dtype", "float32"]
    run(encode_texts, *places, *settings, "--texts", folder / out, *more)


def test_latents_are_the_autoencoders(folder):
    latents(folder, "latents.safetensors")
    found = Latents([folder / "latents.safetensors"])
    assert found.keys_of == [["a", "b", "c", "d"]]
    assert found.shape == (4, 4, 6)
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    [(_, contents)] = read_shard(folder / "00000.tar")
    images = np.stack([decode(content) for content in contents])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        expected = vae.encode(pixels).latent_dist
    noise = torch.ones(4, 4, 6)
    for i in range(4):
        torch.testing.assert_close(found.read(i, None), expected.mean[i], rtol=1e-2, atol=1e-3)
        drawn = expected.mean[i] + expected.std[i]
        torch.testing.assert_close(found.read(i, noise), drawn, rtol=1e-2, atol=2e-3)
    # One at a time gives the same.
    latents(folder, "single.safetensors", batch_size=1)
    single = Latents([folder / "single.safetensors"])
    torch.testing.assert_close(single.read(2, None), found.read(2, None), rtol=1e-2, atol=1e-3)
    assert json.loads((folder / "single.json").read_text())["images"] == 4


def test_texts_are_what_the_pipeline_would_make_of_them(folder):
    for kind in ("classname", "aio"):
        texts(folder, kind, f"{kind}.safetensors")
    for kind in ("caption", "long"):
        texts(folder, kind, f"{kind}.safetensors", "--captions", folder / "captions.parquet")
    found = {
        kind: Texts([folder / f"{kind}.safetensors"])
        for kind in ("classname", "aio", "caption", "long")
    }
    assert found["aio"].has().all()
    assert found["long"].has().tolist() == [True, True, False, True]
    tokenizer, encoder = load_text_encoder(folder / "text", "cpu", torch.float32)
    expected = {
        "classname": ["seven", "nine", "seven", "nine"],
        "aio": [f"An image of {name}" for name in ("seven", "nine", "seven", "nine")],
        "caption": [f"{NAMES[i % 2]}, {CAPTIONS.get(key)}" for i, key in enumerate("abcd")],
        "long": [CAPTIONS.get(key) for key in "abcd"],
    }
    for kind, whole in expected.items():
        for row, text in enumerate(whole):
            if not found[kind].has()[row]:
                continue
            # As PixArt's pipeline does: lower case, padded, masked.
            padded = tokenizer(
                text.lower(), padding="max_length", max_length=32, return_tensors="pt"
            )
            with torch.no_grad():
                states = encoder(padded.input_ids, attention_mask=padded.attention_mask)[0][0]
            words = int(padded.attention_mask.sum())
            read = found[kind].read(row)
            assert len(read) == words
            torch.testing.assert_close(read, states[:words], rtol=1e-4, atol=1e-5)
    assert len(found["long"].empty) == len(tokenize(tokenizer, [""], 32)[0])


def test_long_texts_are_cut_and_counted(folder):
    captions = ["--captions", folder / "captions.parquet"]
    texts(folder, "long", "cut.safetensors", *captions, most=4)
    assert max(len(Texts([folder / "cut.safetensors"]).read(i)) for i in (0, 1, 3)) == 4
    assert json.loads((folder / "cut.json").read_text())["cut"] == 2


@pytest.mark.parametrize("part", ["vae", "text/text_encoder"])
def test_weights_that_are_no_safetensors_are_refused(folder, tmp_path, part):
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    [weights] = (damaged / part).glob("*.safetensors")
    torch.save({"state_dict": 1}, weights, _use_new_zipfile_serialization=False)
    load = load_autoencoder if part == "vae" else load_text_encoder
    dtype = [] if part == "vae" else [torch.float32]
    with pytest.raises(UserError, match="in safetensors"):
        load(damaged / Path(part).parts[0], "cpu", *dtype)


def test_mistakes_are_told_in_a_line(folder):
    with pytest.raises(UserError, match=r"^--kind long needs --captions$"):
        texts(folder, "long", "none.safetensors")
    with pytest.raises(UserError, match="text holds no AutoencoderKL in safetensors"):
        latents(folder, "none.safetensors", autoencoder="text")
    with pytest.raises(UserError, match="vae holds no T5 encoder in safetensors"):
        load_text_encoder(folder / "vae", "cpu", torch.float32)
    assert not (folder / "none.safetensors").exists()
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    with pytest.raises(UserError, match="needs multiples of 4"):
        posterior(vae, np.zeros((1, 18, 16, 3), np.uint8), "cpu")


def test_states_that_are_no_numbers_are_refused(folder, monkeypatch):
    forward = T5EncoderModel.forward

    def spoil(self, *args, **kwargs):
        output = forward(self, *args, **kwargs)
        if len(output[0]) > 1:  # the empty text comes alone
            output[0][1, 0, 0] = float("inf")
        return output

    monkeypatch.setattr(T5EncoderModel, "forward", spoil)
    with pytest.raises(UserError, match=r"the text `seven` is NaN or infinite; try another dtype"):
        texts(folder, "classname", "odd.safetensors")
    assert not (folder / "odd.safetensors").exists()


@pytest.mark.parametrize("channel", [0, 5])  # of a mean, and of a variance
def test_latents_that_are_no_numbers_are_refused(folder, monkeypatch, channel):
    encode = AutoencoderKL._encode

    def spoil(self, images):
        moments = encode(self, images)
        moments[1, channel, 0, 0] = float("inf")
        return moments

    monkeypatch.setattr(AutoencoderKL, "_encode", spoil)
    with pytest.raises(UserError, match=r"latents of .*00000.tar some are NaN"):
        latents(folder, "odd.safetensors")
    assert not (folder / "odd.safetensors").exists()
