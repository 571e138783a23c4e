"""Detectron's Caffe2 blobs (2018), and the ImageNet files that Detectron2 starts from.

Names are Detectron's blob names. Its batch norms are fixed affine maps of a scale and a
bias.
"""

import re
from typing import Any

from .imported import KEYPOINT_HEAD, MASK_HEAD

_SHARED: dict[str, Any] = {
    "anchors.ratios": (0.5, 1.0, 2.0),
    "anchors.centre": "cell",
    "anchors.rounding": "sides",
    "boxes.offset": 1,
    "boxes.nms_offset": 1,
    "boxes.nms_inclusive": True,
    "boxes.max_log_size": 4.135166556742356,
    "pooling.mode": "align",
    "pooling.aligned": False,
    "pooling.max_pool": False,
    "head.class_agnostic": False,
    "rpn.test_post_nms": 1000,
    "test.nms_threshold": 0.5,
    "test.score_threshold": 0.05,
    "data.test_short_side": 800,
    "data.test_long_side": 1333,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "c4": _SHARED
    | {
        "net.features": "c4",
        "net.head_stride": 2,
        "anchors.scales": (2, 4, 8, 16, 32),
        "pooling.size": 14,
        "pooling.sampling_ratio": 0,
        "rpn.channels": 1024,
        "rpn.test_pre_nms": 6000,
    },
    "fpn": _SHARED
    | {
        "net.features": "fpn",
        "net.fpn_channels": 256,
        "net.fpn_norm": "none",
        "anchors.scales": (8,),
        "pooling.size": 7,
        "pooling.sampling_ratio": 2,
        "rpn.channels": 256,
        "rpn.test_pre_nms": 1000,
        "head.convs": 0,
        "head.fcs": 2,
        "head.fc_channels": 1024,
        "head.norm": "none",
    },
}
# It rounds boxes to whole pixels before pasting, as torchvision does after it.
_MASK = MASK_HEAD | {"mask.targets": "polygon", "test.whole_pixel_masks": True}
_KEYPOINT = KEYPOINT_HEAD | {"keypoint.score": "logit"}
SETTINGS |= {
    "mask_c4": SETTINGS["c4"] | _MASK | {"mask.convs": 0},
    "mask_fpn": SETTINGS["fpn"] | _MASK,
    "keypoint_fpn": SETTINGS["fpn"] | _KEYPOINT,
}

UNUSED = {
    **dict.fromkeys(
        ("fc1000_", "pred_"), "classifier of whole images, which a detector lacks"
    ),
    "conv1_b": "a bias that Detectron does not use either",
    **dict.fromkeys(("kps_score_w", "kps_score_b"), "bilinear interpolation"),
}
MOMENTUM = "_momentum"
"""Suffixes of the names of the solver's state."""

_LAST_BLOCKS = {
    "res50": (2, 3, 5, 2),
    "res101": (2, 3, 22, 2),
    "resx101": (2, 3, 22, 2),
}
NETS = tuple(_LAST_BLOCKS)
_HEADS = {
    "box_head.predictor.scores": "cls_score",
    "box_head.predictor.deltas": "bbox_pred",
    "region_head.fcs.0": "fc6",
    "region_head.fcs.1": "fc7",
    "mask_head.layers.deconv": "conv5_mask",
    "mask_head.predictor": "mask_fcn_logits",
    "keypoint_head.layers.deconv": "kps_score_lowres",
}
_RPN = {
    "rpn.head.conv": "conv_rpn",
    "rpn.head.scores": "rpn_cls_logits",
    "rpn.head.deltas": "rpn_bbox_pred",
}
_PARTS = {
    "conv1": "branch2a",
    "conv2": "branch2b",
    "conv3": "branch2c",
    "downsample.0": "branch1",
    "bn1": "branch2a_bn",
    "bn2": "branch2b_bn",
    "bn3": "branch2c_bn",
    "downsample.1": "branch1_bn",
}
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def detectron_name(key: str, net: str, features: str) -> str | None:
    """Return Detectron's name of one of our keys; None for statistics."""
    layer, _, part = key.rpartition(".")
    if part in _STATISTICS:
        return None
    letter = "b" if part == "bias" else "w"
    if layer in _HEADS:
        return f"{_HEADS[layer]}_{letter}"
    if layer in _RPN:
        # Weights shared by all levels are stored under the finest level.
        return f"{_RPN[layer]}{'_fpn2' if features.endswith('fpn') else ''}_{letter}"
    if found := re.fullmatch(r"(mask|keypoint)_head\.layers\.convs\.(\d)", layer):
        name = {"mask": "_[mask]_fcn", "keypoint": "conv_fcn"}[found[1]]
        return f"{name}{int(found[2]) + 1}_{letter}"
    if found := re.fullmatch(r"pyramid\.(lateral|output)\.(\d)", layer):
        level = int(found[2])
        block = f"res{level + 2}_{_LAST_BLOCKS[net][level]}_sum"
        if found[1] == "output":
            return f"fpn_{block}_{letter}"
        # The coarsest level has nothing above it to add.
        lateral = "" if level == 3 else "_lateral"
        return f"fpn_inner_{block}{lateral}_{letter}"
    if layer == "backbone.conv1":
        return "conv1_w"
    if layer == "backbone.bn1":
        return f"res_conv1_bn_{'b' if part == 'bias' else 's'}"
    found = re.fullmatch(r"backbone\.layer(\d)\.(\d+)\.(.+)", layer)
    assert found is not None, key
    name = _PARTS[found[3]]
    if name.endswith("_bn"):
        letter = "b" if part == "bias" else "s"
    return f"res{int(found[1]) + 1}_{found[2]}_{name}_{letter}"
