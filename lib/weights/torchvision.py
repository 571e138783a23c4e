"""torchvision's detectors with a pyramid: names, settings, published files."""

import re
from typing import Any

from .imported import KEYPOINT_HEAD, MASK_HEAD, Layout

_SHARED: dict[str, Any] = {
    "net.features": "fpn",
    "net.fpn_channels": 256,
    "net.fpn_norm": "none",
    "anchors.ratios": (0.5, 1.0, 2.0),
    "anchors.centre": "corner",
    "anchors.rounding": "corners",
    "boxes.offset": 0,
    "boxes.nms_offset": 0,
    "boxes.max_log_size": 4.135166556742356,
    "test.nms_threshold": 0.5,
    "test.score_threshold": 0.05,
    "data.test_short_side": 800,
    "data.test_long_side": 1333,
}
_FASTER_RCNN = _SHARED | {
    "anchors.scales": (8,),
    "rpn.channels": 256,
    "rpn.convs": 1,
    "rpn.test_pre_nms": 1000,
    "rpn.test_post_nms": 1000,
    "rpn.min_size": 0.001,
    "rpn.score_threshold": 0,
    "pooling.mode": "align",
    "pooling.size": 7,
    "pooling.aligned": False,
    "pooling.sampling_ratio": 2,
    "pooling.max_pool": False,
    "head.class_agnostic": False,
    "head.convs": 0,
    "head.fcs": 2,
    "head.fc_channels": 1024,
    "head.norm": "none",
    "test.min_size": 0.01,
    "test.detections_per_image": 100,
}
_RETINANET = _SHARED | {
    "net.detector": "retinanet",
    "net.style": "pytorch",
    "net.fpn_finest": 8,
    "net.fpn_coarser": 2,
    "net.fpn_coarser_by": "c5",
    "anchors.sizes": tuple(
        (side, int(side * 2 ** (1 / 3)), int(side * 2 ** (2 / 3)))
        for side in (32, 64, 128, 256, 512)
    ),
    "anchors.spacing": "fitted",
    "dense.convs": 4,
    "dense.norm": "none",
    "dense.box_loss": "l1",
    "dense.normaliser": "image",
    "dense.pre_nms": 1000,
    "test.clip_first": True,
    "test.min_size": 0,
    "test.detections_per_image": 300,
}
_V2 = {
    "net.fpn_norm": "batch",
    "rpn.convs": 2,
    "head.convs": 4,
    "head.conv_channels": 256,
    "head.fcs": 1,
    "head.norm": "batch",
}
_MOBILE = {"anchors.sizes": ((32, 64, 128, 256, 512),), "rpn.score_threshold": 0.05}
_SMALL = {
    "rpn.test_pre_nms": 150,
    "rpn.test_post_nms": 150,
    "data.test_short_side": 320,
    "data.test_long_side": 640,
}

_MASK = MASK_HEAD | {"mask.targets": "soft", "test.whole_pixel_masks": True}
_KEYPOINT = KEYPOINT_HEAD | {"keypoint.score": "logit"}

_RES50 = _FASTER_RCNN | {"net.style": "pytorch"}
_RES50_V2 = _RES50 | _V2

# By name in torchvision: our net, the settings, and whether files of versions before
# 0.13 exist, which lack two levels of names.
DETECTORS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "fasterrcnn_resnet50_fpn": ("res50", _RES50, True),
    "fasterrcnn_resnet50_fpn_v2": ("res50", _RES50_V2, False),
    "fasterrcnn_mobilenet_v3_large_fpn": ("mobile_v3", _FASTER_RCNN | _MOBILE, True),
    "maskrcnn_resnet50_fpn": ("res50", _RES50 | _MASK, True),
    "maskrcnn_resnet50_fpn_v2": (
        *("res50", _RES50_V2 | _MASK | {"mask.norm": "batch"}, False),
    ),
    "keypointrcnn_resnet50_fpn": ("res50", _RES50 | _KEYPOINT, True),
    "retinanet_resnet50_fpn": (
        *("res50", _RETINANET | {"net.fpn_coarser_by": "p5"}, True),
    ),
    "retinanet_resnet50_fpn with P6 from C5": ("res50", _RETINANET, False),
    "retinanet_resnet50_fpn_v2": (
        *("res50", _RETINANET | {"dense.norm": "group", "dense.box_loss": "giou"}),
        False,
    ),
}

