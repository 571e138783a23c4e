"""Suppression of overlapping boxes: the entry points, kernels behind them."""

from .nms import nms
from .soft_nms import SoftlyKept, soft_nms

__all__ = ["SoftlyKept", "nms", "soft_nms"]
