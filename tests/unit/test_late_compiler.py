"""torch's compiler is imported when it is used, not when timm is."""

import subprocess
import sys

import pytest

# torch.compile of what timm and torchvision made, and RoI align's question, after a late import.
LATE = """
import sys, torch
from synthgap.late_compiler import late_compiler
with late_compiler():
    import timm, torchvision
disable = torch.compiler.disable
assert "torch._dynamo" not in sys.modules and "torch._dynamo.utils" not in sys.modules
network = timm.create_model("resnet18").eval()
images = torch.rand(2, 3, 32, 32)
plain = network(images)
assert "torch._dynamo" not in sys.modules
torch.use_deterministic_algorithms(True)
torchvision.ops.roi_align(images, [torch.tensor([[0, 0, 8.0, 8]])] * 2, 2)
assert "torch._dynamo" in sys.modules
assert torch.equal(torch.compile(network, backend="eager")(images), plain)
assert torch.compiler.disable is disable and disable.__module__ == "torch.compiler"
"""

# Versions of timm that import the compiler themselves get the real one.
AT_ONCE = """
import sys
from synthgap.late_compiler import late_compiler
finders = list(sys.meta_path)
with late_compiler():
    import torch._dynamo
    import timm
assert torch._dynamo.utils.__file__ and sys.modules["torch._dynamo.utils"] is torch._dynamo.utils
assert sys.meta_path == finders
with late_compiler():
    import torchvision
assert torchvision.ops.roi_align
"""


@pytest.mark.parametrize("program", [LATE, AT_ONCE], ids=["late", "at once"])
def test_the_compiler_is_there_when_it_is_needed(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
