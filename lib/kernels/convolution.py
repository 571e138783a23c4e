"""Convolution, computed in another way where PyTorch's own is slow.

PyTorch computes convolutions on CPUs with oneDNN, some of whose bfloat16 kernels take
several times as long as the same sums computed otherwise. Letters: N images or regions,
C channels, H x W cells.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..utils.torch_versions import exporting
from . import small_maps
from .depthwise import weight_gradient as depthwise_weights
from .operator import operator

Activation = Literal["none", "relu", "relu6", "hardswish"]

_SMALL = 9  # cells of an output map: most weights of a 3x3 kernel lie beyond its border
_REGION = 64  # cells of an output map up to which products give weight gradients
_FUSED: dict[str, tuple[str, list[float]]] = {
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
}
"""Activations whose gradient follows from their output, by oneDNN's names: it applies
them to the sums before it stores these."""
_IN_PLACE: dict[str, Callable[..., Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
}
FUSED = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
"""oneDNN's convolution with such an activation; None in a PyTorch without oneDNN."""


def convolve(
    x: Tensor,
    conv: nn.Conv2d,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Activation = "none",
    sizes: Tensor | None = None,
) -> Tensor:
    """Convolve like `conv`, with the given weight and bias, and activate.

    Args:
        x: ``(N, C, H, W)``.
        conv: gives stride, padding, dilation and groups.
        weight: weight in the shape of `conv`'s.
        bias: ``(C',)``, or None.
        activation: applied to the output.
        sizes: ``(N, 2)`` true sizes of the output, which is set to zero beyond them;
            only with an activation. None if nothing is padded.

    Returns:
        ``(N, C', H', W')``, safe to change in place.
    """
    slow = x.is_cpu and x.dtype == torch.bfloat16 and not exporting()
    learns = weight.requires_grad and torch.is_grad_enabled()
    products = small = False
    if slow and _is_plain(conv):
        stride, pointwise = conv.stride[0], conv.kernel_size == (1, 1)
        cells = -(-x.shape[2] // stride) * -(-x.shape[3] // stride)
        small = not pointwise and cells <= _SMALL
        products = learns and (stride == 1 if pointwise else cells <= _REGION)
    depthwise = (
        is_depthwise(conv)
        and torch.is_grad_enabled()
        and (conv.stride != (1, 1) or (learns and _by_parts(weight, _how(conv))))
    )
    fused = activation in _FUSED
    if not slow or not (small or products or depthwise or fused):
        return _plainly(x, conv, weight, bias, activation, sizes)
    within: tuple[Activation, Tensor | None]
    within = (activation, sizes) if fused else ("none", None)
    arguments = (x, weight, bias, _how(conv), *within)
    out = own_convolution(*arguments, products=products, small=small)
    return out if fused else _finish(out, activation, sizes)


def _plainly(
    x: Tensor,
    conv: nn.Conv2d,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Activation = "none",
    sizes: Tensor | None = None,
) -> Tensor:
    return _finish(F.conv2d(x, weight, bias, *_how(conv)), activation, sizes)


def _finish(out: Tensor, activation: Activation, sizes: Tensor | None) -> Tensor:
    if sizes is not None:
        out = out * true_cells(sizes, *out.shape[2:]).to(out.dtype)
    return activate(out, activation)


def _how(conv: nn.Conv2d) -> tuple[Any, ...]:
    """Return stride, padding, dilation and groups."""
    return conv.stride, conv.padding, conv.dilation, conv.groups


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Apply an activation in place."""
    return x if activation == "none" else _IN_PLACE[activation](x, inplace=True)


def true_cells(sizes: Tensor, height: int, width: int) -> Tensor:
    """Return ``(N, 1, H, W)`` bool: cells of a map within each image's true size."""
    # Few operations of free sizes, which take most of the time of an export.
    heights, widths = sizes[:, :, None, None, None].unbind(1)  # (N, 1, 1, 1)
    rows = torch.arange(height, device=sizes.device).unsqueeze(1) < heights
    return rows & (torch.arange(width, device=sizes.device) < widths)


def clear_beyond(maps: Tensor, sizes: Tensor) -> None:
    """Set ``(N, C, H, W)`` to zero beyond each image's true size, in place.

    Args:
        maps: modified; not a leaf that needs a gradient.
        sizes: ``(N, 2)`` true height and width.
    """
    traced = torch.compiler.is_compiling() or exporting()
    if maps.is_cpu and not maps.requires_grad and not traced:
        _clear_cells(maps, sizes)
    else:
        maps *= true_cells(sizes, *maps.shape[2:]).to(maps.dtype)


@operator("faster_rcnn::clear_beyond", "(Tensor(a!) maps, Tensor sizes) -> ()")
def _clear_cells(maps: Tensor, sizes: Tensor) -> None:
    """Write only the cells beyond; on a GPU, to read sizes would wait for it."""
    for cells, (height, width) in zip(maps, sizes.tolist(), strict=True):
        cells[:, height:] = 0
        cells[:, :, width:] = 0


@_clear_cells.register_fake
def _clear_cells_fake(maps: Tensor, sizes: Tensor) -> None:
    pass


def is_depthwise(module: nn.Module) -> bool:
    """Return whether a module is a depthwise convolution, which has no weight decay."""
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels


def _is_plain(conv: nn.Conv2d) -> bool:
    """Return whether a convolution is 1x1 or 3x3, padded by half its kernel."""
    plain = conv.groups == 1 and conv.dilation == (1, 1)
    return plain and conv.stride[0] == conv.stride[1] and conv.kernel_size[0] in (1, 3)


def own_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    how: tuple[Any, ...],
    activation: Activation = "none",
    sizes: Tensor | None = None,
    *,
    products: bool = False,
    small: bool = False,
) -> Tensor:
    """Convolve and activate in one operation with a gradient of its own.

    Args:
        x: ``(N, C, H, W)``.
        weight: ``(C', C, k, k)``, of any dtype, which its gradient has too.
        bias: ``(C',)``, or None.
        how: stride, padding, dilation and groups.
        activation: see `convolve`, like ``sizes``; one that oneDNN fuses.
        sizes: see `convolve`.
        products: whether products compute the gradient of the weights, for kernels of
            1x1 and 3x3 padded by half.
        small: whether products compute all, for the same.

    Returns:
        ``(N, C', H', W')``.
    """
    out = cast(
        Tensor,
        _Convolution.apply(x, weight, bias, sizes, how, activation, products, small),
    )
    # The view is made outside, since autograd forbids changing one made inside.
    return _as_map(out, x, how[0][0]) if small else out


