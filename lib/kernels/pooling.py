"""RoI pooling as one operator: RoIAlign, crop_and_resize, maxima.

Letters: N images, R RoIs per image, C channels, P output cells per side, L levels of a
pyramid. All functions accept channels_last and contiguous tensors without copying,
compute in float32 whatever the features' dtype, and support padded maps: values beyond
an image's true size are never read.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .library import kernels_for
from .operator import operator
from .pooling_layout import MODES, Options, empty_grads, format_of, outputs_like


def serves(features: Tensor) -> bool:
    """Return whether `roi_pool` supports these features."""
    return _serves(features.device.type, features.dtype)


def _serves(device_type: str, dtype: torch.dtype) -> bool:
    kernels = kernels_for("roi_pool", device_type)
    return kernels is not None and dtype in kernels.POOLED_DTYPES


# The same as torch.compiler.assume_constant_result, without importing the compiler:
# that takes two seconds at every start.
_serves._dynamo_marked_constant = True  # type: ignore[attr-defined]


def roi_pool(
    features: Sequence[Tensor],
    rois: Tensor,
    sizes: Sequence[Tensor] | None,
    *,
    scales: Sequence[float],
    size: int,
    mode: str,
    sampling_ratio: int = 0,
    aligned: bool = False,
    max_pool: bool = False,
    canonical_size: float = 224.0,
    canonical_level: int = 0,
) -> Tensor:
    """Pool every RoI from its level; see ``layer_utils.roi_pooling``.

    Args:
        features: L maps ``(N, C, H, W)``, finest first.
        rois: ``(N, R, 4)`` in pixels of the network input.
        sizes: per level ``(N, 2)`` int64 true rows and columns; None if unpadded.
        scales: cells per input pixel of each level.
        size: P.
        mode: ``align``, ``pool``, ``crop`` or ``crop_stn``.
        sampling_ratio: RoIAlign's samples per cell and side; 0 for adaptive.
        aligned: shift RoIAlign's samples by half a cell.
        max_pool: pool to ``2 P`` first, then take 2x2 maxima.
        canonical_size: side in pixels of a RoI that is pooled from ``canonical_level``;
            the level rises by one when the side doubles (FPN, eq. 1).
        canonical_level: index of that level, 0 for the finest.

    Returns:
        ``(N * R, C, P, P)`` in the features' dtype and memory format, differentiable in
        the features.

    Raises:
        ValueError: arguments do not match; the message names them.
    """
    samples = 2 * size if max_pool else size
    _check(features, rois, sizes, scales, size, mode, samples)
    # Two stages of maxima give the same without a kernel.
    outside = max_pool and mode == "pool"
    pooled: Tensor = _roi_pool(
        _uniform(features),
        rois.detach().float().contiguous(),
        None if sizes is None else [s.long().contiguous() for s in sizes],
        list(scales),
        2 * size if outside else size,
        MODES[mode],
        sampling_ratio,
        aligned,
        max_pool and not outside,
        canonical_size,
        canonical_level,
    )[0]
    return F.max_pool2d(pooled, 2) if outside else pooled


def _check(
    features: Sequence[Tensor],
    rois: Tensor,
    sizes: Sequence[Tensor] | None,
    scales: Sequence[float],
    size: int,
    mode: str,
    samples: int,
) -> None:
    """Check the arguments.

    Raises:
        ValueError: the message names the argument, what was expected and what was
            found.
    """
    if not features:
        raise ValueError("features: expected at least one map, found none")
    first = features[0]
    for level, f in enumerate(features):
        if f.dim() != 4 or f.shape[:2] != first.shape[:2]:
            raise ValueError(
                f"features[{level}]: expected (N, C, H, W) with N and C of the first "
                f"level, {tuple(first.shape[:2])}; found {tuple(f.shape)}"
            )
        if f.dtype != first.dtype or f.device != first.device:
            raise ValueError(
                f"features[{level}]: expected {first.dtype} on {first.device} as for "
                f"the first level; found {f.dtype} on {f.device}"
            )
    if rois.dim() != 3 or rois.shape[2] != 4 or rois.shape[0] != first.shape[0]:
        raise ValueError(
            f"rois: expected (N, R, 4) with N = {first.shape[0]}; found "
            f"{tuple(rois.shape)}"
        )
    if not rois.is_floating_point() or rois.device != first.device:
        raise ValueError(
            f"rois: expected floating point numbers on {first.device}; found "
            f"{rois.dtype} on {rois.device}"
        )
    if len(scales) != len(features) or min(scales) <= 0:
        raise ValueError(
            f"scales: expected {len(features)} positive numbers; found {list(scales)}"
        )
    if size < 1:
        raise ValueError(f"size: expected at least 1, found {size}")
    if mode not in MODES:
        raise ValueError(f"mode: expected one of {', '.join(MODES)}; found {mode!r}")
    if mode in ("crop", "crop_stn") and samples < 2:
        raise ValueError(
            f"size: expected at least 2 samples per side for {mode}, which go from "
            f"edge to edge; found {samples}"
        )
    if sizes is None:
        return
    shape = (first.shape[0], 2)
    if len(sizes) != len(features) or any(tuple(s.shape) != shape for s in sizes):
        raise ValueError(
            f"sizes: expected {len(features)} tensors {shape}; found "
            f"{[tuple(s.shape) for s in sizes]}"
        )


def _uniform(features: Sequence[Tensor]) -> list[Tensor]:
    """Return the levels in one memory format, unchanged if they agree."""
    if all(f.is_contiguous() for f in features):
        return list(features)
    return [f.contiguous(memory_format=torch.channels_last) for f in features]


def _kernels(rois: Tensor) -> ModuleType:
    kernels = kernels_for("roi_pool", rois.device.type)
    assert kernels is not None, "the operator was called for unsupported features"
    return kernels


# The fields of `Options`, one by one: an operator takes no tuple of several types.
_OPTIONS = (
    "float[] scales, SymInt size, SymInt mode, SymInt sampling_ratio, bool aligned, "
    "bool max_pool, float canonical_size, SymInt canonical_level"
)


@operator(
    "faster_rcnn::roi_pool",
    f"(Tensor[] features, Tensor rois, Tensor[]? sizes, {_OPTIONS}) "
    "-> (Tensor, Tensor)",
)
def _roi_pool(
    features: Sequence[Tensor],
    rois: Tensor,
    sizes: Sequence[Tensor] | None,
    *options: Any,
) -> tuple[Tensor, Tensor]:
    """Pool, and return the position of each maximum: cell, or which of 2x2 samples."""
    found: tuple[Tensor, Tensor] = _kernels(rois).roi_pool(
        features, rois, sizes, Options(*options)
    )
    return found


@_roi_pool.register_fake
def _roi_pool_fake(
    features: Sequence[Tensor],
    rois: Tensor,
    sizes: Sequence[Tensor] | None,
    *options: Any,
) -> tuple[Tensor, Tensor]:
    return outputs_like(features, rois, Options(*options))


@operator(
    "faster_rcnn::roi_pool_backward",
    "(Tensor grad, Tensor places, Tensor rois, Tensor[]? sizes, SymInt[] shapes, "
    f"bool channels_last, {_OPTIONS}) -> Tensor[]",
)
def _roi_pool_backward(
    grad: Tensor,
    places: Tensor,
    rois: Tensor,
    sizes: Sequence[Tensor] | None,
    shapes: Sequence[int],
    channels_last: bool,
    *options: Any,
) -> list[Tensor]:
    """Compute the features' gradients from that of the pooled regions."""
    grads: list[Tensor] = _kernels(rois).roi_pool_backward(
        grad, places, rois, sizes, shapes, channels_last, Options(*options)
    )
    return grads


@_roi_pool_backward.register_fake
def _roi_pool_backward_fake(
    grad: Tensor,
    places: Tensor,
    rois: Tensor,
    sizes: Sequence[Tensor] | None,
    shapes: Sequence[int],
    channels_last: bool,
    *_: Any,
) -> list[Tensor]:
    return empty_grads(grad, rois, shapes, channels_last)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    features, rois, sizes, *options = inputs
    _, places = output
    ctx.save_for_backward(places, rois, *(sizes or ()))
    ctx.padded = sizes is not None
    ctx.shapes = [n for f in features for n in f.shape[2:]]
    ctx.channels_last = format_of(features) == torch.channels_last
    ctx.options = options
    ctx.mark_non_differentiable(places)


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:
    places, rois, *sizes = ctx.saved_tensors
    (grad,) = _uniform([grad])
    grads = _roi_pool_backward(
        grad,
        places,
        rois,
        sizes if ctx.padded else None,
        ctx.shapes,
        ctx.channels_last,
        *ctx.options,
    )
    # One None for each input.
    no_sizes = [None] * len(sizes) if ctx.padded else None
    return grads, None, no_sizes, *(None for _ in ctx.options)


_roi_pool.register_autograd(_backward, setup_context=_save)
