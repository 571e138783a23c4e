"""Triton kernels for GPUs, with the same functions as ``cpu``.

They are compiled on the device at their first use. Nothing waits for the host, no shape
depends on a value, and repeated runs give identical bits.
"""

import torch

from .matching import match_boxes
from .pooling import roi_pool, roi_pool_backward
from .suppression import nms

__all__ = ["POOLED_DTYPES", "match_boxes", "nms", "roi_pool", "roi_pool_backward"]

POOLED_DTYPES = frozenset({torch.float32, torch.bfloat16, torch.float16})
"""Feature dtypes that `roi_pool` supports."""
