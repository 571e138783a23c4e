"""Batch normalisation with statistics over the batches of all processes."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from ..utils.distributed import collectives
from .layers import Norm, NormAct


class SyncNorm(Norm):
    """Batch normalisation whose statistics cover the batches of all processes.

    Like `nn.SyncBatchNorm`, but for any device, and for batches of different sizes.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``, in the dtype of ``x``."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None
        values = x.float()
        number = values.new_full((1,), values.numel() / values.shape[1])
        total = _sum_of_all(torch.cat((values.sum((0, 2, 3)), number)))
        mean, number = total[:-1] / total[-1], total[-1].detach()
        # Centred on the mean: the difference of two large sums would lose all digits.
        centred = values - mean[:, None, None]
        variance = _sum_of_all(centred.square().sum((0, 2, 3))) / number
        with torch.no_grad():
            assert self.num_batches_tracked is not None and self.momentum is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            unbiased = variance * (number / (number - 1).clamp(min=1))
            self.running_var.lerp_(unbiased, self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normalised = centred * scale[:, None, None] + self.bias[:, None, None]
        return normalised.to(x.dtype)


class SyncNormAct(NormAct, SyncNorm):
    """A `SyncNorm` with an activation."""


def synchronise_norms(model: nn.Module) -> int:
    """Replace every trained norm by a `SyncNorm` with the same state.

    Returns:
        The number of norms replaced.
    """
    norms = [m for m in model.modules() if isinstance(m, Norm) and not m.frozen]
    for norm in norms:
        norm.__class__ = SyncNormAct if isinstance(norm, NormAct) else SyncNorm
    return len(norms)


class _SumOfAll(torch.autograd.Function):
    """Sum over the processes; the gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return collectives.all_sum(values.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return collectives.all_sum(gradients[0].clone())


def _sum_of_all(values: Tensor) -> Tensor:
    return cast(Tensor, _SumOfAll.apply(values))
