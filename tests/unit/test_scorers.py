"""Scorers against their references' formulas, on small models with random weights."""

import json
import math
import shutil

import numpy as np
import open_clip
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torchvision.transforms import functional as images_of

import tiny_scorers
from synthgap.config.scorers import Scorer as Settings
from synthgap.config.scorers import scorer_models
from synthgap.errors import UserError
from synthgap.scorers import ROLES, SCORER_KINDS, make_scorer, modules_of
from synthgap.scorers.base import CLIP_MEAN, CLIP_STD
from synthgap.scorers.clip import architecture_of
from synthgap.scorers.image_reward import MEAN, STD, load_tokenizer

RANDOM = np.random.default_rng(0)
# Not square, of several sizes: what resizing and cropping do shows.
SHAPES = [(40, 56, 3), (64, 33, 3), (32, 32, 3), (20, 90, 3)]
IMAGES = [RANDOM.integers(0, 256, shape, dtype=np.uint8) for shape in SHAPES]
PROMPTS = ["a red cat", "photo of a dog and &amp; more", "dog", "a " * 90]
SPECS = {
    "clipscore": {"kind": "clipscore"},
    "clipscore-torchmetrics": {"kind": "clipscore", "variant": "torchmetrics"},
    "pickscore": {"kind": "pickscore"},
    "hpsv2.1": {"kind": "hpsv2.1", "architecture": tiny_scorers.HPS_ARCHITECTURE},
    "imagereward": {"kind": "imagereward"},
    "laion-aesthetic": {"kind": "laion-aesthetic"},
    "jina-clip": {"kind": "jina-clip", "trust_remote_code": True},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders and files by kind and role."""
    monkeypatch = pytest.MonkeyPatch()
    where = tmp_path_factory.mktemp("scorers")
    # Where transformers copies code to that comes with weights.
    cache = str(where / "modules")
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", cache)
    clip = tiny_scorers.build_clip(where / "clip")
    words = tiny_scorers.build_vocabulary(where / "vocab.txt")
    known = len(tiny_scorers.BERT_WORDS) + 25 + 2
    reward = tiny_scorers.build_image_reward(where / "ImageReward.pt", known)
    yield {
        "clipscore": {"clip": clip},
        "pickscore": {"clip": clip},
        "hpsv2.1": {"weights": tiny_scorers.build_hps(where / "hps")},
        "imagereward": {"weights": reward, "tokenizer": words},
        "laion-aesthetic": {"head": tiny_scorers.build_head(where / "head.pth"), "clip": clip},
        "jina-clip": {"clip": tiny_scorers.build_jina(where / "jina")},
    }
    monkeypatch.undo()


@pytest.fixture(scope="module")
def made(models):
    return {name: make_scorer(spec, models=models[spec["kind"]]) for name, spec in SPECS.items()}


def openai_pixels(image):
    """Shorter side to the model's, bicubic by Pillow, and the centre."""
    picture = Image.fromarray(image)
    scale = tiny_scorers.SIDE / min(picture.size)
    picture = picture.resize([int(s * scale) for s in picture.size], Image.Resampling.BICUBIC)
    picture = images_of.center_crop(picture, tiny_scorers.SIDE)
    scaled = (np.asarray(picture) / 255 - np.array(CLIP_MEAN)) / np.array(CLIP_STD)
    return torch.tensor(scaled, dtype=torch.float32).permute(2, 0, 1)[None]


def cosine(left, right):
    return float(F.cosine_similarity(left.double(), right.double())[0])


@torch.no_grad()
def test_clipscore_is_its_authors(made, models):
    folder = models["clipscore"]["clip"]
    model = transformers.CLIPModel.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    scores = made["clipscore"].score(IMAGES, PROMPTS)
    assert scores.dtype == np.float32
    cosines = []
    for image, prompt in zip(IMAGES, PROMPTS, strict=True):
        text = "A photo depicts " + prompt.replace("&amp;", "&")
        ids = tokenizer([text], truncation=True, max_length=77, return_tensors="pt")
        read = model.get_text_features(**ids).pooler_output
        seen = model.get_image_features(pixel_values=openai_pixels(image)).pooler_output
        cosines.append(cosine(seen, read))
    np.testing.assert_allclose(scores, 2.5 * np.maximum(cosines, 0), atol=1e-5)
    assert min(cosines) < 0 < max(cosines)  # both sides of the clamp


@torch.no_grad()
def test_the_other_clipscore_is_torchmetrics(made, models):
    folder = models["clipscore"]["clip"]
    model = transformers.CLIPModel.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    texts = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    assert texts["input_ids"].shape[1] > 77
    read = model.get_text_features(
        texts["input_ids"][:, :77], texts["attention_mask"][:, :77]
    ).pooler_output
    pixels = processor([Image.fromarray(i) for i in IMAGES], return_tensors="pt")["pixel_values"]
    seen = model.get_image_features(pixels).pooler_output
    expected = 100 * F.cosine_similarity(seen, read)
    scores = made["clipscore-torchmetrics"].score(IMAGES, PROMPTS)
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-3)


