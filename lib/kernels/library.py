"""Select the kernels: find them once, check them once, and fall back if a check fails.

A kernel that computes wrong values does not crash; it costs mAP (tf-faster-rcnn's
suppression built for another GPU: 49.6 instead of 62). So each kernel is compared with
a readable reference before its first use, and replaced by the fallback if they differ.
"""

import functools
import logging
import os
from types import ModuleType

logger = logging.getLogger(__name__)

DISABLE = "FRCNN_NO_KERNELS"
"""Environment variable; any value but 0 turns the kernels off."""


@functools.cache
def kernels_for(name: str, device_type: str) -> ModuleType | None:
    """Return the module with kernel ``name``, if it is available and correct.

    Args:
        name: ``nms``, ``soft_nms``, ``match_boxes``, ``roi_pool``, ``draw_polygons`` or
            ``paste_masks``.
        device_type: ``cpu``, ``cuda`` or another.

    Returns:
        The module, or None to use torchvision's or PyTorch's operators; the log gives
        the reason, once.
    """
    module = _module(device_type)
    if module is None or not hasattr(module, name):
        return None
    from . import self_check

    fault = self_check.fault_of(name, module, device_type)
    if fault is not None:
        logger.error(
            "the %s kernel %s gives WRONG RESULTS on this machine (%s) and is not "
            "used; slower operators are used as a fallback. Reinstall the package, "
            "and please report this",
            device_type,
            name,
            fault,
        )
        return None
    return module


@functools.cache
def _module(device_type: str) -> ModuleType | None:
    """Return all kernels for a kind of device; None if there are none."""
    if device_type not in ("cpu", "cuda"):
        return None
    if os.environ.get(DISABLE, "0") not in ("", "0"):
        logger.warning("%s is set: torchvision's operators are used", DISABLE)
        return None
    if device_type == "cuda":
        return _gpu_kernels()
    try:
        from . import cpu
    except ImportError as error:
        logger.warning(
            "found no compiled kernels (%s): torchvision's operators are used, which "
            "are slower. With a C compiler, reinstalling the package builds kernels",
            error,
        )
        return None
    return cpu


def _gpu_kernels() -> ModuleType | None:
    try:
        from . import gpu
    except ImportError as error:
        logger.warning(
            "found no Triton (%s): torchvision's operators are used on the GPU, which "
            "make the host wait",
            error,
        )
        return None
    return gpu
