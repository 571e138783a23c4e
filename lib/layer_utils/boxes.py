"""Box arithmetic: areas, overlaps, encoding, decoding, clipping.

The box convention, defined here for the whole package
---------------------------------------------------
Boxes are float32 ``x1, y1, x2, y2`` in pixels of the network input. The width and
height of a box depend on one number, ``offset``:

* ``offset = 1`` (legacy: py-faster-rcnn, tf-faster-rcnn and their ports): the corners
  are the first and last pixel *inside* the box, so its width is ``x2 - x1 + 1``.
* ``offset = 0`` (continuous: Detectron2, torchvision): the corners are edges, pixel
  ``k`` spans ``[k, k + 1)``, and the width is ``x2 - x1``.

Letters: N images, A anchors, R boxes, G ground-truth slots, ``...`` any leading shape.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels.iou import box_sizes, pairwise_intersection, pairwise_iou

__all__ = [
    "BoxCoder",
    "box_sizes",
    "clip",
    "decode",
    "encode",
    "inside_image",
    "pairwise_intersection",
    "pairwise_iou",
]


def encode(boxes: Tensor, targets: Tensor, *, offset: float) -> Tensor:
    """Compute the deltas that move ``boxes`` onto ``targets`` (R-CNN; eq. 2).

    Args:
        boxes: ``(..., 4)`` anchors or RoIs.
        targets: ``(..., 4)`` ground truth, one per box.
        offset: 1 for legacy boxes, 0 for continuous ones.

    Returns:
        ``(..., 4)`` deltas ``dx, dy, dw, dh``, not finite for boxes without area:
        callers mask these rows.
    """
    widths, heights = box_sizes(boxes, offset=offset)
    target_widths, target_heights = box_sizes(targets, offset=offset)
    centre_x = boxes[..., 0] + 0.5 * widths
    centre_y = boxes[..., 1] + 0.5 * heights
    target_x = targets[..., 0] + 0.5 * target_widths
    target_y = targets[..., 1] + 0.5 * target_heights
    return torch.stack(
        (
            (target_x - centre_x) / widths,
            (target_y - centre_y) / heights,
            torch.log(target_widths / widths),
            torch.log(target_heights / heights),
        ),
        dim=-1,
    )


def decode(
    boxes: Tensor, deltas: Tensor, *, offset: float, max_log_size: float | None = None
) -> Tensor:
    """Apply ``deltas`` to ``boxes``: the inverse of `encode`.

    Deviation: with ``offset = 1`` the far corner is ``centre + w / 2``, as in all
    published code of this family; the exact inverse would subtract 1. See
    docs/deviations.md.

    Args:
        boxes: ``(..., 4)``, broadcast against ``deltas``.
        deltas: ``(..., 4)``.
        offset: 1 for legacy boxes, 0 for continuous ones.
        max_log_size: upper limit of ``dw`` and ``dh``, or None for no limit.

    Returns:
        ``(..., 4)`` boxes, not clipped.
    """
    widths, heights = box_sizes(boxes, offset=offset)
    dx, dy, dw, dh = deltas.unbind(-1)
    if max_log_size is not None:
        dw = dw.clamp(max=max_log_size)
        dh = dh.clamp(max=max_log_size)
    centre_x = dx * widths + (boxes[..., 0] + 0.5 * widths)
    centre_y = dy * heights + (boxes[..., 1] + 0.5 * heights)
    half_width = 0.5 * (torch.exp(dw) * widths)
    half_height = 0.5 * (torch.exp(dh) * heights)
    return torch.stack(
        (
            centre_x - half_width,
            centre_y - half_height,
            centre_x + half_width,
            centre_y + half_height,
        ),
        dim=-1,
    )


def clip(boxes: Tensor, sizes: Tensor, *, offset: float) -> Tensor:
    """Move every corner into its image.

    Args:
        boxes: ``(N, ..., 4)``.
        sizes: ``(N, 2)`` height and width of each image.
        offset: 1 for legacy boxes (last pixel is ``W - 1``), 0 for continuous ones.

    Returns:
        ``(N, ..., 4)``, same shape as ``boxes``.
    """
    limits = (sizes.to(boxes.dtype) - offset).flip(-1).repeat(1, 2)  # (N, 4) x, y, x, y
    limits = limits.view(-1, *([1] * (boxes.dim() - 2)), 4)
    return torch.minimum(boxes.clamp(min=0), limits)


def inside_image(
    boxes: Tensor, sizes: Tensor, *, border: float, offset: float
) -> Tensor:
    """Return whether boxes lie inside their image (section 3.1.3).

    Args:
        boxes: ``(A, 4)``, shared by all images.
        sizes: ``(N, 2)`` height and width of each image.
        border: pixels by which a box may cross the edge; negative for no limit.
        offset: 1 for legacy boxes, 0 for continuous ones.

    Returns:
        ``(N, A)`` bool.
    """
    if border < 0:
        return torch.ones(
            sizes.shape[0], boxes.shape[0], dtype=torch.bool, device=boxes.device
        )
    limits = sizes.to(boxes.dtype) - offset + border  # (N, 2) height, width
    return (
        (boxes[:, 0] >= -border)
        & (boxes[:, 1] >= -border)
        & (boxes[:, 2] <= limits[:, 1:])
        & (boxes[:, 3] <= limits[:, :1])
    )


@dataclass(frozen=True)
class BoxCoder:
    """Boxes to deltas and back, in one convention.

    Attributes:
        offset: 1 for legacy boxes, 0 for continuous ones.
        max_log_size: upper limit of ``dw`` and ``dh``; None for no limit.
        clips: whether decoded boxes are clipped to their images.
        min_size: least width and height in pixels of the boxes that are used.
    """

    offset: float
    max_log_size: float | None = None
    clips: bool = True
    min_size: float = 0.0

    def encode(self, boxes: Tensor, targets: Tensor) -> Tensor:
        """Compute deltas from boxes to targets: see :func:`encode`."""
        return encode(boxes, targets, offset=self.offset)

    def decode(self, boxes: Tensor, deltas: Tensor, sizes: Tensor) -> Tensor:
        """Move boxes by their deltas and, if `clips`, clip them to their images.

        Args:
            boxes: ``(N, ..., 4)``, broadcast against ``deltas``.
            deltas: ``(N, ..., 4)``.
            sizes: ``(N, 2)`` height and width of each image.

        Returns:
            ``(N, ..., 4)`` boxes.
        """
        offset = self.offset
        moved = decode(boxes, deltas, offset=offset, max_log_size=self.max_log_size)
        return clip(moved, sizes, offset=offset) if self.clips else moved

    def large(self, boxes: Tensor) -> Tensor:
        """Return ``(...)`` bool, whether both sides of boxes reach `min_size`."""
        widths, heights = box_sizes(boxes, offset=self.offset)
        return (widths >= self.min_size) & (heights >= self.min_size)