@torch.no_grad()
def test_pickscore_is_the_logit(made, models):
    folder = models["pickscore"]["clip"]
    model = transformers.CLIPModel.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    texts = tokenizer(PROMPTS, padding=True, truncation=True, max_length=77, return_tensors="pt")
    pixels = processor([Image.fromarray(i) for i in IMAGES], return_tensors="pt")
    expected = model(**texts, **pixels).logits_per_image.diagonal()
    scores = made["pickscore"].score(IMAGES, PROMPTS)
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-4)


@torch.no_grad()
def test_hps_pads_the_longer_side_and_is_a_cosine(made, models):
    model = open_clip.create_model(tiny_scorers.HPS_ARCHITECTURE, load_weights=False).eval()
    model.load_state_dict(torch.load(models["hpsv2.1"]["weights"], weights_only=True)["state_dict"])
    scorer = made["hpsv2.1"]
    flat = scorer.transform(Image.fromarray(IMAGES[3]))  # 20 x 90 px become 7 x 32
    black = (torch.zeros(3) - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
    torch.testing.assert_close(flat[:, :12], black[:, None, None].expand(3, 12, 32))
    torch.testing.assert_close(flat[:, 19:], black[:, None, None].expand(3, 13, 32))
    square = images_of.to_tensor(IMAGES[2])
    square = images_of.normalize(square, CLIP_MEAN, CLIP_STD)[None]
    tokens = open_clip.get_tokenizer(tiny_scorers.HPS_ARCHITECTURE)([PROMPTS[0]])
    seen, read, _ = model(square, tokens)
    score = scorer.score([IMAGES[2]], [PROMPTS[0]])
    np.testing.assert_allclose(score, [(seen @ read.T).item()], atol=1e-6)


def original_text_network(state, ids, seen):
    """BERT with cross-attention as BLIP's own code has it, of one prompt without padding."""

    def linear(name, x):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-12)

    def attend(name, x, to):
        query = linear(f"{name}.self.query", x)
        key, value = linear(f"{name}.self.key", to), linear(f"{name}.self.value", to)
        weights = (query @ key.T / math.sqrt(query.shape[-1])).softmax(-1)
        dense = linear(f"{name}.output.dense", weights @ value)
        return norm(f"{name}.output.LayerNorm", dense + x)

    x = state["embeddings.word_embeddings.weight"][ids]
    x = x + state["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm("embeddings.LayerNorm", x)
    for layer in ("encoder.layer.0", "encoder.layer.1"):
        x = attend(f"{layer}.attention", x, x)
        x = attend(f"{layer}.crossattention", x, seen)
        wide = F.gelu(linear(f"{layer}.intermediate.dense", x))
        x = norm(f"{layer}.output.LayerNorm", linear(f"{layer}.output.dense", wide) + x)
    return x


@torch.no_grad()
def test_imagereward_is_the_original_network(made, models):
    tokenizer = load_tokenizer(models["imagereward"]["tokenizer"])
    vision, text, head = tiny_scorers.image_reward_networks(len(tokenizer))
    scores = made["imagereward"].score(IMAGES, PROMPTS)
    for image, prompt, score in zip(IMAGES, PROMPTS, scores, strict=True):
        ids = tokenizer(prompt, truncation=True, max_length=35)["input_ids"]
        seen = vision(openai_pixels(image))[0]
        first = original_text_network(text.state_dict(), ids, seen)[0]
        assert score == pytest.approx((head.layers(first).item() - MEAN) / STD, abs=1e-4)
    assert np.ptp(scores) > 1e-2


@torch.no_grad()
def test_laion_rates_features_of_length_1(made, models):
    model = transformers.CLIPModel.from_pretrained(models["clipscore"]["clip"])
    head = tiny_scorers._Head(16)
    head.load_state_dict(torch.load(models["laion-aesthetic"]["head"], weights_only=True))
    scores = made["laion-aesthetic"].score(IMAGES, [])
    for image, score in zip(IMAGES, scores, strict=True):
        seen = model.get_image_features(pixel_values=openai_pixels(image)).pooler_output
        assert score == pytest.approx(head.eval().layers(seen / seen.norm()).item(), abs=1e-5)


@torch.no_grad()
def test_jina_clip_is_a_cosine_of_what_its_code_encodes(made):
    scorer = made["jina-clip"]
    seen = scorer.model.encode_image([Image.fromarray(image) for image in IMAGES])
    read = scorer.model.encode_text(PROMPTS, max_length=512)
    expected = F.cosine_similarity(torch.tensor(seen), torch.tensor(read))
    np.testing.assert_allclose(scorer.score(IMAGES, PROMPTS), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("name", SPECS)
def test_a_pair_does_not_depend_on_its_batch(made, name):
    together = made[name].score(IMAGES, PROMPTS)
    alone = [made[name].score([i], [p])[0] for i, p in zip(IMAGES, PROMPTS, strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert np.ptp(together) > 1e-4  # scores that are all the same would prove nothing
    assert made[name].score([], []).shape == (0,)


def test_identities_are_json_and_metrics_tell_variants(made):
    metrics = {name: scorer.metric for name, scorer in made.items()}
    assert metrics == {
        "clipscore": "clipscore_hessel_vit_w32_p8",
        "clipscore-torchmetrics": "clipscore_torchmetrics_vit_w32_p8",
        "pickscore": "pickscore_v1",
        "hpsv2.1": "hpsv2_1",
        "imagereward": "imagereward_v1_0",
        "laion-aesthetic": "laion_aesthetic_sac_logos_ava1_l14",
        "jina-clip": "jina_clip_score_v2",
    }
    for scorer in made.values():
        told = json.loads(json.dumps(scorer.identity))
        assert all(len(digest) == 64 for digest in told["weights"].values())
        assert {"preprocessing", "scale", "dtype"} <= told.keys()
    assert [made[name].needs_prompt for name in ("clipscore", "laion-aesthetic")] == [True, False]


@pytest.mark.parametrize(
    ("width", "patch", "side", "name"),
    [(768, 32, 224, "vit_b32"), (1024, 14, 224, "vit_l14"), (1024, 14, 336, "vit_l14_336")],
)
def test_openais_models_have_their_names(width, patch, side, name):
    vision = {"hidden_size": width, "patch_size": patch, "image_size": side}
    vision["num_attention_heads"] = width // 64
    assert architecture_of(transformers.CLIPConfig(vision_config=vision)) == name


@pytest.mark.parametrize(
    "name", ["clipscore", "clipscore-torchmetrics", "pickscore", "hpsv2.1", "imagereward"]
)
def test_prompts_that_are_cut_are_counted(models, name):
    spec = SPECS[name]
    scorer = make_scorer(spec, models=models[spec["kind"]])
    scorer.score(IMAGES, PROMPTS)
    assert scorer.cut == 1
    scorer.score(IMAGES[:1], ["a cat"])
    assert scorer.cut == 1


def test_half_precision_stays_near(models, made):
    for name in ("clipscore-torchmetrics", "imagereward", "hpsv2.1"):
        spec = SPECS[name]
        half = make_scorer(spec | {"dtype": "bfloat16"}, models=models[spec["kind"]])
        full = made[name].score(IMAGES, PROMPTS)
        found = half.score(IMAGES, PROMPTS)
        assert found.dtype == np.float32
        assert 0 < np.abs(found - full).max() < 0.3 * max(1, np.abs(full).max())


def refused(match, spec, models):
    with pytest.raises(UserError, match=match) as told:
        make_scorer(spec, models=models)
    assert "\n" not in str(told.value)


def test_unknown_settings_and_absent_models_are_refused(models, tmp_path):
    with pytest.raises(UserError, match="unknown scorer kind `clipscor`; did you mean `clipscore`"):
        modules_of({"kind": "clipscor"})
    clip = models["clipscore"]
    refused("has no `varint`; did you mean `variant`", {"kind": "clipscore", "varint": 1}, clip)
    refused("unknown variant of CLIPScore", {"kind": "clipscore", "variant": "open"}, clip)
    refused("unknown dtype 'int8'", {"kind": "clipscore", "dtype": "int8"}, clip)
    refused("needs the model `clip`", {"kind": "clipscore"}, {})
    refused("no such file or folder", {"kind": "clipscore"}, {"clip": tmp_path / "nowhere"})
    refused("has no model `head`", {"kind": "clipscore"}, clip | {"head": tmp_path})
    refused("it has no config.json", {"kind": "jina-clip", "trust_remote_code": True},
            {"clip": clip["clip"].parent})  # fmt: skip
    refused("set trust_remote_code: true", {"kind": "jina-clip"}, models["jina-clip"])
    refused("no Jina CLIP: its code has no `encode_image`", SPECS["jina-clip"], clip)
    elsewhere = shutil.copytree(models["jina-clip"]["clip"], tmp_path / "elsewhere")
    config = (elsewhere / "config.json").read_text()
    (elsewhere / "config.json").write_text(config.replace('"tiny_model.', '"me/other--tiny_model.'))
    refused(r"names code in other repositories, .* hub's cache \(HF_HOME\)", SPECS["jina-clip"],
            {"clip": elsewhere})  # fmt: skip
    refused("unknown version of Jina", SPECS["jina-clip"] | {"version": "v3"}, models["jina-clip"])
    refused("open_clip has no architecture `ViT-H-15`; did you mean",
            {"kind": "hpsv2.1", "architecture": "ViT-H-15"}, models["hpsv2.1"])  # fmt: skip


def test_weights_that_are_damaged_or_of_another_network_are_refused(models, tmp_path):
    headless = shutil.copytree(models["clipscore"]["clip"], tmp_path / "headless")
    tensors = load_file(headless / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, headless / "model.safetensors", metadata={"format": "pt"})
    refused("the weights lack 1 tensors of the network, the first being visual_projection",
            {"kind": "clipscore"}, {"clip": headless})  # fmt: skip
    (headless / "model.safetensors").write_bytes(b"")
    refused("cannot be loaded as CLIPModel", {"kind": "clipscore"}, {"clip": headless})
    aesthetic, reward = models["laion-aesthetic"], models["imagereward"]
    broken = tmp_path / "broken.pth"
    broken.write_bytes(aesthetic["head"].read_bytes()[:-300])
    refused("no file of weights, or a damaged one", {"kind": "laion-aesthetic"},
            aesthetic | {"head": broken})  # fmt: skip
    broken.write_text("version https://git-lfs.github.com/spec/v1")
    refused("no file of weights", {"kind": "imagereward"}, reward | {"weights": broken})
    torch.save([1, 2], broken)
    refused("holds no tensors by name", {"kind": "hpsv2.1"}, {"weights": broken})
    refused("not those of a stack of five linear layers", {"kind": "laion-aesthetic"},
            aesthetic | {"head": reward["weights"]})  # fmt: skip
    refused("not the weights of ImageReward", {"kind": "imagereward"},
            reward | {"weights": aesthetic["head"]})  # fmt: skip
    refused("the weights lack", SPECS["hpsv2.1"], {"weights": reward["weights"]})
    wide = tiny_scorers.build_head(tmp_path / "wide.pth", width=20)
    refused("its features are 16 wide, and those of .* 20", {"kind": "laion-aesthetic"},
            aesthetic | {"head": wide})  # fmt: skip
    (tmp_path / "few.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    refused("7 tokens with .* take the vocabulary of bert-base-uncased", {"kind": "imagereward"},
            reward | {"tokenizer": tmp_path / "few.txt"})  # fmt: skip


def test_images_and_prompts_that_do_not_fit_are_refused(made):
    scorer = made["clipscore"]
    with pytest.raises(UserError, match="4 images need as many prompts, not 1"):
        scorer.score(IMAGES, PROMPTS[:1])
    with pytest.raises(UserError, match="prompt 1 is empty, and clipscore_hessel"):
        scorer.score(IMAGES[:2], ["a cat", " "])
    with pytest.raises(UserError, match=r"must be uint8 \(H, W, 3\), not float64"):
        scorer.score([IMAGES[0] / 255], ["a cat"])


def test_presets_make_scorers(made):
    assert {known.kind for known in scorer_models().values()} == set(SCORER_KINDS)
    for name, known in scorer_models().items():
        settings = Settings(preset=name, trust_remote_code=known.remote_code)
        assert set(known.models) <= set(ROLES[known.kind])
        assert next(iter(known.models)) == ROLES[known.kind][0]
        assert {**settings.hub_models, **settings.weight_files}.keys() == known.models.keys()
        assert settings.options()["models"].keys() == known.models.keys()
        assert settings.label == name
        # Everything is known but that the models are not there.
        with pytest.raises(UserError, match="needs the model"):
            make_scorer(settings.options(), models={})
        if known.kind == "clipscore":
            assert known.metric.startswith(f"clipscore_{known.options['variant']}_vit_")
        elif name != "jina-clip-v1":
            assert known.metric == made[known.kind].metric
    hub = Settings(preset="clipscore").hub_models["clip"]
    assert (hub.model, hub.layout) == ("openai/clip-vit-base-patch32", "model")


def test_settings_take_other_weights(models):
    clip = str(models["clipscore"]["clip"])
    settings = Settings(preset="laion-aesthetic", parts={"clip": clip})
    assert settings.hub_models == {}
    assert list(settings.weight_files) == ["head"]
    assert settings.local_models == {"clip": models["clipscore"]["clip"]}
    other = Settings(preset="pickscore", model="me/mine", revision="v2")
    assert other.hub_models["clip"].revision == "v2"
    assert other.options()["models"] == {"clip": "me/mine@v2"}
    assert Settings(preset="pickscore", model=clip).options()["models"] == {"clip": clip}


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"preset": "clipscor"}, "no scorer `clipscor`; did you mean `clipscore`"),
        ({"preset": "jina-clip-v2"}, "set trust_remote_code: true"),
        ({"preset": "clipscore", "trust_remote_code": True}, "brings no code"),
        ({"preset": "clipscore", "model": "nothing"}, "neither a hub id"),
        ({"preset": "hpsv2.1", "model": "me/hps.pt"}, "no such file: me/hps.pt"),
        ({"preset": "clipscore", "model": "./nowhere"}, "no such file or folder"),
        ({"preset": "imagereward", "parts": {"clip": "x"}}, "no other model `clip`"),
        ({"preset": "clipscore", "revision": "v1"}, "name that as `model`"),
        ({"preset": "clipscore", "dtyp": "float16"}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_work_are_refused(given, match):
    with pytest.raises(ValueError, match=match):
        Settings.model_validate(given)
