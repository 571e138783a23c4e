"""Random samples of fixed size, without reading a value back from the device."""

import torch
from torch import Tensor


def random_order(
    candidates: Tensor, count: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Pick the first ``count`` candidates of each row in a random order.

    Args:
        candidates: ``(N, A)`` bool.
        count: slots to return; at most A.
        generator: random number generator on the device of ``candidates``; if None,
            PyTorch's default.

    Returns:
        Indices ``(N, count)`` into the rows, candidates first, and ``(N, count)`` bool,
        True where a slot holds a candidate.
    """
    keys = torch.rand(candidates.shape, device=candidates.device, generator=generator)
    keys = keys.masked_fill(~candidates, -1.0)
    top, indices = keys.topk(count, dim=1)
    return indices, top >= 0
