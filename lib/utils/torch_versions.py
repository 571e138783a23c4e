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
    """Return the lesser of two sizes, of which one may be free in an export.

    Before PyTorch 2.14 ``torch.sym_min`` of two plain ints breaks the graph of
    ``torch.compile``. It can be called directly once 2.14 is the oldest version.
    """
    if isinstance(a, torch.SymInt) or isinstance(b, torch.SymInt):
        return torch.sym_min(a, b)
    return min(a, b)


def forget_casts() -> None:
    """Drop the casts of weights that autocast made in a pass without gradients.

    PyTorch 2.8 and 2.9 serve them to a later pass with gradients as well, which then
    gives those weights none. It can go once 2.11 is the oldest version.
    """
    if _CASTS_FORGET_GRADIENTS and not torch.compiler.is_compiling():
        torch.clear_autocast_cache()
