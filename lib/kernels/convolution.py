"""Convolution, computed in another way where PyTorch's own is slow.

PyTorch computes convolutions on CPUs with oneDNN, some of whose bfloat16 kernels take
several times as long as the same sums computed otherwise. Letters: N images or regions,
C channels, H x W cells.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from ..utils.torch_versions import exporting
from . import small_maps

_SMALL = 9  # cells of an output map: most weights of a 3x3 kernel lie beyond its border
_REGION = 64  # cells of an output map up to which products give weight gradients


def convolve(
    x: Tensor, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Convolve like `conv`, with the given weight and bias.

    Args:
        x: ``(N, C, H, W)``.
        conv: gives stride, padding, dilation and groups.
        weight: weight in the shape of `conv`'s.
        bias: ``(C',)``, or None.

    Returns:
        ``(N, C', H', W')``.
    """
    slow = x.is_cpu and x.dtype == torch.bfloat16 and not exporting()
    if not slow or conv.stride[0] != conv.stride[1]:
        return _plainly(x, conv, weight, bias)
    stride, learns = conv.stride[0], weight.requires_grad and torch.is_grad_enabled()
    if is_depthwise(conv) and stride > 1 and torch.is_grad_enabled():
        # The backward pass of a strided depthwise convolution takes 3 to 20 times as
        # long as that of stride 1, whose outputs at every other cell are the same.
        padding = cast(tuple[int, int], conv.padding)
        x = F.conv2d(x, weight, bias, 1, padding, conv.dilation, conv.groups)
        return x[:, :, ::stride, ::stride]
    if conv.groups > 1 or conv.dilation != (1, 1) or conv.kernel_size[0] not in (1, 3):
        return _plainly(x, conv, weight, bias)
    pointwise = conv.kernel_size == (1, 1)
    cells = -(-x.shape[2] // stride) * -(-x.shape[3] // stride)
    small = not pointwise and cells <= _SMALL
    if small or (learns and (stride == 1 if pointwise else cells <= _REGION)):
        weight = weight.to(x.dtype)
        bias = None if bias is None else bias.to(x.dtype)
        return by_products(x, weight, bias, stride, small=small)
    return _plainly(x, conv, weight, bias)


def _plainly(x: Tensor, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> Tensor:
    padding = cast(tuple[int, int], conv.padding)
    return F.conv2d(x, weight, bias, conv.stride, padding, conv.dilation, conv.groups)


def is_depthwise(module: nn.Module) -> bool:
    """Return whether a module is a depthwise convolution, which has no weight decay."""
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels


def by_products(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, *, small: bool
) -> Tensor:
    """Convolve with matrix products; padding is half the kernel.

    Args:
        x: ``(N, C, H, W)``.
        weight: ``(C', C, k, k)`` with k of 1 or 3.
        bias: ``(C',)``, or None.
        stride: of rows and columns.
        small: if True, compute the output by a product too, not only the gradients.

    Returns:
        ``(N, C', H', W')``.
    """
    out = cast(Tensor, _Products.apply(x, weight, bias, stride, small))
    if not small:
        return out
    # The view is made outside, since autograd forbids changing one made inside.
    height, width = (-(-side // stride) for side in x.shape[2:])
    return out.view(x.shape[0], height, width, -1).permute(0, 3, 1, 2)


class _Products(torch.autograd.Function):
    """Autograd function of `by_products`; if ``small``, it gives ``(N * H' * W', C')``.

    The gradient of the weights is always computed by products. For 1x1 convolutions
    that takes 0.4 to 0.9 of the time of the convolution's own, for 3x3 ones on regions
    of 7x7 some 0.9. If ``small``, the output and the gradient of the input are products
    too: 0.6 of the time on maps of 2x2, and the gradient of the weights takes 0.3.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        small: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.small = stride, small
        if not small:
            return F.conv2d(x, weight, bias, stride, weight.shape[2] // 2)
        return small_maps.output(x, weight, bias, stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, kernel = ctx.stride, weight.shape[2]
        grad = gradients[0]
        if ctx.small:
            height, width = (-(-side // stride) for side in x.shape[2:])
            grad = grad.reshape(len(x), height, width, -1).permute(0, 3, 1, 2)
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0] and ctx.small:
            of_x = small_maps.input_gradient(grad, weight, x.shape, stride)
        elif ctx.needs_input_grad[0]:
            of_x = conv2d_input(  # type: ignore[no-untyped-call]
                x.shape, weight, grad, stride, kernel // 2
            )
        if ctx.needs_input_grad[1]:
            of_weight = small_maps.weight_gradient(x, grad, kernel, stride)
        if ctx.needs_input_grad[2]:
            of_bias = grad.sum((0, 2, 3))
        return of_x, of_weight, of_bias, None, None
