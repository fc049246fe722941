"""Checkpoints, and that none is taken of weights that are no numbers."""

import math

import pytest
import torch

from synthgap.checkpoint import Checkpoint, require_finite
from synthgap.errors import UserError


def test_a_state_comes_back(tmp_path):
    checkpoint = Checkpoint(tmp_path, 0)
    assert checkpoint.load() is None
    state = {"step": 3, "model": {"a": torch.arange(3.0)}, "history": [{"loss": math.inf}]}
    checkpoint.save(state)
    found = checkpoint.load()
    assert found["history"] == state["history"]
    assert torch.equal(found["model"]["a"], state["model"]["a"])


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_do_not_replace_those_that_are(tmp_path, odd):
    checkpoint = Checkpoint(tmp_path, 0)
    checkpoint.save({"step": 3, "optimizer": {"state": {0: [torch.zeros(2)]}}})
    with pytest.raises(UserError, match=r"diverged: `optimizer.state.0.0` is NaN or infinite"):
        checkpoint.save({"step": 4, "optimizer": {"state": {0: [torch.tensor([0.0, odd])]}}})
    assert checkpoint.load()["step"] == 3


def test_numbers_that_are_whole_are_finite():
    require_finite({"a": torch.tensor([2**62]), "b": (torch.zeros(0), None, "nan")})
