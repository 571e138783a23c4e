"""Shapes, dtypes and memory formats of the inputs and outputs of RoI pooling."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

MODES = {"align": 0, "crop": 1, "crop_stn": 2, "pool": 3}
MAXIMA = MODES["pool"]


class Options(NamedTuple):
    """Pooling options as in `roi_pool`, with ``mode`` as a number."""

    scales: Sequence[float]
    size: int
    mode: int
    sampling_ratio: int
    aligned: bool
    max_pool: bool
    canonical_size: float
    canonical_level: int


def format_of(features: Sequence[Tensor]) -> torch.memory_format:
    """Return contiguous if all levels are contiguous, else channels_last."""
    contiguous = all(f.is_contiguous() for f in features)
    return torch.contiguous_format if contiguous else torch.channels_last


def outputs_like(
    features: Sequence[Tensor], rois: Tensor, options: Options
) -> tuple[Tensor, Tensor]:
    """Allocate the pooled regions, and the positions of maxima for the backward pass.

    The regions are in the features' memory format, the positions always channels_last.
    """
    count, channels = rois.shape[0] * rois.shape[1], features[0].shape[1]
    size = options.size

    def empty(side: int, dtype: torch.dtype, fmt: torch.memory_format) -> Tensor:
        shape = (count, channels, side, side)
        return torch.empty(shape, dtype=dtype, device=rois.device, memory_format=fmt)

    pooled = empty(size, features[0].dtype, format_of(features))
    if options.mode == MAXIMA:
        return pooled, empty(size, torch.int32, torch.channels_last)
    side = size if options.max_pool else 0
    return pooled, empty(side, torch.uint8, torch.channels_last)


def empty_grads(
    grad: Tensor,
    rois: Tensor,
    shapes: Sequence[int],
    channels_last: bool,
) -> list[Tensor]:
    """Allocate the features' gradients; `shapes` lists H and W of each level."""
    fmt = torch.channels_last if channels_last else torch.contiguous_format
    return [
        torch.empty(
            (rois.shape[0], grad.shape[1], height, width),
            dtype=grad.dtype,
            device=grad.device,
            memory_format=fmt,
        )
        for height, width in zip(shapes[::2], shapes[1::2], strict=True)
    ]
