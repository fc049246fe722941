"""A training whose processes are spread over nodes."""

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.cluster

MODEL = "results/models/flow"
WEIGHTS = f"{MODEL}/transformer/diffusion_pytorch_model.safetensors"


def test_a_training_is_spread_over_nodes_and_comes_to_the_same(checkout, finished):
    checkout.edit(
        "small.yaml", "    batch_size: 8\n", "    batch_size: 8\n    processes: 2\n    nodes: 2\n"
    )
    done = checkout.start(MODEL).wait()
    assert done.returncode == 0, done.output
    checkout.note_allocations("train_generator")
    [given] = [given for rule, given in checkout.allocations if rule == "train_generator"]
    assert "node=2" in given
    assert "gres/gpu=2" in given
    one, spread = load_file(finished / WEIGHTS), load_file(checkout / WEIGHTS)
    assert one.keys() == spread.keys()
    # Sums of gradients come in another order.
    for name, value in one.items():
        torch.testing.assert_close(spread[name], value, rtol=1e-3, atol=1e-5, msg=name)
