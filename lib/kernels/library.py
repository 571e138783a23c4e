"""Kernels of our own: found once, checked once, left out if anything is wrong.

A kernel that computes something else than it should does not crash, it costs mAP
(tf-faster-rcnn's suppression built for another GPU: 49.6 for 62). So each kernel is
compared with a readable reference before its first use, and replaced if they differ.
"""

import functools
import logging
import os
from types import ModuleType

logger = logging.getLogger(__name__)

DISABLE = "FRCNN_NO_KERNELS"
"""Environment variable; any value but 0 makes torchvision's operators serve."""


@functools.cache
def kernels_for(name: str, device_type: str) -> ModuleType | None:
    """The module with kernel ``name``, if it is there and computes rightly.

    Args:
        name: ``nms``, ``soft_nms``, ``match_boxes`` or ``roi_pool``.
        device_type: ``cpu``, ``cuda`` or another.

    Returns:
        None where torchvision's or PyTorch's operators are to serve; the log says why,
        once.
    """
    module = _module(device_type)
    if module is None or not hasattr(module, name):
        return None
    from . import self_check

    fault = self_check.fault_of(name, module, device_type)
    if fault is not None:
        logger.error(
            "the %s kernel %s gives WRONG RESULTS on this machine (%s) and is not "
            "used; slower operators serve. Install the package again, "
            "and please report this",
            device_type,
            name,
            fault,
        )
        return None
    return module


@functools.cache
def _module(device_type: str) -> ModuleType | None:
    """All kernels of a kind of device."""
    if device_type not in ("cpu", "cuda"):
        return None
    if os.environ.get(DISABLE, "0") not in ("", "0"):
        logger.warning("%s is set: torchvision's operators serve", DISABLE)
        return None
    if device_type == "cuda":
        return _gpu_kernels()
    try:
        from . import cpu
    except ImportError as error:
        logger.warning(
            "the compiled kernels are not there (%s); torchvision's operators serve, "
            "which are slower. With a C compiler, an installation builds them",
            error,
        )
        return None
    return cpu


def _gpu_kernels() -> ModuleType | None:
    try:
        from . import gpu
    except ImportError as error:
        logger.warning(
            "Triton is not there (%s); torchvision's operators serve on the GPU, which "
            "wait for the host",
            error,
        )
        return None
    return gpu
