"""Non-maximum suppression: the public functions over the kernels."""

from .nms import Suppression, nms
from .soft_nms import GaussianDecay, LinearDecay, SoftlyKept, soft_nms

__all__ = [
    "GaussianDecay",
    "LinearDecay",
    "SoftlyKept",
    "Suppression",
    "nms",
    "soft_nms",
]
