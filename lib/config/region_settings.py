"""From feature maps to classified boxes: RPN, RoI pooling, head."""

from typing import Literal

from pydantic import Field, model_validator

from .section import Count, Positive, Section, Share, Whole


class RPNConfig(Section):
    """Region proposal network (section 3.1)."""

    channels: Count = 512
    convs: Count = 1
    """Number of 3x3 convolutions before the output layers."""
    batch_size: Count = 256
    """Labelled anchors per image."""
    fg_fraction: Share = 0.5
    positive_overlap: Share = 0.7
    negative_overlap: Share = 0.3
    clobber_positives: bool = False
    """Make an anchor negative if its best overlap is below ``negative_overlap``, even
    if it is the best anchor of some object."""
    crowd_overlap: Share | None = None
    """An anchor with more than this share of its area in a crowd region (COCO) is not
    negative. null: crowd regions are ignored, as in tf-faster-rcnn."""
    positive_weight: Share | None = None
    """Weight of all positives together in the box loss, p / positives for each. null:
    1 / labelled anchors for each, as in tf-faster-rcnn's recipes (-1 there)."""
    border: float = 0
    """Pixels by which a training anchor may cross the image edge; no limit if
    negative."""
    sigma: Positive = 3
    """Sigma of the smooth L1."""
    nms_threshold: Share = 0.7
    score_threshold: Share = 0
    """Lowest objectness probability of a proposal."""
    train_pre_nms: Count = 12000
    """Boxes kept before suppression, per level with FPN; ``test_pre_nms`` in tests."""
    train_post_nms: Count = 2000
    test_mode: Literal["nms", "top"] = "nms"
    """How to select test proposals: by suppression, or the ``test_top`` best."""
    test_pre_nms: Count = 6000
    test_post_nms: Count = 300
    test_top: Count = 5000
    min_size: float = Field(default=0, ge=0)
    """Least side of a proposal in pixels of the network input."""


class PoolingConfig(Section):
    """RoI pooling."""

    mode: Literal["align", "pool", "crop", "crop_stn"] = "align"
    """RoIAlign, RoI max pooling, TensorFlow's crop_and_resize, or the affine grid of
    the first PyTorch ports."""
    size: Count = 7
    """Cells per side."""
    sampling_ratio: Whole = 0
    """RoIAlign's samples per cell and side; 0: adaptive."""
    aligned: bool = False
    """Shift RoIAlign's samples by half a cell."""
    max_pool: bool = False
    """Pool to twice the size, then take 2x2 maxima."""
    box_gradient: bool = False
    """Let gradients of the head's losses reach the proposals' coordinates (DenseCap,
    section 3.3); not with mode ``pool``, which has no such gradient."""

    @model_validator(mode="after")
    def _differentiable(self) -> "PoolingConfig":
        if self.box_gradient and self.mode == "pool":
            raise ValueError(
                "box_gradient needs a bilinear mode (align, crop or crop_stn); RoI max "
                "pooling has no gradient in the coordinates"
            )
        return self


class HeadConfig(Section):
    """Fast R-CNN head (Fast R-CNN, section 2.3)."""

    rois_per_image: Count = 256
    fg_fraction: Share = 0.25
    fg_overlap: Share = 0.5
    bg_overlap_high: Share = 0.5
    bg_overlap_low: Share = 0
    crowd_overlap: Share | None = None
    """A RoI with more than this share of its area in a crowd region (COCO) is not
    background. null: crowd regions are ignored. Detectron: 0.7."""
    add_ground_truth: bool = False
    """Add the ground-truth boxes to the proposals in training."""
    replacement: bool = True
    """Draw RoIs repeatedly if there are too few."""
    class_agnostic: bool = False
    """Predict one box per RoI for all classes, instead of one per class."""
    cascade: tuple[Share, ...] = ()
    """Least IoU of a foreground RoI in each stage behind the first, such as [0.6, 0.7]
    (Cascade R-CNN, section 4): every stage classifies the boxes of the one before.
    Boxes are then class-agnostic. Empty: one stage."""
    convs: Whole = 0
    """Number of 3x3 convolutions on each region. This and the following keys except
    sigma apply where no stage of the backbone is the head (dc5, fpn)."""
    conv_channels: Count = 256
    fcs: Whole = 2
    """Number of hidden fully connected layers."""
    fc_channels: Count = 1024
    norm: Literal["none", "batch", "group"] = "none"
    """Norm behind each convolution; ``batch`` covers all processes if train.sync_bn is
    set."""
    sigma: Positive = 1
    """Sigma of the smooth L1."""
