"""Files of tensors: what is damaged is refused in one line, whatever torch makes of it."""

import random
import warnings

import pytest
import torch

from synthgap import tensor_files
from synthgap.errors import UserError


@pytest.mark.parametrize("new", [True, False])
def test_damaged_files_are_read_or_refused(tmp_path, new):
    path = tmp_path / "weights.pth"
    state = {"a.weight": torch.randn(3, 4), "b": {"c": torch.arange(5), "d": [torch.zeros(1)]}}
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=new)
    whole, refused = path.read_bytes(), []
    assert torch.equal(tensor_files.load(path)["state_dict"]["b"]["c"], torch.arange(5))
    rng = random.Random(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(250):
            hurt = bytearray(whole)
            hurt[rng.randrange(len(hurt))] ^= 1 << rng.randrange(8)
            path.write_bytes(hurt[: rng.randrange(len(hurt))] if rng.random() < 0.2 else hurt)
            try:
                tensor_files.load(path)
            except UserError as error:
                refused.append(str(error))
    assert len(refused) > 50
    for told in refused:
        assert told.startswith(f"{path}: no file of weights, or a damaged one: ")
        assert "\n" not in told
