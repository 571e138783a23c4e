"""Non-maximum suppression: the public functions over the kernels."""

from .nms import nms
from .soft_nms import SoftlyKept, soft_nms

__all__ = ["SoftlyKept", "nms", "soft_nms"]
