"""Running means and variances of trained norms, whichever process made which pass."""

import torch
from torch import Tensor, nn

from ..datasets.loading.training_stream import Passes
from ..nets.layers import Norm
from ..utils.distributed import collectives


class RunningStatistics:
    """Makes an update's effect on norms' statistics that of all its passes in a row.

    A norm takes the statistics ``s`` of each pass into its running ones,
    ``r <- (1 - m) r + m s``. Of several processes each makes some of the passes ``0 ...
    P-1``, and all start from the same ``r``. As this is linear, what the passes ``a ...
    b-1`` of one have added, ``d = r' - (1 - m)**(b - a) r``, counts as
    ``(1 - m)**(P - b) d`` in the end, and the sum over the processes is what one
    process would have, but for rounding.

    Args:
        model: the detector, on its device.
        passes: of each update, and which of them are this process's.
        synchronised: whether norms see the passes of all processes at once, and so
            agree already.
    """

    def __init__(self, model: nn.Module, passes: Passes, *, synchronised: bool) -> None:
        self.passes = passes
        self.synchronised = synchronised
        norms = [m for m in model.modules() if isinstance(m, Norm) and not m.frozen]
        self._buffers = [b for norm in norms for b in norm.buffers()]
        self._momentum = norms[0].momentum if norms else None
        self._before: list[Tensor] = []

    def begin(self) -> None:
        """Note how they are before an update."""
        self._before = [buffer.clone() for buffer in self._buffers]

    def undo(self) -> None:
        """Forget the passes since, which are made once more."""
        for buffer, before in zip(self._buffers, self._before, strict=True):
            buffer.copy_(before)

    @torch.no_grad()
    def share(self) -> None:
        """Take in the passes of the other processes."""
        if not self._buffers or self.synchronised or not collectives.is_distributed():
            return
        assert self._momentum is not None
        keep, mine = 1 - self._momentum, self.passes.mine
        own, later = len(mine), self.passes.total - mine.stop
        # Counters of batches, which no one reads, follow the same rule with 1 for 1-m.
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
