"""Published files of tensors (.pt, .pth, .bin), read without running code that may be in them."""

import warnings
from pathlib import Path
from typing import Any

import torch

from synthgap.errors import UserError

_MOST_WORDS = 300


def load(path: Path) -> Any:
    """Return what a file of torch holds, on the CPU: tensors, and containers of them.

    Raises:
        UserError: it is damaged, no such file, or holds more than tensors.
    """
    with warnings.catch_warnings():
        # Torch tells of pickles of other protocols, which then fail or are read as they should.
        warnings.simplefilter("ignore")
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except MemoryError:
            raise
        except Exception as error:  # of many kinds: it reads on in what is damaged
            raise UserError(
                f"{path}: no file of weights, or a damaged one: {one_line(error)}"
            ) from error


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line and not too long."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= _MOST_WORDS else f"{said[:_MOST_WORDS]}..."