def _as_map(rows: Tensor, x: Tensor, stride: int) -> Tensor:
    """View ``(N * H' * W', C')``, computed from ``x``, as ``(N, C', H', W')``."""
    height, width = (-(-side // stride) for side in x.shape[2:])
    return rows.view(len(x), height, width, -1).permute(0, 3, 1, 2)


class _Convolution(torch.autograd.Function):
    """Autograd function of `own_convolution`; if ``small``, of ``(N * H' * W', C')``.

    1. oneDNN activates the sums before it stores them, and the gradient follows from
       the output, with zeros where that is zero: no pass of its own over the map for
       the activation, and none for the cells that are set to zero.
    2. Products give the gradient of the weights of 1x1 convolutions in 0.4 to 0.9 of
       the convolution's own time, and of 3x3 ones on regions of 7x7 in 0.9. Computing
       all by products takes 0.6 of the time on maps of 2x2.
    3. The backward pass of a strided depthwise convolution takes 3 to 20 times as long
       as that of stride 1, whose outputs at every other cell are the same.
    4. The gradient of depthwise weights of 5x5 takes 0.1 to 0.2 of the time by parts.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        sizes: Tensor | None,
        how: tuple[Any, ...],
        activation: Activation,
        products: bool,
        small: bool,
    ) -> Tensor:
        ctx.dtype = weight.dtype
        weight = weight.to(x.dtype)
        bias = None if bias is None else bias.to(x.dtype)
        if small:
            out = small_maps.output(x, weight, bias, how[0][0])
            out = activate(out, activation)
        else:
            out = _activated(x, weight, bias, how, activation)
        if sizes is not None:
            clear_beyond(_as_map(out, x, how[0][0]) if small else out, sizes)
        ctx.save_for_backward(x, weight, None if activation == "none" else out)
        ctx.how, ctx.activation = how, activation
        ctx.products, ctx.small = products, small
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, out = ctx.saved_tensors
        stride = ctx.how[0]
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        grad = _before_activation(gradients[0], out, ctx.activation)
        if ctx.small:
            grad = _as_map(grad.contiguous(), x, stride[0])
        found: list[Tensor | None] = [None, None, None]
        if of_weight and (ctx.products or ctx.small):
            kernel, of_weight = weight.shape[2], False
            found[1] = small_maps.weight_gradient(
                x, grad, kernel, stride[0], dtype=ctx.dtype
            )
        if of_x and ctx.small:
            of_x = False
            found[0] = small_maps.input_gradient(grad, weight, x.shape, stride[0])
        if of_bias:
            found[2] = grad.sum((0, 2, 3)).to(ctx.dtype)
        if of_x or of_weight:
            theirs = _gradients(grad, x, weight, ctx.how, (of_x, of_weight))
            found[0] = theirs[0] if of_x else found[0]
            found[1] = theirs[1].to(ctx.dtype) if of_weight else found[1]
        return *found, None, None, None, None, None


def _activated(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    how: tuple[Any, ...],
    activation: Activation,
) -> Tensor:
    """Convolve and activate, in one pass if oneDNN supports that."""
    fused = activation != "none" and x.is_cpu and x.dtype == torch.bfloat16
    if fused and not torch.compiler.is_compiling() and _has_fused():
        stride, padding, dilation, groups = how
        name, numbers = _FUSED[activation]
        assert FUSED is not None
        arguments = (x, weight, bias, padding, stride, dilation, groups)
        return cast(Tensor, FUSED.default(*arguments, name, numbers, ""))
    return activate(F.conv2d(x, weight, bias, *how), activation)


@functools.cache
def _has_fused() -> bool:
    """Return whether this PyTorch and processor have oneDNN's bfloat16 operators."""
    probe = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return FUSED is not None and probe is not None and bool(probe())


def _before_activation(grad: Tensor, out: Tensor | None, kind: Activation) -> Tensor:
    """Compute the gradient of the sums from that of the activated ones, ``out``."""
    if grad.dim() == 4:
        grad = grad.contiguous(memory_format=torch.channels_last)
    if kind == "relu":
        grad = torch.ops.aten.threshold_backward(grad, out, 0)
    elif kind == "relu6":
        grad = torch.ops.aten.hardtanh_backward(grad, out, 0.0, 6.0)
    return grad


def _gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    how: tuple[Any, ...],
    wanted: tuple[bool, bool],
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of input and weight by convolutions; None if not wanted."""
    stride, padding, dilation, groups = how
    depthwise = groups == x.shape[1] > 1
    of_weight = None
    if wanted[1] and depthwise and _by_parts(weight, how):
        wanted = wanted[0], False
        of_weight = depthwise_weights(x, grad, weight.shape[2], stride[0], padding[0])
    if depthwise and stride != (1, 1):
        height, width = (
            x.shape[2 + i] + 2 * padding[i] - dilation[i] * (weight.shape[2 + i] - 1)
            for i in range(2)
        )
        dense = grad.new_zeros(len(x), height, width, grad.shape[1])
        dense = dense.permute(0, 3, 1, 2)
        dense[:, :, :: stride[0], :: stride[1]] = grad
        grad, stride = dense, (1, 1)
    shapes = (stride, padding, dilation, False, (0, 0), groups)
    of_x, theirs, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, *shapes, (*wanted, False)
    )
    return of_x, theirs if of_weight is None else of_weight


def _by_parts(weight: Tensor, how: tuple[Any, ...]) -> bool:
    """Return whether parts of a depthwise kernel give its gradient in less time."""
    stride, padding, dilation, groups = how
    square = all(a == b for a, b in (weight.shape[2:], stride, padding))
    return (
        square and weight.shape[2] > 3 and dilation == (1, 1) and groups == len(weight)
    )
