"""Composites: images put together from two others (paper B)."""

from synthgap.composites.cutmix import PATTERNS, choose_partner, choose_pattern, cutmix

__all__ = ["PATTERNS", "choose_partner", "choose_pattern", "cutmix"]
