"""Importing timm without torch's compiler, which takes as long as torch itself.

torchvision and timm load it for two things: RoI align asks it whether a device can be compiled for,
and a few methods say that they must not be compiled. Both can wait until they are called, and most
jobs never do. It saves a small job 2 of its 5 CPU seconds.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any
from unittest.mock import patch

COMPILER = "torch._dynamo"
UTILITIES = "torch._dynamo.utils"


@contextmanager
def late_compiler() -> Iterator[None]:
    """Within it, `import timm` leaves torch's compiler to be imported when it is first used."""
    import torch  # which not every job imports that could come by here

    if UTILITIES in sys.modules:
        yield
        return
    sys.modules[UTILITIES] = _Promise(UTILITIES)
    retreat = _Retreat()
    sys.meta_path.insert(0, retreat)
    try:
        # torch has the same decorator twice: one asks the compiler at once, one when called.
        with patch.object(torch.compiler, "disable", torch._compile._disable_dynamo):
            yield
    finally:
        sys.meta_path.remove(retreat)
        _withdraw()


class _Promise(ModuleType):
    """A module whose functions import it when they are called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def function(*args: Any, **options: Any) -> Any:
            return getattr(importlib.import_module(self.__name__), name)(*args, **options)

        return function


class _Retreat(MetaPathFinder):
    """Withdraws the promise where something does import the compiler, which needs the module."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == COMPILER:
            _withdraw()


def _withdraw() -> None:
    if isinstance(sys.modules.get(UTILITIES), _Promise):
        del sys.modules[UTILITIES]
