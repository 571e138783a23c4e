"""Greedy non-maximum suppression with a fixed number of output slots.

Letters: N images, R boxes per image, K output slots.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..kernels.library import kernels_for
from ..kernels.operator import operator
from ..kernels.reference import nms_by_torchvision


def nms(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    *,
    threshold: float,
    max_outputs: int,
    groups: Tensor | None = None,
    offset: float = 0.0,
    inclusive: bool = False,
) -> tuple[Tensor, Tensor]:
    """Keep the best boxes, and drop boxes that overlap a better one.

    Args:
        boxes: ``(N, R, 4)`` float32.
        scores: ``(N, R)`` float32. Equal scores are ordered by index.
        valid: ``(N, R)`` bool; other boxes are neither kept nor suppress any.
        threshold: a box is dropped if its IoU with a kept box is above this.
        max_outputs: K.
        groups: ``(N, R)`` int64 within the range of int32; boxes suppress only boxes of
            their own group (class or pyramid level). If None, all boxes are one group.
        offset: added to widths and heights, 1 for legacy and 0 for continuous boxes.
        inclusive: drop at an IoU equal to the threshold too.

    Returns:
        Indices ``(N, K)`` int64 of the kept boxes, best first, and ``(N, K)`` bool,
        true where a slot holds a box (index 0 elsewhere).

    Raises:
        ValueError: shapes, types or devices do not match.
    """
    groups = check_arguments("nms", boxes, scores, valid, groups)
    index, kept = _nms(
        boxes, scores, valid, groups, threshold, max_outputs, offset, inclusive
    )
    return index, kept


@dataclass(frozen=True)
class Suppression:
    """The rule by which a box is dropped for a better one.

    Attributes:
        threshold: a box is dropped if its IoU with a kept box is above this.
        offset: added to widths and heights, 1 for legacy and 0 for continuous boxes.
        inclusive: drop at an IoU equal to the threshold too.
    """

    threshold: float
    offset: float = 0.0
    inclusive: bool = False

    def __call__(
        self,
        boxes: Tensor,
        scores: Tensor,
        valid: Tensor,
        *,
        max_outputs: int,
        groups: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Keep the best boxes by this rule: see :func:`nms`."""
        return nms(
            boxes,
            scores,
            valid,
            threshold=self.threshold,
            max_outputs=max_outputs,
            groups=groups,
            offset=self.offset,
            inclusive=self.inclusive,
        )


def check_arguments(
    name: str, boxes: Tensor, scores: Tensor, valid: Tensor, groups: Tensor | None
) -> Tensor:
    """Check the arguments, and return the groups (all zero if None).

    Raises:
        ValueError: shapes, types or devices do not match; the message names the
            operator, what was expected and what was found.
    """
    if boxes.dim() != 3 or boxes.shape[2] != 4 or scores.shape != boxes.shape[:2]:
        raise ValueError(
            f"{name} expects boxes (N, R, 4) and scores (N, R); found "
            f"{tuple(boxes.shape)} and {tuple(scores.shape)}"
        )
    if valid.shape != scores.shape or (
        groups is not None and groups.shape != scores.shape
    ):
        raise ValueError(
            f"{name} expects valid and groups of the scores' shape "
            f"{tuple(scores.shape)}; found {tuple(valid.shape)} and "
            f"{None if groups is None else tuple(groups.shape)}"
        )
    if not boxes.is_floating_point() or not scores.is_floating_point():
        raise ValueError(
            f"{name} expects floating point boxes and scores; found {boxes.dtype} and "
            f"{scores.dtype}"
        )
    if valid.dtype != torch.bool:
        raise ValueError(f"{name} expects valid as torch.bool; found {valid.dtype}")
    same = scores.device == valid.device == boxes.device
    if not same or (groups is not None and groups.device != boxes.device):
        raise ValueError(
            f"{name} expects scores, valid and groups on the boxes' device "
            f"{boxes.device}; found {scores.device}, {valid.device} and "
            f"{None if groups is None else groups.device}"
        )
    if groups is None:
        return torch.zeros_like(valid, dtype=torch.int64)
    return groups


@operator(
    "faster_rcnn::nms",
    "(Tensor boxes, Tensor scores, Tensor valid, Tensor groups, float threshold, "
    "SymInt max_outputs, float offset, bool inclusive) -> (Tensor, Tensor)",
)
def _nms(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    groups: Tensor,
    threshold: float,
    max_outputs: int,
    offset: float,
    inclusive: bool,
) -> tuple[Tensor, Tensor]:
    limit = _float32_limit(threshold, inclusive=inclusive)
    kernels = kernels_for("nms", boxes.device.type)
    suppress = nms_by_torchvision if kernels is None else kernels.nms
    found: tuple[Tensor, Tensor] = suppress(
        boxes, scores, valid, groups, limit, max_outputs, offset
    )
    return found


@_nms.register_fake
def _nms_fake(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    groups: Tensor,
    threshold: float,
    max_outputs: int,
    *_: Any,
) -> tuple[Tensor, Tensor]:
    index = scores.new_empty((boxes.shape[0], max_outputs), dtype=torch.int64)
    return index, torch.empty_like(index, dtype=torch.bool)


def _float32_limit(threshold: float, *, inclusive: bool) -> float:
    """Return the largest float32 IoU that a kept box may have.

    Some kernels compare the IoU with the threshold in float32, others in float64. With
    a limit that is exact in float32, both decide alike.
    """
    limit = float(np.float32(threshold))
    if limit > threshold or (inclusive and limit == threshold):
        limit = float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
    return limit
