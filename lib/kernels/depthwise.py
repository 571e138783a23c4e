"""The gradient of depthwise weights, by parts of 3x3 and stride 1.

oneDNN's bfloat16 pass for them is fast with such kernels alone: the same sums take 4 to
12 times as long with 5x5. Letters: N images or regions, C channels, H x W cells.
"""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

_SIDE = 3  # of the parts


def weight_gradient(
    x: Tensor, grad: Tensor, kernel: int, stride: int, padding: int
) -> Tensor:
    """Compute the gradient of depthwise weights ``(C, 1, k, k)``, in ``x``'s dtype.

    The cells that a weight meets are ``stride`` apart, as are the weights of a part.

    Args:
        x: ``(N, C, H, W)``.
        grad: gradient of the output, ``(N, C, H', W')``.
        kernel: k, the side of the kernel.
        stride: stride in both directions.
        padding: padding at all four sides.
    """
    (height, width), channels = grad.shape[2:], x.shape[1]
    starts = [
        first + shift
        for first in range(0, kernel, _SIDE * stride)
        for shift in range(min(stride, kernel - first))
    ]
    span = (_SIDE - 1) * stride + 1  # weights from the first of a part to its last
    rows, columns = ((side - 1) * stride + span for side in (height, width))
    # The last parts may have weights beyond the kernel; these meet added zeros.
    right, below = (
        max(0, max(starts) + met - padding - side)
        for met, side in ((columns, x.shape[3]), (rows, x.shape[2]))
    )
    x = F.pad(x, (padding, right, padding, below))
    weight = x.new_empty(channels, 1, _SIDE, _SIDE)
    whole = x.new_empty(channels, 1, max(starts) + span, max(starts) + span)
    for i, j in product(starts, starts):
        met = x[:, :, i : i + rows : stride, j : j + columns : stride]
        met = met.contiguous(memory_format=torch.channels_last)
        how = ((1, 1), (0, 0), (1, 1), False, (0, 0), channels)
        whole[:, :, i : i + span : stride, j : j + span : stride] = (
            torch.ops.aten.convolution_backward(
                grad, met, weight, None, *how, (False, True, False)
            )[1]
        )
    return whole[:, :, :kernel, :kernel]
