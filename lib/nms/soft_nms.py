"""Soft-NMS (Bodla et al. 2017) with a fixed number of output slots.

Letters: N images, R boxes per image, K output slots.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..kernels.library import kernels_for
from ..kernels.operator import operator
from ..kernels.reference import soft_nms_by_steps
from .nms import check_arguments


@dataclass(frozen=True)
class GaussianDecay:
    """Multiply a score by ``exp(-IoU^2 / sigma)``.

    Attributes:
        sigma: positive.
    """

    sigma: float = 0.5


@dataclass(frozen=True)
class LinearDecay:
    """Multiply a score by ``1 - IoU`` where the IoU exceeds a threshold.

    Attributes:
        threshold: IoU up to which scores stay unchanged.
    """

    threshold: float = 0.3


Decay = GaussianDecay | LinearDecay


class SoftlyKept(NamedTuple):
    """Boxes in the order they were picked.

    Attributes:
        picked: ``(N, K)`` int64 indices, 0 where a slot is empty.
        kept: ``(N, K)`` bool, true where a slot holds a box.
        scores: ``(N, K)`` scores when picked, falling; 0 where empty.
    """

    picked: Tensor
    kept: Tensor
    scores: Tensor


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    *,
    max_outputs: int,
    decay: Decay = GaussianDecay(),
    min_score: float = 0.001,
    groups: Tensor | None = None,
    offset: float = 0.0,
) -> SoftlyKept:
    """Pick the best box, lower the scores of boxes that overlap it, and repeat.

    Args:
        boxes: ``(N, R, 4)``.
        scores: ``(N, R)``, not negative. Ties go to the lower index.
        valid: ``(N, R)`` bool; other boxes are neither picked nor lower any score.
        max_outputs: K.
        decay: how the overlap with a picked box lowers a score.
        min_score: a box is picked only while its score is above this.
        groups: ``(N, R)`` int64; boxes affect only boxes of their own group.
        offset: added to widths and heights, 1 for legacy and 0 for continuous boxes.

    Raises:
        ValueError: shapes do not match, sigma is not positive, or ``min_score`` is
            negative.
    """
    groups = check_arguments("soft_nms", boxes, scores, valid, groups)
    gaussian = isinstance(decay, GaussianDecay)
    # The operator takes both numbers, and reads the one of its decay.
    sigma = decay.sigma if isinstance(decay, GaussianDecay) else 1.0
    threshold = decay.threshold if isinstance(decay, LinearDecay) else 0.0
    if not sigma > 0 or not min_score >= 0:
        raise ValueError(
            f"expected sigma > 0 and min_score >= 0, found {sigma} and {min_score}"
        )
    return SoftlyKept(
        *_soft_nms(
            boxes.detach().float(),
            scores.detach().float(),
            valid,
            groups,
            max_outputs,
            gaussian,
            float(sigma),
            float(threshold),
            float(min_score),
            float(offset),
        )
    )


@operator(
    "faster_rcnn::soft_nms",
    "(Tensor boxes, Tensor scores, Tensor valid, Tensor groups, "
    "SymInt max_outputs, bool gaussian, float sigma, float threshold, "
    "float min_score, float offset) -> (Tensor, Tensor, Tensor)",
)
def _soft_nms(
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
    kernels = kernels_for("soft_nms", boxes.device.type)
    suppress = soft_nms_by_steps if kernels is None else kernels.soft_nms
    found: tuple[Tensor, Tensor, Tensor] = suppress(
        boxes,
        scores,
        valid,
        groups,
        max_outputs,
        gaussian,
        sigma,
        threshold,
        min_score,
        offset,
    )
    return found


@_soft_nms.register_fake
def _soft_nms_fake(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    groups: Tensor,
    max_outputs: int,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    chosen = scores.new_empty((boxes.shape[0], max_outputs))
    index = torch.empty_like(chosen, dtype=torch.int64)
    return index, torch.empty_like(chosen, dtype=torch.bool), chosen
