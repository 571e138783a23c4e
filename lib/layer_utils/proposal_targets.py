"""Sampled RoIs with their classes and regression targets (Fast R-CNN, section 2.3).

Letters: N images, R proposals, G ground-truth slots, S sampled RoIs per image, F slots
for foreground among them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..kernels.matching import match_boxes
from .boxes import encode
from .sampling import random_order
from .structures import GroundTruth, Proposals, replace


class RoIMatches(NamedTuple):
    """Candidates among the RoIs, before any is drawn.

    Attributes:
        foreground: ``(N, R)`` bool.
        background: ``(N, R)`` bool, disjoint from ``foreground``.
        matched: ``(N, R)`` int64, slot of the ground truth that the RoI overlaps most.
    """

    foreground: Tensor
    background: Tensor
    matched: Tensor


class RoISamples(NamedTuple):
    """RoIs for training a head, with their targets.

    Attributes:
        rois: ``(N, S, 4)``, zero where not valid.
        classes: ``(N, S)`` int64, 0 for background.
        target_deltas: ``(N, S, 4)``, normalised; zero for background.
        matched: ``(N, S)`` int64, ground-truth slot matched to a foreground RoI.
        valid: ``(N, S)`` bool.
    """

    rois: Tensor
    classes: Tensor
    target_deltas: Tensor
    matched: Tensor
    valid: Tensor


@dataclass(frozen=True)
class RoICriteria:
    """The rules by which a RoI may be foreground, background or neither.

    Attributes:
        fg_overlap: least IoU of a foreground RoI.
        bg_overlap_high: IoU below which a RoI may be background.
        bg_overlap_low: least IoU of a background RoI.
        offset: 1 for legacy boxes, 0 for continuous ones.
        crowd_overlap: a RoI with more than this share of its area inside a crowd region
            is not background; if None, crowd regions are ignored.
    """

    fg_overlap: float
    bg_overlap_high: float
    bg_overlap_low: float
    offset: float
    crowd_overlap: float | None = None


@dataclass(frozen=True)
class RoISampling:
    """How many RoIs of an image are drawn, and from which boxes.

    Attributes:
        batch_size: S, sampled RoIs per image.
        fg_fraction: largest share of foreground RoIs among them.
        add_ground_truth: add the ground-truth boxes to the proposals.
        replacement: draw RoIs repeatedly if there are too few.
    """

    batch_size: int
    fg_fraction: float
    add_ground_truth: bool
    replacement: bool

    def fg_slots(self) -> int:
        """Return the largest number of foreground RoIs beside background."""
        return round(self.fg_fraction * self.batch_size)


def sample_rois(
    proposals: Proposals,
    ground_truth: GroundTruth,
    *,
    criteria: RoICriteria,
    sampling: RoISampling,
    delta_std: tuple[float, float, float, float],
    generator: torch.Generator | None = None,
) -> RoISamples:
    """Sample foreground and background RoIs of each image.

    1. Match every proposal to the object that it overlaps most, and find the foreground
       and background candidates: `match_rois`.
    2. Draw up to ``fg_fraction * batch_size`` foreground RoIs, and fill the rest with
       background, or with foreground if the image has no background. If there are too
       few, ``replacement`` draws some again; otherwise slots stay empty.

    An image with no candidates of either kind gives no valid slots, without an error.

    Args:
        proposals: of N images.
        ground_truth: of the same images.
        criteria: which RoIs may be foreground and background.
        sampling: how many of them are drawn.
        delta_std: divisors of the four deltas.
        generator: random number generator on the proposals' device.

    Returns:
        The samples, foreground first.
    """
    boxes, valid = proposals.boxes, proposals.valid
    if sampling.add_ground_truth:
        boxes = torch.cat((boxes, ground_truth.boxes), dim=1)
        valid = torch.cat((valid, ground_truth.valid), dim=1)

    # 1. Match.
    foreground, background, matched = match_rois(boxes, valid, ground_truth, criteria)
    # 2. Draw.
    index, is_fg, drawn = _draw(foreground, background, sampling, generator)
    # Unused slots are pooled too, and pooling a non-finite box may crash.
    rois = boxes.gather(1, index[:, :, None].expand(-1, -1, 4))
    rois = rois.masked_fill(~drawn[:, :, None], 0.0)
    return _with_targets(
        rois,
        matched.gather(1, index),
        is_fg,
        drawn,
        ground_truth,
        delta_std=delta_std,
        offset=criteria.offset,
    )


def label_rois(
    rois: Tensor,
    valid: Tensor,
    ground_truth: GroundTruth,
    criteria: RoICriteria,
    *,
    delta_std: tuple[float, float, float, float],
) -> RoISamples:
    """Label all RoIs without drawing: a cascade's later stages (Cascade R-CNN, 4.2).

    Args:
        rois: ``(N, R, 4)``, boxes that the stage before has moved.
        valid: ``(N, R)`` bool.
        ground_truth: of the same images.
        criteria: which RoIs are foreground and background.
        delta_std: as of `sample_rois`.

    Returns:
        All RoIs in their order, with the targets of this stage.
    """
    foreground, background, matched = match_rois(rois, valid, ground_truth, criteria)
    return _with_targets(
        rois,
        matched,
        foreground,
        foreground | background,
        ground_truth,
        delta_std=delta_std,
        offset=criteria.offset,
    )


def foreground_of(samples: RoISamples, slots: int) -> RoISamples:
    """Take the foreground, which comes first, for heads of masks and keypoints.

    Deviation: an image without background has foreground in all slots; only the usual
    share of it is taken, so that no shape depends on it.

    Args:
        samples: RoIs of N images.
        slots: F, at least 1.

    Returns:
        The first F RoIs of each image as constants, valid where they are foreground.
    """
    leading = RoISamples(*[field[:, :slots] for field in samples])
    foreground = leading.valid & (leading.classes > 0)
    return replace(leading, rois=leading.rois.detach(), valid=foreground)


def _with_targets(
    rois: Tensor,
    matched: Tensor,
    foreground: Tensor,
    valid: Tensor,
    ground_truth: GroundTruth,
    *,
    delta_std: tuple[float, float, float, float],
    offset: float,
) -> RoISamples:
    """Add classes and normalised deltas of the matched objects to RoIs ``(N, S)``."""
    classes = ground_truth.classes.gather(1, matched).masked_fill(~foreground, 0)
    targets = ground_truth.boxes.gather(1, matched[:, :, None].expand(-1, -1, 4))
    # Targets are constants, even if the RoIs carry a gradient (DenseCap).
    deltas = encode(rois.detach(), targets, offset=offset).unbind(2)
    target_deltas = torch.stack(
        [delta / std for delta, std in zip(deltas, delta_std, strict=True)], dim=2
    ).masked_fill(~foreground[:, :, None], 0.0)
    return RoISamples(rois, classes, target_deltas, matched, valid)


def match_rois(
    rois: Tensor,
    valid: Tensor,
    ground_truth: GroundTruth,
    criteria: RoICriteria,
) -> RoIMatches:
    """Find the foreground and background candidates, without drawing from them.

    Args:
        rois: ``(N, R, 4)``, in the frame of the ground truth.
        valid: ``(N, R)`` bool; invalid RoIs are not candidates.
        ground_truth: of the same images.
        criteria: which RoIs may be foreground and background.

    Returns:
        Candidates, and the object that each RoI belongs to.
    """
    crowd_overlap = criteria.crowd_overlap
    crowd = None if crowd_overlap is None else ground_truth.crowd
    matches = match_boxes(
        rois,
        ground_truth.boxes,
        ground_truth.valid if crowd is None else ground_truth.valid | crowd,
        offset=criteria.offset,
        crowd=crowd,
    )
    overlap = matches.overlap
    foreground = valid & (overlap >= criteria.fg_overlap)
    background = valid & ~foreground & (overlap < criteria.bg_overlap_high)
    background = background & (overlap >= criteria.bg_overlap_low)
    if crowd_overlap is not None:
        background = background & (matches.crowd_share <= crowd_overlap)
    return RoIMatches(foreground, background, matches.matched)


def _draw(
    foreground: Tensor,
    background: Tensor,
    sampling: RoISampling,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return indices ``(N, S)``, which are foreground, and which hold a RoI."""
    slots, replacement = sampling.batch_size, sampling.replacement
    count = min(slots, foreground.shape[1])
    fg_order, fg_there = random_order(foreground, count, generator)
    bg_order, bg_there = random_order(background, count, generator)
    fg_count = fg_there.sum(dim=1, keepdim=True)  # (N, 1), at most `count`
    bg_count = bg_there.sum(dim=1, keepdim=True)

    # Foreground takes its share, or every slot if there is no background.
    fg_share = fg_count.clamp(max=sampling.fg_slots()).masked_fill(bg_count == 0, slots)
    if not replacement:
        fg_share = torch.minimum(fg_share, fg_count)
    fg_share = fg_share.masked_fill(fg_count == 0, 0)  # (N, 1)

    slot = torch.arange(slots, device=foreground.device)[None]  # (1, S)
    is_fg = slot < fg_share  # (N, S)
    # Position of each slot in the random order of its own kind.
    rank = torch.where(is_fg, slot, slot - fg_share)
    available = torch.where(is_fg, fg_count, bg_count)
    if replacement:
        # Each candidate is drawn once; slots beyond their number draw again at random.
        again = torch.rand(rank.shape, device=rank.device, generator=generator)
        again = (again * available).long().clamp(max=count - 1)
        rank = torch.where(rank < available, rank, again)
        drawn = (available > 0).expand_as(is_fg)
    else:
        drawn = rank < available
    rank = rank.clamp(max=count - 1)
    index = torch.where(is_fg, fg_order.gather(1, rank), bg_order.gather(1, rank))
    return index, is_fg & drawn, drawn
