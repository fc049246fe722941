"""Encoders against the libraries' own way, on small models with random weights."""

import json
import shutil

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision import transforms
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import tiny_encoders
from synthgap.classifiers.architectures import build_seeded
from synthgap.classifiers.evaluation import About, extract, save
from synthgap.encoders import FAMILIES, make_encoder, modules_of
from synthgap.encoders.preprocessing import Preprocessing
from synthgap.errors import UserError
from tiny_encoders import CLIP_MEAN, CLIP_STD, MEAN, STD

DRAWN = np.random.default_rng(0)
IMAGES = [DRAWN.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(5)]
ODD = DRAWN.integers(0, 256, (37, 52, 3), dtype=np.uint8)


def spec_of(family, size, crop=1.0, mean=MEAN, std=STD, **more):
    shape = {"image_size": size, "interpolation": "bicubic", "crop": crop, "mean": mean, "std": std}
    return {"family": family} | shape | more


CLIP = spec_of("clip", 28, mean=CLIP_MEAN, std=CLIP_STD)
DINOV2 = spec_of("dinov2", 56, "squash")
VIT = spec_of("timm", 32, 0.875)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    where = tmp_path_factory.mktemp("models")
    return {
        "clip": tiny_encoders.clip(where / "clip"),
        "dinov2": tiny_encoders.dinov2(where / "dinov2"),
        "registers": tiny_encoders.dinov2(where / "registers", registers=3),
        "timm": tiny_encoders.timm_vit(where / "timm"),
        "mocov3": tiny_encoders.mocov3(where / "mocov3"),
    }


@pytest.mark.parametrize("shape", [(256, 256), (32, 32), (224, 224), (300, 225), (97, 333)])
def test_preprocessing_is_that_of_the_reference_processors(shape):
    image = DRAWN.integers(0, 256, (*shape, 3), dtype=np.uint8)
    for processor, size, crop, mean, std in [
        (CLIPImageProcessorPil(), 224, 1.0, CLIP_MEAN, CLIP_STD),
        (BitImageProcessorPil(size={"shortest_edge": 256}, image_mean=MEAN, image_std=STD),
         224, 0.875, MEAN, STD),
    ]:  # fmt: skip
        ours = Preprocessing(size, "bicubic", crop, tuple(mean), tuple(std))(image)
        [theirs] = processor(images=[image], return_tensors="np")["pixel_values"]
        normalised = (ours / np.float32(255) - np.float32(mean)) / np.float32(std)
        np.testing.assert_allclose(normalised.transpose(2, 0, 1), theirs, atol=1e-6)


def test_squashing_is_what_the_reference_of_fd_dinov2_does():
    resize = transforms.Resize((56, 56), transforms.InterpolationMode.BICUBIC)
    expected = np.asarray(resize(Image.fromarray(ODD)))
    ours = Preprocessing(56, "bicubic", "squash", tuple(MEAN), tuple(STD))(ODD)
    np.testing.assert_array_equal(ours, expected)


def test_clip_is_that_of_transformers(models):
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
    )
    network = transformers.CLIPModel.from_pretrained(models["clip"]).eval()
    inputs = processor(images=[*IMAGES, ODD], return_tensors="pt")
    with torch.no_grad():
        pooled = network.vision_model(**inputs).pooler_output
        projected = network.visual_projection(pooled)
    for layer, expected in (("projected", projected), ("pooled", pooled)):
        encoder = make_encoder(CLIP | {"layer": layer}, model=models["clip"])
        found = encoder.encode([*IMAGES, ODD])
        assert found.dtype == np.float32
        assert found.shape == (6, encoder.width)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert encoder.identity["layer"] == layer


@pytest.mark.parametrize("kind", ["dinov2", "registers"])
def test_dinov2_is_that_of_transformers(models, kind):
    processor = BitImageProcessorPil(
        size={"height": 56, "width": 56}, do_center_crop=False, image_mean=MEAN, image_std=STD
    )
    network = transformers.AutoModel.from_pretrained(models[kind]).eval()
    inputs = processor(images=[*IMAGES, ODD], return_tensors="pt")
    with torch.no_grad():
        expected = network(**inputs).last_hidden_state[:, 0]
    found = make_encoder(DINOV2, model=models[kind]).encode([*IMAGES, ODD])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.std(axis=0).max() > 1e-2


