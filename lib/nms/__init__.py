"""Suppression of overlapping boxes: one entry point, kernels behind it."""

from .nms import nms

__all__ = ["nms"]
