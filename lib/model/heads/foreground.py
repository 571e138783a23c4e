"""The RoIs that heads of masks and keypoints train on."""

from typing import NamedTuple

from torch import Tensor

from ...config.settings import HeadConfig
from ...layer_utils.proposal_targets import RoISamples


class Foreground(NamedTuple):
    """The leading sampled RoIs of each image, which hold its foreground.

    Attributes:
        rois: ``(N, F, 4)``.
        classes: ``(N, F)`` int64.
        matched: ``(N, F)`` int64, slots of the ground truth.
        wanted: ``(N, F)`` bool, which of them are foreground.
    """

    rois: Tensor
    classes: Tensor
    matched: Tensor
    wanted: Tensor


def foreground_of(samples: RoISamples, head: HeadConfig) -> Foreground:
    """Take the foreground, which comes first, without a shape that depends on it.

    Deviation: an image without background has foreground in all slots; only the usual
    share of it is taken.
    """
    slots = max(round(head.fg_fraction * head.rois_per_image), 1)
    classes, valid = samples.classes[:, :slots], samples.valid[:, :slots]
    return Foreground(
        samples.rois[:, :slots].detach(),
        classes,
        samples.matched[:, :slots],
        valid & (classes > 0),
    )
