"""Non-maximum suppression: the public functions over the kernels."""

from .nms import Suppression, nms
from .soft_nms import SoftlyKept, soft_nms

__all__ = ["SoftlyKept", "Suppression", "nms", "soft_nms"]
