"""Kernels for GPUs, in Triton; the same functions as ``cpu``.

Compiled on a device at their first use. Nothing waits for the host, no shape depends on
a value, and equal runs are equal to the bit.
"""

import torch

from .matching import match_boxes
from .pooling import roi_pool, roi_pool_backward
from .suppression import nms

__all__ = ["POOLED_DTYPES", "match_boxes", "nms", "roi_pool", "roi_pool_backward"]

POOLED_DTYPES = frozenset({torch.float32, torch.bfloat16, torch.float16})
"""Types of features that `roi_pool` takes."""