def test_positions_may_be_those_of_dinov2s_own_code(models):
    small = DINOV2 | {"image_size": 28}
    shifted = make_encoder(small | {"positions": "reference"}, model=models["dinov2"])
    plain = make_encoder(small, model=models["dinov2"])
    found, other = shifted.encode(IMAGES), plain.encode(IMAGES)
    assert 1e-4 < np.abs(found - other).max() < np.ptp(other)
    assert shifted.identity != plain.identity
    whole = make_encoder(DINOV2 | {"positions": "reference"}, model=models["dinov2"])
    expected = make_encoder(DINOV2, model=models["dinov2"]).encode(IMAGES)
    np.testing.assert_array_equal(whole.encode(IMAGES), expected)
    with pytest.raises(UserError, match="`reference` is of DINOv2 without registers"):
        make_encoder(small | {"positions": "reference"}, model=models["registers"])


@pytest.mark.parametrize("family", ["timm", "mocov3"])
def test_vision_transformers_are_those_of_timm(models, family):
    network = timm.create_model(
        "vit_tiny_patch16_224", num_classes=5 * (family == "mocov3"), **tiny_encoders.VIT
    ).eval()
    network.load_state_dict(load_file(models[family] / "model.safetensors"))
    prepare = transforms.Compose(
        [
            transforms.Resize(36, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    with torch.no_grad():
        tokens = network.forward_features(
            torch.stack([prepare(Image.fromarray(image)) for image in IMAGES])
        )
    for layer, expected in (("token", tokens[:, 0]), ("mean", tokens[:, 1:].mean(1))):
        encoder = make_encoder(VIT | {"family": family, "layer": layer}, model=models[family])
        np.testing.assert_allclose(encoder.encode(IMAGES), expected, atol=1e-5)


def test_inception_is_that_of_torch_fidelity(tmp_path):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = tiny_encoders.inception(tmp_path / "inception.pth")
    network = FeatureExtractorInceptionV3("inception", ["2048"], str(path))
    encoder = make_encoder({"family": "inception"}, model=path)
    found = encoder.encode([*IMAGES[:2], ODD])
    for image, vector in zip([*IMAGES[:2], ODD], found, strict=True):
        [expected] = network(torch.from_numpy(image).permute(2, 0, 1)[None])
        np.testing.assert_allclose(vector, expected[0], rtol=1e-4, atol=1e-5)
    assert found.shape == (3, encoder.width)
    with pytest.raises(UserError, match="inception computes in float32"):
        make_encoder({"family": "inception", "dtype": "bfloat16"}, model=path)
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="no weights of FID's Inception"):
        make_encoder({"family": "inception"}, model=path)
    path.write_bytes(b"cposix\nsystem\n(S'false'\ntR.")
    with pytest.raises(UserError, match="no file of weights, or a damaged one"):
        make_encoder({"family": "inception"}, model=path)


@pytest.mark.parametrize(
    "architecture",
    [
        {"family": "timm", "name": "resnet18", "options": {"layers": [1, 1, 1, 1]}},
        {"family": "bagnet", "receptive_field": 9, "options": {
            "layers": [1, 1], "strides": [2, 2], "kernel3": [1, 1], "width": 4}},
    ],
)  # fmt: skip
def test_classifiers_give_what_enters_their_last_layer(architecture, tmp_path):
    network = build_seeded(architecture, 3, 0)
    save(network, About(architecture, ["a", "b", "c"]), tmp_path / "model.safetensors")
    encoder = make_encoder({"family": "classifier"}, model=tmp_path / "model.safetensors")
    found = encoder.encode(np.stack(IMAGES))
    assert found.shape == (5, encoder.width)
    np.testing.assert_allclose(found, extract(network, np.stack(IMAGES), 5), atol=1e-5)


def test_an_image_does_not_depend_on_its_batch(models):
    for family, spec in (("clip", CLIP), ("dinov2", DINOV2), ("timm", VIT)):
        together = make_encoder(spec | {"batch_size": 3}, model=models[family]).encode(IMAGES)
        alone = make_encoder(spec | {"batch_size": 1}, model=models[family])
        for image, vector in zip(IMAGES, together, strict=True):
            np.testing.assert_allclose(alone.encode([image])[0], vector, atol=1e-5)
        assert alone.encode([]).shape == (0, alone.width)


def test_batches_that_do_not_fit_are_halved(models):
    encoder = make_encoder(CLIP, model=models["clip"])
    expected, run, tried = encoder.encode(IMAGES), encoder._run, []

    def small(images):
        tried.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(images)

    encoder._run = small
    np.testing.assert_allclose(encoder.encode(IMAGES), expected, atol=1e-5)
    assert tried == [5, 2, 2, 1]
    encoder._run = lambda images: small([None] * 3)
    with pytest.raises(UserError, match="not even one image fits"):
        encoder.encode(IMAGES[:1])


def test_identities_tell_what_shapes_features_and_nothing_else(models, tmp_path):
    identity = make_encoder(CLIP, model=models["clip"]).identity
    assert json.loads(json.dumps(identity)) == identity
    moved = shutil.copytree(models["clip"], tmp_path / "elsewhere")
    # What the folder says of preprocessing is not read.
    (moved / "preprocessor_config.json").write_text('{"size": 7}')
    assert make_encoder(CLIP | {"batch_size": 2, "name": "x"}, model=moved).identity == identity
    for change in ({"layer": "pooled"}, {"dtype": "bfloat16"}, {"crop": 0.5}, {"mean": MEAN}):
        assert make_encoder(CLIP | change, model=moved).identity != identity
    weights = load_file(moved / "model.safetensors")
    weights["logit_scale"] += 1
    save_file(weights, moved / "model.safetensors", {"format": "pt"})
    assert make_encoder(CLIP, model=moved).identity != identity


def test_half_precision_stays_near(models):
    full = make_encoder(CLIP, model=models["clip"]).encode(IMAGES)
    half = make_encoder(CLIP | {"dtype": "bfloat16"}, model=models["clip"]).encode(IMAGES)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - full).max() < 0.1 * np.ptp(full)


def test_weights_that_lack_a_part_of_the_network_are_refused(models, tmp_path):
    for family, spec in (("clip", CLIP), ("dinov2", DINOV2), ("timm", VIT)):
        folder = shutil.copytree(models[family], tmp_path / family)
        path = folder / "model.safetensors"
        weights = load_file(path)
        lost = next(name for name in weights if "norm" in name and "text" not in name)
        weights.pop(lost)
        save_file(weights, path, {"format": "pt"})
        with pytest.raises(UserError, match=f"weights lack 1 tensors.*first being .*{lost[-12:]}"):
            make_encoder(spec, model=folder)
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(UserError, match=r"damaged|cannot be loaded"):
            make_encoder(spec, model=folder)
        path.rename(folder / "pytorch_model.bin")
        with pytest.raises(UserError, match=r"safetensors|cannot be loaded"):
            make_encoder(spec, model=folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "clib"}, "unknown encoder family `clib`; did you mean `clip`"),
        ({"layr": "pooled"}, "encoder clip has no `layr`; did you mean `layer`"),
        ({"layer": "pooling"}, "encoder clip has no layer `pooling`; did you mean `pooled`"),
        ({"dtype": "int8"}, "unknown dtype `int8`"),
        ({"crop": 1.5}, "crop: `squash` or a share"),
        ({"interpolation": "nearest"}, "unknown interpolation `nearest`; known: bilinear"),
        ({"image_size": 224}, "image_size: .* takes images of 28 px, not 224"),
        ({"family": "dinov2"}, "holds a model `clip`, not dinov2"),
        ({"family": "timm"}, "no model of timm: its config.json names no `architecture`"),
        ({"family": "mocov3"}, "none of a vision transformer named as timm does"),
        ({"family": "classifier"}, "encoder classifier has no `image_size`"),
    ],
)
def test_what_does_not_suit_is_told_in_one_line(models, change, message):
    with pytest.raises(UserError, match=message):
        make_encoder(CLIP | change, model=models["clip"])


def test_sizes_must_suit_the_patches(models, tmp_path):
    with pytest.raises(UserError, match="image_size: 30 is no multiple of this model's patches"):
        make_encoder(DINOV2 | {"image_size": 30}, model=models["dinov2"])
    with pytest.raises(UserError, match="no such model"):
        make_encoder(CLIP, model=tmp_path / "nowhere")
    with pytest.raises(UserError, match="needs `crop`"):
        make_encoder({k: v for k, v in CLIP.items() if k != "crop"}, model=models["clip"])
    with pytest.raises(UserError, match="must be uint8"):
        make_encoder(CLIP, model=models["clip"]).encode([ODD.astype(np.float32)])


def test_every_family_names_its_module():
    for family in FAMILIES:
        assert modules_of({"family": family})[0].startswith("synthgap.encoders.")
