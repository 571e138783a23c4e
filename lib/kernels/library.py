"""The compiled CPU kernels: found once, checked once, left out if anything is wrong.

A kernel that computes something else than it should does not crash, it costs mAP
(tf-faster-rcnn's suppression built for another GPU: 49.6 for 62). So each kernel is
compared with a readable reference before its first use, and replaced if they differ.
"""

import functools
import logging
import os
from types import ModuleType

import torch

logger = logging.getLogger(__name__)

DISABLE = "FRCNN_NO_KERNELS"
"""Environment variable; any value but 0 makes torchvision's operators serve."""

_INTERFACE = 2


@functools.cache
def cpu_kernel(name: str) -> ModuleType | None:
    """The compiled module, if its operator ``name`` is there and computes rightly.

    Args:
        name: ``nms``, ``soft_nms``, ``match_boxes`` or ``roi_pool``.

    Returns:
        None where torchvision's or PyTorch's operators are to serve; the log says why,
        once.
    """
    module = _compiled_module()
    if module is None:
        return None
    from . import self_check

    fault = self_check.fault_of(name, module)
    if fault is not None:
        logger.error(
            "the compiled kernel %s gives WRONG RESULTS on this machine (%s) and is "
            "not used; slower operators serve. Build it again with `pip install -e .`, "
            "and please report this",
            name,
            fault,
        )
        return None
    return module


@functools.cache
def _compiled_module() -> ModuleType | None:
    if os.environ.get(DISABLE, "0") not in ("", "0"):
        logger.warning("%s is set: torchvision's operators serve", DISABLE)
        return None
    try:
        from . import _cpu
    except ImportError as error:
        logger.warning(
            "the compiled kernels are not there (%s); torchvision's operators serve, "
            "which are slower. With a C compiler, `pip install -e .` builds them",
            error,
        )
        return None
    if getattr(_cpu, "interface", 0) != _INTERFACE:
        logger.warning(
            "the compiled kernels are of another version; torchvision's operators "
            "serve, which are slower. `pip install -e .` builds them again"
        )
        return None
    module: ModuleType = _cpu
    return module


def threads() -> int:
    """Threads that a CPU kernel may use: PyTorch's own number."""
    return torch.get_num_threads()