# First digits of the SHA-256 of published files whose tensors do not show everything.
SMALL_FILE = "907ea3f9"
"""mobilenet_v3_large_320_fpn, whose tensors equal those of the 800 pixels' model."""
NO_EPS_FILES = ("258fb6c6", "eeacb38b")
"""The first versions with resnet50_fpn, trained without the norms' epsilon."""

_HEADS = {
    "rpn.head.scores": "rpn.head.cls_logits",
    "rpn.head.deltas": "rpn.head.bbox_pred",
    "box_head.predictor.scores": "roi_heads.box_predictor.cls_score",
    "box_head.predictor.deltas": "roi_heads.box_predictor.bbox_pred",
    "mask_head.layers.deconv": "roi_heads.mask_predictor.conv5_mask",
    "mask_head.predictor": "roi_heads.mask_predictor.mask_fcn_logits",
    "keypoint_head.layers.deconv": "roi_heads.keypoint_predictor.kps_score_lowres",
    "dense_head.predictor.scores": "head.classification_head.cls_logits",
    "dense_head.predictor.deltas": "head.regression_head.bbox_reg",
    "pyramid.down.0": "backbone.fpn.extra_blocks.p6",
    "pyramid.down.1": "backbone.fpn.extra_blocks.p7",
}


def torchvision_name(key: str, *, old: bool, convs: int) -> str:
    """Return torchvision's name of one of our keys.

    Args:
        old: use the names from before version 0.13.
        convs: number of convolutions of the head of a region.
    """
    layer, _, part = key.rpartition(".")
    if layer in _HEADS:
        return f"{_HEADS[layer]}.{part}"
    if key.startswith("backbone."):
        rest = key.removeprefix("backbone.").removeprefix("features.")
        return f"backbone.body.{rest}"
    single = "" if old else ".0"
    if layer == "rpn.head.conv":
        return f"{layer}{single}{single}.{part}"
    if found := re.fullmatch(r"rpn\.head\.more_convs\.(\d+)", layer):
        return f"rpn.head.conv.{int(found[1]) + 1}.0.{part}"
    if found := re.fullmatch(r"pyramid\.(lateral|output)\.(\d+)(\.[01])?", layer):
        kind = "inner" if found[1] == "lateral" else "layer"
        return f"backbone.fpn.{kind}_blocks.{found[2]}{found[3] or single}.{part}"
    found = re.fullmatch(
        r"dense_head\.predictor\.(score|delta)_convs\.(\d)(\.[01])?", layer
    )
    if found:
        kind = "classification" if found[1] == "score" else "regression"
        number = str(2 * int(found[2])) if old else found[2]  # ReLUs between them
        return f"head.{kind}_head.conv.{number}{found[3] or single}.{part}"
    found = re.fullmatch(r"mask_head\.layers\.convs\.(\d+)(\.[01])?", layer)
    if found and old:
        return f"roi_heads.mask_head.mask_fcn{int(found[1]) + 1}.{part}"
    if found:
        return f"roi_heads.mask_head.{found[1]}{found[2] or '.0'}.{part}"
    if found := re.fullmatch(r"keypoint_head\.layers\.convs\.(\d+)", layer):
        return f"roi_heads.keypoint_head.{2 * int(found[1])}.{part}"
    if found := re.fullmatch(r"region_head\.convs\.(\d+\.[01])", layer):
        return f"roi_heads.box_head.{found[1]}.{part}"
    found = re.fullmatch(r"region_head\.fcs\.(\d+)", layer)
    assert found is not None, key
    number = int(found[1])
    # After convolutions comes a layer without weights that flattens.
    name = f"{convs + 1 + 2 * number}" if convs else f"fc{6 + number}"
    return f"roi_heads.box_head.{name}.{part}"


def file_settings(layout: Layout, digits: str) -> dict[str, Any]:
    """Return the settings that a published file needs besides those of its layout."""
    return _SMALL if layout.net == "mobile_v3" and digits == SMALL_FILE else {}


def trained_eps(layout: Layout, digits: str) -> float:
    """Return the epsilon that the backbone's norms were trained with."""
    no_eps = layout.origin == "torchvision" and digits in NO_EPS_FILES
    return 0.0 if no_eps else layout.eps
