"""Labels and regression targets of the anchors (Faster R-CNN, section 3.1.2).

Letters: N images, A anchors, G ground-truth slots.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .boxes import encode, inside_image, pairwise_iou
from .sampling import random_order
from .structures import GroundTruth


class AnchorTargets(NamedTuple):
    """What the RPN should say of each anchor.

    Attributes:
        labels: ``(N, A)`` int64: 1 object, 0 background, -1 ignored.
        target_deltas: ``(N, A, 4)``, zero where the label is not 1.
    """

    labels: Tensor
    target_deltas: Tensor


def anchor_targets(
    anchors: Tensor,
    ground_truth: GroundTruth,
    image_sizes: Tensor,
    *,
    batch_size: int,
    fg_fraction: float,
    positive_overlap: float,
    negative_overlap: float,
    border: float,
    offset: float,
    usable: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> AnchorTargets:
    """Assign anchors to ground truth and sample a mini-batch per image.

    1. Anchors that leave the image are ignored, and those of padding cells.
    2. An anchor is positive if it overlaps an object by ``positive_overlap`` or more,
       or overlaps some object more than any other anchor does (ties included);
       negative if its best overlap is below ``negative_overlap``.
    3. At most ``fg_fraction * batch_size`` positives are kept at random, and negatives
       fill the rest.

    Deviation: an object that no inside anchor touches makes no anchor positive; in
    tf-faster-rcnn it makes all anchors positive that do not touch it either.

    Args:
        anchors: ``(A, 4)``.
        ground_truth: of N images.
        image_sizes: ``(N, 2)`` height and width.
        batch_size: labelled anchors per image.
        fg_fraction: largest share of positives among them.
        positive_overlap: least IoU of a positive.
        negative_overlap: IoU below which an anchor is negative.
        border: pixels by which an anchor may leave the image; negative for no limit.
        offset: 1 for legacy boxes, 0 for continuous ones.
        usable: ``(N, A)`` bool, anchors of cells inside the image; None for all.
        generator: source of random numbers on the anchors' device.

    Returns:
        Labels and target deltas.
    """
    # 1. Candidates.
    inside = inside_image(anchors, image_sizes, border=border, offset=offset)  # (N, A)
    if usable is not None:
        inside = inside & usable
    overlaps = pairwise_iou(anchors[None], ground_truth.boxes, offset=offset)
    meets = inside[:, :, None] & ground_truth.valid[:, None, :]
    overlaps = overlaps.masked_fill(~meets, -1.0)  # (N, A, G)

    # 2. Match.
    best_overlap, best_object = overlaps.max(dim=2)  # (N, A)
    best_of_object = overlaps.amax(dim=1, keepdim=True)  # (N, 1, G)
    is_best = ((overlaps == best_of_object) & (best_of_object > 0)).any(dim=2)
    positive = inside & (is_best | (best_overlap >= positive_overlap))
    negative = inside & ~positive & (best_overlap < negative_overlap)

    # 3. Sample.
    labels = sample_labels(
        positive,
        negative,
        batch_size=batch_size,
        fg_fraction=fg_fraction,
        generator=generator,
    )
    matched = ground_truth.boxes.gather(
        1, best_object[:, :, None].expand(-1, -1, 4)
    )  # (N, A, 4)
    target_deltas = encode(anchors, matched, offset=offset)
    target_deltas = target_deltas.masked_fill((labels != 1)[:, :, None], 0.0)
    return AnchorTargets(labels, target_deltas)


def sample_labels(
    positive: Tensor,
    negative: Tensor,
    *,
    batch_size: int,
    fg_fraction: float,
    generator: torch.Generator | None,
) -> Tensor:
    """Keep a random mini-batch of the labelled anchors of each image.

    Args:
        positive: ``(N, A)`` bool.
        negative: ``(N, A)`` bool, disjoint from ``positive``.
        batch_size: anchors to keep per image.
        fg_fraction: largest share of positives among them.
        generator: source of random numbers.

    Returns:
        ``(N, A)`` int64: 1, 0, or -1 for anchors that were not drawn.
    """
    anchors = positive.shape[1]
    fg_slots = min(int(fg_fraction * batch_size), anchors)
    bg_slots = min(batch_size, anchors)
    fg_index, is_fg = random_order(positive, fg_slots, generator)
    bg_index, is_bg = random_order(negative, bg_slots, generator)
    bg_wanted = batch_size - is_fg.sum(dim=1, keepdim=True)  # (N, 1)
    is_bg = is_bg & (torch.arange(bg_slots, device=is_bg.device) < bg_wanted)
    labels = torch.full_like(positive, -1, dtype=torch.int64)
    # Slots that were not drawn point at anchors that were never candidates of their
    # kind; adding to -1 leaves those alone.
    labels.scatter_add_(1, fg_index, is_fg.long() * 2)
    labels.scatter_add_(1, bg_index, is_bg.long())
    return labels
