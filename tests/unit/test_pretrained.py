"""Published weights as the start of a training, saved by timm itself."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import tiny_encoders
import train_classifier
from synthgap.classifiers.architectures import build_seeded
from synthgap.classifiers.evaluation import load
from synthgap.classifiers.pretrained import start_from
from synthgap.data.shards import Sample, ShardWriter, gather
from synthgap.errors import UserError

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
NARROW = {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]}
WINDOWS = {"img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 8}
SPECS = {
    "resnet18": {"channels": [4, 4, 8, 8], "layers": [1, 1, 1, 1]},
    "vit_tiny_patch16_224": VIT,
    "deit_tiny_distilled_patch16_224": VIT,  # with two last layers
    "convnext_atto": NARROW,
    "swin_tiny_patch4_window7_224": WINDOWS | {"depths": [1, 1], "num_heads": [1, 2]},
}
RESNET = {"family": "timm", "name": "resnet18", "options": SPECS["resnet18"]}


def spec(name: str, **options: object) -> dict:
    return {"family": "timm", "name": name, "options": SPECS[name] | options}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small residual network of seven classes."""
    tiny_encoders.timm_classifier(tmp_path / "start", "resnet18", SPECS["resnet18"])
    return tmp_path / "start"


@pytest.fixture
def torch_as_it_was():
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)
    torch.utils.deterministic.fill_uninitialized_memory = fill


