"""The heads of masks and keypoints, which stand beside the box head (Mask R-CNN)."""

from typing import Literal

from .section import Count, HeadSection, Positive, Whole


class MaskConfig(HeadSection):
    """Mask head (Mask R-CNN, section 3, figure 4)."""

    head = "faster_rcnn.model.heads.mask_head:MaskHead"

    size: Count = 14
    """Cells per side of the pooled regions. The mask has twice as many, with one map
    (c4) twice those that the backbone's last stage leaves."""
    convs: Whole = 4
    """Number of 3x3 convolutions before the deconvolution; 0 in Detectron2's C4."""
    channels: Count = 256
    """Channels of the convolutions and of the deconvolution."""
    norm: Literal["none", "batch", "group"] = "none"
    """Norm after each convolution."""
    class_agnostic: bool = False
    """Predict one mask for all classes, instead of one per class."""
    targets: Literal["polygon", "bitmap", "soft"] = "polygon"
    """How targets are made: outlines drawn into the RoI, or bitmaps cropped to it and
    rounded (both Detectron2), or bitmaps cropped as in torchvision and not rounded."""


class KeypointConfig(HeadSection):
    """Keypoint head (Mask R-CNN, section 5)."""

    head = "faster_rcnn.model.heads.keypoint_head:KeypointHead"

    count: Count = 17
    """Keypoints of an object; 17 for COCO's persons. Training takes the number of the
    data set, unless the command line gives one."""
    size: Count = 14
    """Cells per side of the pooled regions; a heatmap has four times as many."""
    convs: Count = 8
    """Number of 3x3 convolutions."""
    channels: Count = 512
    """Channels of the convolutions."""
    score: Literal["probability", "logit"] = "probability"
    """Score of a keypoint: the probability of its cell in the heatmap (Detectron2), or
    its logit (torchvision)."""
    sigmas: tuple[Positive, ...] = ()
    """Spread of each keypoint relative to the size of its object, for OKS, or one for
    all. By default COCO's if there are 17 keypoints, else 0.05."""
