"""Differences between the supported versions of PyTorch, 2.8 to the newest.

Each item names the version at which it can be removed.
"""

import torch

_CASTS_FORGET_GRADIENTS = torch.__version__ < "2.11"


def exporting() -> bool:
    """Return whether ``torch.export`` is tracing.

    Before PyTorch 2.14 ``torch.compiler.is_exporting()`` is also true inside
    ``torch.compile``, where the flag that it returns is not. Call it directly once
    2.14 is the oldest version.
    """
    return bool(torch.compiler._is_exporting_flag)


def least(a: int, b: int) -> int:
    """Return the smaller of two sizes, one of which may be dynamic in an export.

    Before PyTorch 2.14 ``torch.sym_min`` of two plain ints breaks the graph of
    ``torch.compile``. Call it directly once 2.14 is the oldest version.
    """
    if isinstance(a, torch.SymInt) or isinstance(b, torch.SymInt):
        return torch.sym_min(a, b)
    return min(a, b)


def forget_casts() -> None:
    """Drop the weight casts that autocast cached in a pass without gradients.

    PyTorch 2.8 and 2.9 reuse them in a later pass with gradients, which then gives
    those weights none. Remove this once 2.11 is the oldest version.
    """
    if _CASTS_FORGET_GRADIENTS and not torch.compiler.is_compiling():
        torch.clear_autocast_cache()
