"""Greedy suppression in compiled code; ``nms/nms.py`` is the operator."""

from types import ModuleType

import torch
from torch import Tensor

from .library import threads


def nms_by_kernel(
    kernels: ModuleType,
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    groups: Tensor,
    limit: float,
    max_outputs: int,
    offset: float,
) -> tuple[Tensor, Tensor]:
    """Keep the best boxes of each image, dropping those that overlap a better one.

    Args:
        kernels: the compiled module.
        boxes: ``(N, R, 4)`` on the CPU.
        scores: ``(N, R)``.
        valid: ``(N, R)`` bool.
        groups: ``(N, R)`` int64 below 2**31.
        limit: largest IoU that two kept boxes may have, a float32.
        max_outputs: K.
        offset: added to widths and heights.

    Returns:
        Indices ``(N, K)`` int64, best first, 0 where a slot is empty, and ``(N, K)``
        bool, true where it holds a box.
    """
    boxes, scores = boxes.float().contiguous(), scores.float().contiguous()
    valid, groups = valid.contiguous(), groups.long().contiguous()
    index = scores.new_empty((boxes.shape[0], max_outputs), dtype=torch.int64)
    kept = torch.empty_like(index, dtype=torch.bool)
    kernels.nms(
        boxes.data_ptr(),
        scores.data_ptr(),
        valid.data_ptr(),
        groups.data_ptr(),
        boxes.shape[0],
        boxes.shape[1],
        limit,
        offset,
        max_outputs,
        index.data_ptr(),
        kept.data_ptr(),
        threads(),
    )
    return index, kept


def soft_nms_by_kernel(
    kernels: ModuleType,
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    groups: Tensor,
    max_outputs: int,
    gaussian: bool,
    sigma: float,
    threshold: float,
    min_score: float,
    offset: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The fields of ``nms.soft_nms.SoftlyKept``; arguments as described there."""
    boxes, scores = boxes.float().contiguous(), scores.float().contiguous()
    valid, groups = valid.contiguous(), groups.long().contiguous()
    chosen = scores.new_empty((boxes.shape[0], max_outputs))
    index = torch.empty_like(chosen, dtype=torch.int64)
    kept = torch.empty_like(chosen, dtype=torch.bool)
    kernels.soft_nms(
        boxes.data_ptr(),
        scores.data_ptr(),
        valid.data_ptr(),
        groups.data_ptr(),
        boxes.shape[0],
        boxes.shape[1],
        gaussian,
        sigma,
        threshold,
        min_score,
        offset,
        max_outputs,
        index.data_ptr(),
        kept.data_ptr(),
        chosen.data_ptr(),
        threads(),
    )
    return index, kept, chosen
