"""Weights that are published as a single file somewhere, and not as a model folder on a hub."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WeightFile:
    """A file to be downloaded once."""

    name: str
    """the file's name in the folder of downloads"""
    url: str
    sha256: str = ""
    """its SHA-256, or the first digits where no more is published; empty: unknown"""
