"""Architectures by specification: what is built, how it is seeded, what is refused."""

import subprocess
import sys

import pytest
import torch

from synthgap.classifiers import architectures
from synthgap.classifiers.architectures import build, build_seeded, features, require_size
from synthgap.errors import UserError

RESNET = {
    "family": "timm",
    "name": "resnet18",
    "options": {"channels": [4, 4, 8, 8], "layers": [1, 1, 1, 1]},
}
BAGNET = {
    "family": "bagnet",
    "receptive_field": 9,
    "options": {"layers": [1, 1], "strides": [2, 2], "kernel3": [1, 1], "width": 4},
}


@pytest.mark.parametrize(("spec", "width"), [(RESNET, 8), (BAGNET, 32)])
def test_features_are_what_enters_the_last_layer(spec: dict, width: int):
    model = build_seeded(spec, 7, 0).eval()
    images = torch.randn(2, 3, 32, 32)
    vectors = features(model, images)
    assert vectors.shape == (2, width)
    last = model.get_submodule("fc" if spec is RESNET else "classifier")
    torch.testing.assert_close(last(vectors), model(images))
    assert model(images).shape == (2, 7)


def test_a_seed_fixes_the_initial_weights_and_leaves_global_randomness_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (build_seeded(BAGNET, 3, seed) for seed in (1, 1, 2))
    assert torch.rand(1) == expected
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"family": "keras"}, "'keras' is unknown; choose from timm, bagnet"),
        ({"family": "timm"}, "needs name"),
        ({"family": "bagnet", "receptive_field": 9, "name": "x"}, "nothing else"),
        ({"family": "timm", "name": "resnet81"}, "did you mean .*resnet18"),
        ({**RESNET, "options": {"layerz": [1]}}, "timm resnet18 cannot be built .*layerz"),
        ({**RESNET, "options": {"pretrained": True}}, "pretrained cannot be set"),
        ({**BAGNET, "options": {"depth": 3}}, "bagnet 9 cannot be built .*depth"),
        ({**BAGNET, "options": [1]}, "must be a mapping"),
    ],
)
def test_wrong_specifications_are_refused(spec: dict, message: str):
    with pytest.raises(UserError, match=message):
        build(spec, 10)


@pytest.mark.parametrize("spec", [RESNET, BAGNET], ids=["resnet", "bagnet"])
def test_gradients_of_narrow_networks_are_right_whatever_computes_them(spec, monkeypatch):
    # oneDNN's own gradient of narrow 1 x 1 convolutions with a stride is wrong on x86.
    model = build_seeded(spec, 5, 0).to(memory_format=torch.channels_last).train()
    images = torch.rand(8, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    found = []
    for exact in (True, False):
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", not exact)
        model.zero_grad()
        model(images).square().mean().backward()
        found.append({name: one.grad.clone() for name, one in model.named_parameters()})
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("spec", [RESNET, BAGNET], ids=["resnet", "bagnet"])
def test_narrow_networks_say_what_they_would_with_strides(spec, monkeypatch):
    monkeypatch.setattr(architectures, "ONEDNN_BLOCK", 0)
    plain = build_seeded(spec, 5, 0).eval()
    monkeypatch.undo()
    model = build_seeded(spec, 5, 0).eval()
    before, after = (
        [m.stride for m in one.modules() if hasattr(m, "stride")] for one in (plain, model)
    )
    assert before != after
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(images), plain(images), rtol=1e-4, atol=1e-5)


def test_timm_is_imported_only_for_its_own_architectures():
    program = (
        "import sys; import synthgap.classifiers.training;"
        "from synthgap.classifiers.architectures import build;"
        f"build({BAGNET!r}, 2);"
        "sys.exit(', '.join({'timm', 'torchvision', 'torch._dynamo'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_size_that_does_not_fit_is_told():
    spec = {
        "family": "timm",
        "name": "vit_tiny_patch16_224",
        "options": {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2},
    }
    model = build_seeded(spec, 2, 0)
    require_size(model, spec, 32, 32)
    with pytest.raises(UserError, match=r"vit_tiny_patch16_224 cannot see images of 40 x 40 pixel"):
        require_size(model, spec, 40, 40)
