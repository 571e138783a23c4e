"""The head of a one-stage detector."""

from typing import Annotated, Literal

from pydantic import Field

from .section import Count, Positive, Section, Share, Whole


class DenseConfig(Section):
    """RetinaNet's head (Lin et al. 2017, "Focal Loss for Dense Object Detection")."""

    convs: Whole = 4
    """Number of 3x3 convolutions before each of the two output layers."""
    norm: Literal["none", "group"] = "none"
    """Norm after each of these."""
    prior: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Probability that an untrained detector gives each class (section 3.3: pi)."""
    alpha: Share | None = 0.25
    """Weight of positives in the focal loss; negatives have 1 - alpha (section 3.2).
    null: all weigh 1."""
    gamma: float = Field(default=2, ge=0)
    """Focusing parameter of the focal loss."""
    positive_overlap: Share = 0.5
    """Least IoU of a positive anchor."""
    negative_overlap: Share = 0.4
    """IoU below which an anchor is negative; those in between are ignored."""
    best_positive: bool = True
    """Make the anchor that overlaps an object most positive, whatever its IoU."""
    crowd_overlap: Share | None = None
    """An anchor with more than this share of its area in a crowd region (COCO) is not
    negative. null: crowd regions are ignored."""
    box_loss: Literal["l1", "smooth_l1", "giou", "diou", "ciou"] = "l1"
    """Loss of the positives' boxes: of the deltas, or of the decoded boxes' overlap."""
    sigma: Positive = 3
    """Sigma of the smooth L1."""
    normaliser: Literal["running", "batch", "image"] = "running"
    """Number that the losses' sums are divided by: a running mean of the positives of
    an update (Detectron2), the positives of the update, or those of each image, with a
    mean over the images (torchvision)."""
    pre_nms: Count = 1000
    """Boxes of one class each that are kept before suppression, per level."""
