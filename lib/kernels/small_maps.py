"""Convolutions of small maps, as matrix products without the weights beyond the border.

On a map of 2x2 each cell meets four of the nine weights of a 3x3 kernel, so a product
over the part of the kernel that lies on the map does 0.44 of the work. Padding is half
the kernel. Letters: N regions, C channels, H x W cells, k side of the kernel.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_ALL = slice(None)


class _Reach(NamedTuple):
    """What an output cell reads along a side: part of the kernel, and of the input."""

    weights: slice
    inputs: slice


def _reaches(size: int, kernel: int, stride: int) -> list[_Reach]:
    """Return the reach of each output cell along a side of ``size`` cells."""
    found = []
    for first in range(-(kernel // 2), size - kernel // 2, stride):
        low, high = max(first, 0), min(first + kernel, size)
        found.append(_Reach(slice(low - first, high - first), slice(low, high)))
    return found


def _cells(
    sides: Sequence[int], kernel: int, stride: int
) -> Iterator[tuple[tuple[slice | int, ...], ...]]:
    """Yield the index of each output cell, of its weights, and of its inputs.

    They index ``(N, H', W', C')``, ``(C', k, k, C)`` and ``(N, H, W, C)``.
    """
    rows, columns = (_reaches(side, kernel, stride) for side in sides)
    for (i, row), (j, column) in product(enumerate(rows), enumerate(columns)):
        weights = (_ALL, row.weights, column.weights)
        yield (_ALL, i, j), weights, (_ALL, row.inputs, column.inputs)


def output(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Convolve ``(N, C, H, W)`` with ``(C', C, k, k)``: ``(N * H' * W', C')``."""
    (count, _, *sides), kernel = x.shape, weight.shape[2]
    x, weight = x.permute(0, 2, 3, 1), weight.permute(0, 2, 3, 1)
    shape = (count, *(-(-side // stride) for side in sides), len(weight))
    rows = x.new_empty(math.prod(shape[:3]), len(weight))
    out = rows.view(shape)
    for cell, part, inputs in _cells(sides, kernel, stride):
        out[cell] = F.linear(x[inputs].flatten(1), weight[part].flatten(1), bias)
    return rows


def input_gradient(
    grad: Tensor, weight: Tensor, shape: tuple[int, ...], stride: int
) -> Tensor:
    """Compute the gradient of an input ``(N, C, H, W)`` from ``(N, C', H', W')``."""
    (count, channels, *sides), kernel = shape, weight.shape[2]
    grad, weight = grad.permute(0, 2, 3, 1), weight.permute(0, 2, 3, 1)
    x = grad.new_zeros(count, *sides, channels)
    for cell, part, inputs in _cells(sides, kernel, stride):
        x[inputs] += (grad[cell] @ weight[part].flatten(1)).view(x[inputs].shape)
    return x.permute(0, 3, 1, 2)


def weight_gradient(
    x: Tensor, grad: Tensor, kernel: int, stride: int, *, dtype: torch.dtype
) -> Tensor:
    """Compute the gradient of weights ``(C', C, k, k)``, one product for each of k * k.

    The sums over all regions are float32, whatever the dtype of ``(N, C, H, W)`` and
    ``(N, C', H', W')``; ``dtype`` is that of the result.
    """
    x, grad = x.permute(0, 2, 3, 1), grad.permute(0, 2, 3, 1)
    if kernel == stride == 1:
        of_weight = grad.flatten(0, 2).T @ x.flatten(0, 2)
        return of_weight.to(dtype)[:, :, None, None]
    rows, columns = (list(_meetings(side, kernel, stride)) for side in x.shape[1:3])
    shape = (grad.shape[3], kernel, kernel, x.shape[3])
    of_weight = x.new_empty(shape, dtype=dtype)
    for (i, row), (j, column) in product(enumerate(rows), enumerate(columns)):
        outputs = grad[:, row.outputs, column.outputs].flatten(0, 2)
        inputs = x[:, row.inputs, column.inputs].flatten(0, 2)
        of_weight[:, i, j] = outputs.T @ inputs
    return of_weight.permute(0, 3, 1, 2)


class _Meeting(NamedTuple):
    """The outputs along a side that a weight reaches, and the inputs it meets there."""

    outputs: slice
    inputs: slice


def _meetings(size: int, kernel: int, stride: int) -> Iterator[_Meeting]:
    """Yield the meetings of each of the weights along a side of the kernel."""
    cells = -(-size // stride)
    for weight in range(kernel):
        # Output cell k meets the input at k * stride + shift.
        shift = weight - kernel // 2
        first = max(-(shift // stride), 0)
        end = max(min((size - 1 - shift) // stride + 1, cells), first)
        inputs = slice(first * stride + shift, end * stride + shift, stride)
        yield _Meeting(slice(first, end), inputs)
