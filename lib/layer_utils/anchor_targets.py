"""Labels and regression targets of the anchors (Faster R-CNN, section 3.1.2).

Letters: N images, A anchors, G ground-truth slots.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..kernels.matching import match_boxes
from .boxes import encode, inside_image
from .sampling import random_order
from .structures import GroundTruth


class AnchorTargets(NamedTuple):
    """RPN targets: a label and box deltas for each anchor.

    Attributes:
        labels: ``(N, A)`` int64: 1 object, 0 background, -1 ignored.
        target_deltas: ``(N, A, 4)``, zero where the label is not 1.
    """

    labels: Tensor
    target_deltas: Tensor


class AnchorMatches(NamedTuple):
    """Candidate anchors before sampling, and the object that each anchor matches.

    Attributes:
        positive: ``(N, A)`` bool.
        negative: ``(N, A)`` bool, disjoint from ``positive``.
        matched: ``(N, A)`` int64, slot of the object that the anchor overlaps most.
    """

    positive: Tensor
    negative: Tensor
    matched: Tensor


@dataclass(frozen=True)
class AnchorCriteria:
    """The rules by which an anchor is positive, negative or neither.

    Anchors that cross the image border and anchors of padding cells are neither. An
    anchor is positive if its IoU with an object is ``positive_overlap`` or more or,
    with ``best_positive``, if no other anchor overlaps that object more (ties
    included). Otherwise it is negative if its highest IoU is below
    ``negative_overlap``.

    Attributes:
        positive_overlap: least IoU of a positive.
        negative_overlap: IoU below which an anchor is negative.
        border: pixels by which an anchor may cross the edge; if negative, any number.
        offset: 1 for legacy boxes, 0 for continuous ones.
        best_positive: make the best anchors of each object positive.
        clobber_positives: apply the negative rule first, so that an object's best
            anchor of low IoU is negative.
        crowd_overlap: an anchor with more than this share of its area inside a crowd
            region is not negative, because the region may contain objects; if None,
            crowd regions are ignored. They never affect positive anchors, just as
            COCO's evaluation ignores only unmatched detections in a crowd.
    """

    positive_overlap: float
    negative_overlap: float
    border: float
    offset: float
    best_positive: bool = True
    clobber_positives: bool = False
    crowd_overlap: float | None = None


def anchor_targets(
    anchors: Tensor,
    ground_truth: GroundTruth,
    image_sizes: Tensor,
    *,
    criteria: AnchorCriteria,
    batch_size: int,
    fg_fraction: float,
    usable: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> AnchorTargets:
    """Assign anchors to ground truth and sample a mini-batch per image.

    1. `match_anchors`: candidates for positive and negative.
    2. `sample_labels`: at most ``fg_fraction * batch_size`` positives at random;
       negatives fill the rest.

    Args:
        anchors: ``(A, 4)``.
        ground_truth: of N images.
        image_sizes: ``(N, 2)`` height and width.
        criteria: which anchors are positive and negative.
        batch_size: labelled anchors per image.
        fg_fraction: largest share of positives among them.
        usable: ``(N, A)`` bool, anchors of cells inside the image; None for all.
        generator: random number generator on the anchors' device.

    Returns:
        Labels and target deltas.
    """
    positive, negative, matched = match_anchors(
        anchors, ground_truth, image_sizes, criteria, usable=usable
    )
    labels = sample_labels(
        positive,
        negative,
        batch_size=batch_size,
        fg_fraction=fg_fraction,
        generator=generator,
    )
    targets = ground_truth.boxes.gather(1, matched[:, :, None].expand(-1, -1, 4))
    target_deltas = encode(anchors, targets, offset=criteria.offset)  # (N, A, 4)
    target_deltas = target_deltas.masked_fill((labels != 1)[:, :, None], 0.0)
    return AnchorTargets(labels, target_deltas)


def match_anchors(
    anchors: Tensor,
    ground_truth: GroundTruth,
    image_sizes: Tensor,
    criteria: AnchorCriteria,
    *,
    usable: Tensor | None = None,
) -> AnchorMatches:
    """Find the candidate anchors of both labels, without sampling them.

    Deviation: an object that overlaps no inside anchor makes no anchor positive. In
    tf-faster-rcnn such an object makes every anchor positive that does not overlap it.

    The arguments are those of `anchor_targets`.

    Returns:
        The candidates, and the object that each anchor overlaps most.
    """
    offset, crowd_overlap = criteria.offset, criteria.crowd_overlap
    inside = inside_image(
        anchors, image_sizes, border=criteria.border, offset=offset
    )  # (N, A)
    if usable is not None:
        inside = inside & usable
    crowd = None if crowd_overlap is None else ground_truth.crowd
    matches = match_boxes(
        anchors,
        ground_truth.boxes,
        ground_truth.valid if crowd is None else ground_truth.valid | crowd,
        offset=offset,
        usable=inside,
        crowd=crowd,
    )
    positive = inside & (matches.overlap >= criteria.positive_overlap)
    if criteria.best_positive:
        positive = positive | matches.is_best
    negative = inside & (matches.overlap < criteria.negative_overlap)
    if criteria.clobber_positives:
        positive = positive & ~negative
    else:
        negative = negative & ~positive
    if crowd_overlap is not None:
        negative = negative & (matches.crowd_share <= crowd_overlap)
    return AnchorMatches(positive, negative, matches.matched)


def dense_targets(
    matches: AnchorMatches, ground_truth: GroundTruth
) -> tuple[Tensor, Tensor]:
    """Assign a class and an object to every anchor, without sampling (RetinaNet).

    Args:
        matches: candidates of both labels.
        ground_truth: of the same N images.

    Returns:
        Classes ``(N, A)``: 1..C-1 of a positive, 0 of a negative, -1 of other anchors;
        and ``(N, A, 4)`` boxes of the objects that the anchors overlap most.
    """
    classes = ground_truth.classes.gather(1, matches.matched)
    classes = classes.masked_fill(~matches.positive, -1)
    classes = classes.masked_fill(matches.negative, 0)
    index = matches.matched[:, :, None].expand(-1, -1, 4)
    return classes, ground_truth.boxes.gather(1, index)


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
        generator: random number generator on the device of ``positive``.

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
    # Slots that were not drawn point at anchors that are no candidates of that label;
    # adding 0 keeps their -1.
    labels.scatter_add_(1, fg_index, is_fg.long() * 2)
    labels.scatter_add_(1, bg_index, is_bg.long())
    return labels
