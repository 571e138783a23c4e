"""Running means and variances of trained norms, independent of the processes."""

import torch
from torch import Tensor, nn

from ..datasets.loading.training_stream import Passes
from ..nets.layers import Norm
from ..utils.distributed import collectives


def trained_norms(model: nn.Module) -> dict[str, Norm]:
    """Return the norms that update their statistics, by path."""
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, Norm) and not module.frozen
    }


class RunningStatistics:
    """Update the statistics of norms as if one process had made all passes in a row.

    Each pass updates the running statistics ``r`` of a norm by its own statistics
    ``s``: ``r <- (1 - m) r + m s``. Each process makes some of the passes
    ``0 ... P-1``, all from the same ``r``. The rule is linear, so the contribution of
    the passes ``a ... b-1`` of one process, ``d = r' - (1 - m)**(b - a) r``, counts as
    ``(1 - m)**(P - b) d`` in the end. The sum over the processes equals the result of
    one process, up to rounding.

    Args:
        synchronised: whether norms are synchronised in each pass, and agree already.
    """

    def __init__(self, model: nn.Module, passes: Passes, *, synchronised: bool) -> None:
        self.passes = passes
        self.synchronised = synchronised
        norms = list(trained_norms(model).values())
        self._buffers = [b for norm in norms for b in norm.buffers()]
        self._momentum = norms[0].momentum if norms else None
        self._before: list[Tensor] = []

    def begin(self) -> None:
        """Copy the statistics before an update."""
        self._before = [buffer.clone() for buffer in self._buffers]

    def undo(self) -> None:
        """Restore the copy, before the passes are repeated."""
        for buffer, before in zip(self._buffers, self._before, strict=True):
            buffer.copy_(before)

    @torch.no_grad()
    def share(self) -> None:
        """Add the passes of the other processes."""
        if not self._buffers or self.synchronised or not collectives.is_distributed():
            return
        assert self._momentum is not None
        keep, mine = 1 - self._momentum, self.passes.mine
        own, later = len(mine), self.passes.total - mine.stop
        # Counters of batches follow the same rule, with 1 in place of 1 - m.
        factors = [
            (keep if buffer.is_floating_point() else 1.0) for buffer in self._buffers
        ]
        parts = [
            (buffer.float() - factor**own * before.float()).flatten() * factor**later
            for buffer, before, factor in zip(
                self._buffers, self._before, factors, strict=True
            )
        ]
        sums = collectives.all_sum(torch.cat(parts))
        sizes = [part.numel() for part in parts]
        for buffer, before, factor, added in zip(
            self._buffers, self._before, factors, torch.split(sums, sizes), strict=True
        ):
            start = factor**self.passes.total * before.float()
            buffer.copy_(start + added.view_as(buffer))