def edit(folder: Path, change) -> None:
    """Change the tensors of a folder's weights."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize("name", SPECS)
def test_all_but_the_last_layer_is_as_published(tmp_path, name, caplog):
    published = tiny_encoders.timm_classifier(tmp_path, name, SPECS[name]).state_dict()
    network, chance = (build_seeded(spec(name), 3, 0) for _ in range(2))
    with caplog.at_level(logging.WARNING):
        start_from(tmp_path, network, spec(name))
    heads = {key for key, value in chance.state_dict().items() if value.shape[:1] == (3,)}
    heads = {key for key in heads if "head" in key or key.startswith("fc.")}
    assert len(heads) == (4 if "distilled" in name else 2)
    assert not torch.equal(
        published[next(iter(published))], chance.state_dict()[next(iter(published))]
    )
    for key, value in network.state_dict().items():
        assert torch.equal(value, (chance.state_dict() if key in heads else published)[key]), key


def test_with_as_many_classes_the_last_layer_is_kept_too(folder):
    network = build_seeded(RESNET, 7, 0)
    start_from(folder, network, RESNET)
    for key, value in load_file(folder / "model.safetensors").items():
        assert torch.equal(network.state_dict()[key], value), key


def test_weights_without_a_last_layer_or_counters_will_do(folder):
    def strip(weights: dict) -> None:
        for key in [k for k in weights if k.startswith("fc.") or k.endswith("_tracked")]:
            del weights[key]

    edit(folder, strip)
    network = build_seeded(RESNET, 3, 0)
    start_from(folder, network, RESNET)
    assert torch.equal(
        network.get_submodule("conv1").weight,
        load_file(folder / "model.safetensors")["conv1.weight"],
    )
    assert torch.equal(
        network.get_submodule("fc").weight, build_seeded(RESNET, 3, 0).get_submodule("fc").weight
    )


@pytest.mark.parametrize("side", [16, 48])
def test_positions_of_a_vision_transformer_are_interpolated(tmp_path, side):
    name = "vit_tiny_patch16_224"
    published = tiny_encoders.timm_classifier(tmp_path, name, VIT)
    network = build_seeded(spec(name, img_size=side), 3, 0)
    start_from(tmp_path, network, spec(name, img_size=side))
    expected = timm.layers.resample_abs_pos_embed(
        published.pos_embed, [side // 8, side // 8], num_prefix_tokens=1
    )
    assert torch.equal(network.pos_embed, expected)
    assert torch.equal(network.blocks[0].attn.qkv.weight, published.blocks[0].attn.qkv.weight)


def test_biases_of_a_windowed_transformer_are_interpolated(tmp_path):
    name = "swin_tiny_patch4_window7_224"
    published = tiny_encoders.timm_classifier(tmp_path, name, SPECS[name]).state_dict()
    other = spec(name, img_size=64, window_size=8)
    network = build_seeded(other, 3, 0)
    start_from(tmp_path, network, other)
    key = "layers.0.blocks.0.attn.relative_position_bias_table"
    assert len(network.state_dict()[key]) == 15**2 > len(published[key]) == 7**2
    same = "layers.0.blocks.0.attn.qkv.weight"
    assert torch.equal(network.state_dict()[same], published[same])


def resize_first(weights: dict) -> None:
    weights["conv1.weight"] = torch.zeros(4, 1, 7, 7)


def drop_first(weights: dict) -> None:
    del weights["conv1.weight"], weights["bn1.bias"]


def add_block(weights: dict) -> None:
    weights["layer1.1.conv1.weight"] = torch.zeros(4, 4, 3, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            resize_first,
            r"resnet18 with options .*: conv1.weight is \(4, 1, 7, 7\) and not \(64, 3,",
        ),
        (drop_first, r"conv1.weight is missing \(and 1 more tensors\)"),
        (add_block, r"layer1.1.conv1.weight is too many; it was made with {.*'channels': \[4, 4"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, change, said):
    edit(folder, change)
    with pytest.raises(UserError, match=said):
        start_from(folder, build_seeded(RESNET, 3, 0), RESNET)


def test_weights_of_another_architecture_are_refused(folder):
    deeper = {"family": "timm", "name": "resnet34"} | {"options": SPECS["resnet18"]}
    said = "holds weights of resnet18, which do not fit the architecture resnet34; give others, or"
    with pytest.raises(UserError, match=said):
        start_from(folder, build_seeded(deeper, 3, 0), deeper)
    with pytest.raises(UserError, match="only networks of timm start from weights, not bagnet"):
        start_from(folder, build_seeded(RESNET, 3, 0), {"family": "bagnet", "receptive_field": 9})


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"model.safetensors is damaged"):
        start_from(folder, build_seeded(RESNET, 3, 0), RESNET)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"it has no model\.safetensors"):
        start_from(folder, build_seeded(RESNET, 3, 0), RESNET)
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"its config\.json names no `architecture`"):
        start_from(folder, build_seeded(RESNET, 3, 0), RESNET)


def test_what_weights_do_not_show_is_told(folder, caplog):
    config = json.loads((folder / "config.json").read_text())
    start_from(folder, build_seeded(RESNET, 3, 0), RESNET)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    config["model_args"]["act_layer"] = "silu"
    config["pretrained_cfg"]["mean"] = [0.5, 0.5, 0.5]
    (folder / "config.json").write_text(json.dumps(config))
    start_from(folder, build_seeded(RESNET, 3, 0), RESNET)
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "was made with {'act_layer': 'silu'}; the architecture's options differ" in said[0]
    assert "images of mean [0.5, 0.5, 0.5]" in said[1]
    assert len(said) == 2


def images(folder: Path, n: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    with ShardWriter(folder / "00000.tar", "png") as writer:
        for index in range(n):
            image = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
            writer.add(Sample(f"{index:03d}", index % 3, "abc"[index % 3]), image)
    gather([folder / "00000.tar"], folder / "manifest.parquet")
    return folder / "manifest.parquet"


def test_a_training_begins_at_the_weights_given(folder, tmp_path, torch_as_it_was, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train_classifier.py"])  # whose code names the scratch folder
    data = {"train": images(tmp_path / "train", 12, 1), "val": images(tmp_path / "val", 6, 2)}
    # So small a step that weights stay where they begin.
    recipe = {"epochs": 1, "warmup_epochs": 0, "learning_rate": 1e-9, "rand_augment": 9.0}
    found = {}
    for name, weights in {"given": ["--weights", str(folder)], "chance": []}.items():
        out = tmp_path / name
        words = ["--architecture", json.dumps(RESNET), "--recipe", json.dumps(recipe), *weights]
        for option, value in data.items():
            words += [f"--{option}", str(value)]
        words += ["--seed", "0", "--threads", "1", "--gpus", "0", "--checkpoint-seconds", "0"]
        words += ["--scratch", str(out / "scratch"), "--model", str(out / "model.safetensors")]
        words += ["--last", str(out / "last.safetensors"), "--history", str(out / "h.parquet")]
        train_classifier.main(train_classifier.options().parse_args(words))
        found[name], about = load(out / "model.safetensors")
        assert about.architecture == RESNET
    start = load_file(folder / "model.safetensors")["conv1.weight"]
    torch.testing.assert_close(found["given"].conv1.weight, start, atol=1e-6, rtol=0)
    assert (found["chance"].conv1.weight - start).abs().max() > 0.01
    torch.testing.assert_close(found["given"].fc.weight, found["chance"].fc.weight)
