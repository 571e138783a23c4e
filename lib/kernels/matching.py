"""Best object of each box and best boxes of each object, without a matrix of all pairs.

Letters: N images, A boxes (anchors or proposals), G ground-truth slots.
"""

from typing import Any

import torch
from torch import Tensor

from .library import kernels_for
from .operator import operator
from .reference import Matches, empty_matches, match_by_matrix


def match_boxes(
    boxes: Tensor,
    gt_boxes: Tensor,
    gt_valid: Tensor,
    *,
    offset: float,
    usable: Tensor | None = None,
    crowd: Tensor | None = None,
) -> Matches:
    """Match boxes with objects by IoU (Faster R-CNN, section 3.1.2).

    Args:
        boxes: ``(A, 4)`` shared by all images, or ``(N, A, 4)``.
        gt_boxes: ``(N, G, 4)``.
        gt_valid: ``(N, G)`` bool; other slots match no box.
        offset: 1 for legacy boxes, 0 for continuous ones.
        usable: ``(N, A)`` bool, boxes that may be an object's best; if None, all boxes.
        crowd: ``(N, G)`` bool, crowd regions: they match no box, and are measured in
            ``crowd_share``; None if there are none.

    Raises:
        ValueError: arguments do not match; the message names them.
    """
    _check(boxes, gt_boxes, gt_valid, usable, crowd)
    return Matches(
        *_match(
            boxes.detach().float().contiguous(),
            gt_boxes.detach().float().contiguous(),
            gt_valid.contiguous(),
            float(offset),
            None if usable is None else usable.contiguous(),
            None if crowd is None else crowd.contiguous(),
        )
    )


def _check(
    boxes: Tensor,
    gt_boxes: Tensor,
    gt_valid: Tensor,
    usable: Tensor | None,
    crowd: Tensor | None,
) -> None:
    if gt_boxes.dim() != 3 or gt_boxes.shape[2] != 4:
        raise ValueError(f"gt_boxes: expected (N, G, 4), found {tuple(gt_boxes.shape)}")
    images = gt_boxes.shape[0]
    if boxes.dim() not in (2, 3) or boxes.shape[-1] != 4:
        raise ValueError(
            f"boxes: expected (A, 4) or (N, A, 4), found {tuple(boxes.shape)}"
        )
    if boxes.dim() == 3 and boxes.shape[0] != images:
        raise ValueError(
            f"boxes: expected those of {images} images, as gt_boxes; found "
            f"{tuple(boxes.shape)}"
        )
    per_object, per_box = (images, gt_boxes.shape[1]), (images, boxes.shape[-2])
    for name, mask, shape in (
        ("gt_valid", gt_valid, per_object),
        ("usable", usable, per_box),
        ("crowd", crowd, per_object),
    ):
        if mask is not None and (
            tuple(mask.shape) != shape or mask.dtype != torch.bool
        ):
            raise ValueError(
                f"{name}: expected {shape} of torch.bool, found {tuple(mask.shape)} of "
                f"{mask.dtype}"
            )


@operator(
    "faster_rcnn::match_boxes",
    "(Tensor boxes, Tensor gt_boxes, Tensor gt_valid, float offset, Tensor? usable, "
    "Tensor? crowd) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _match(
    boxes: Tensor,
    gt_boxes: Tensor,
    gt_valid: Tensor,
    offset: float,
    usable: Tensor | None,
    crowd: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    kernels = kernels_for("match_boxes", boxes.device.type)
    match = match_by_matrix if kernels is None else kernels.match_boxes
    found: tuple[Tensor, Tensor, Tensor, Tensor] = match(
        boxes, gt_boxes, gt_valid, offset, usable, crowd
    )
    return found


@_match.register_fake
def _match_fake(
    boxes: Tensor, gt_boxes: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return empty_matches(boxes, gt_boxes)
