"""Models from elsewhere run no code: pickles and modules that are planted in their folders."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from synthgap.classifiers import evaluation
from synthgap.diffusion import realism
from synthgap.diffusion.encoding import load_text_encoder
from synthgap.errors import UserError
from synthgap.generators.loading import load_pipeline
from synthgap.metrics import perceptual
from synthgap.model_folder import read_weights
from synthgap.scorers.base import load_tensors

OPTIONS = {"scheduler": None, "dtype": "float32", "variant": None, "trust_remote_code": False}


class Planted:
    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.canary}",)


def plant(path: Path, canary: Path, saved: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if saved:
        torch.save({"state_dict": Planted(canary)}, path)
    else:
        path.write_bytes(pickle.dumps(Planted(canary)))


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize(
    "load",
    [evaluation.load, realism.load, perceptual._read, load_tensors],
    ids=lambda f: f.__module__,
)
def test_a_pickle_in_place_of_weights_is_refused(
    tmp_path: Path, load: Callable[[Path], object], saved: bool
) -> None:
    plant(tmp_path / "weights", tmp_path / "ran", saved)
    with pytest.raises(UserError):
        load(tmp_path / "weights")
    assert not (tmp_path / "ran").exists()


def test_pickles_in_a_folder_are_not_read(tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "model.ckpt", "model.safetensors"):
        plant(tmp_path / "model" / name, tmp_path / "ran", saved=True)
    with pytest.raises(UserError, match="is damaged"):
        read_weights(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        read_weights(tmp_path / "model")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"_class_name": ["pipeline", "Evil"]}, "cannot be loaded"),
        ({"_class_name": "StableDiffusionPipeline", "unet": ["evil", "Evil"]}, "cannot be loaded"),
        ({"_class_name": "StableDiffusionPipeline", "unet": ["os", "system"]}, "cannot be loaded"),
        ({"_class_name": "StableDiffusionPipeline", "unet": []}, "cannot be loaded"),
        ([], "cannot be loaded"),
        (7, "is damaged"),
    ],
)
def test_code_of_a_pipeline_folder_is_not_run(tmp_path: Path, index: object, said: str) -> None:
    folder = tmp_path / "pipeline"
    code = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
    for name in ("pipeline.py", "evil.py", "unet/evil.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(code)
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=said) as caught:
        load_pipeline(folder, OPTIONS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_code_of_a_tokenizer_is_not_asked_about_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    told = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told))
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(UserError, match="holds no T5 encoder"):
        load_text_encoder(tmp_path, "cpu", torch.float32)
    assert not (tmp_path / "ran").exists()
