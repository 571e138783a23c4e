"""Shapes of our own state dicts, computed without allocating them."""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from torch import nn

from ..config.settings import Config
from ..nets import build_backbone
from ..nets.box_predictor import BoxPredictor
from ..nets.dense_predictor import DensePredictor
from ..nets.fpn import FeaturePyramid
from ..nets.instance_layers import KeypointLayers, MaskLayers, MaskPredictor
from ..nets.region_head import RegionHead
from ..nets.rpn import RPNPredictor
from ..utils.shape_only import shape_only
from .imported import Numbers, Shape

DECISIVE = (
    *("net.detector", "net.features", "net.fpn_channels", "net.fpn_norm"),
    *("net.fpn_finest", "net.fpn_coarser", "net.fpn_coarser_by"),
    *("dense.convs", "dense.norm", "rpn.convs", "pooling.size"),
    *("head.convs", "head.conv_channels", "head.fcs", "head.fc_channels"),
    *("head.norm", "head.class_agnostic", "head.cascade"),
    *("mask.enabled", "mask.convs", "mask.channels", "mask.norm"),
    *("mask.class_agnostic", "keypoint.enabled", "keypoint.convs"),
    *("keypoint.channels", "keypoint.count"),
)
"""The settings, besides the numbers, that determine a detector's tensors."""


class BackboneShapes(NamedTuple):
    """Shapes by our keys, and further facts that follow from the backbone."""

    shapes: dict[str, Shape]
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    head_channels: int


@cache
def backbone_shapes(net: str, features: str = "c4") -> BackboneShapes:
    """Return the shapes in the state dict of a net's backbone, whatever its style."""
    with shape_only():
        backbone = build_backbone(
            net,
            features=features,
            style="pytorch",
            norm="frozen",
            fixed_blocks=0,
            head_stride=1,
            dropout=0,
        )
    return BackboneShapes(
        _shapes({"backbone": backbone}),
        backbone.channels,
        backbone.strides,
        backbone.head_channels,
    )


def detector_shapes(
    net: str, settings: Mapping[str, Any], numbers: Numbers
) -> dict[str, Shape]:
    """Return the shapes in the state dict of a detector, without the pixel mean.

    Args:
        settings: non-default settings out of `DECISIVE`; others have no effect.

    Raises:
        ValueError: the net does not have these features, or a value is invalid.
    """
    chosen = {key: settings.get(key, _default(key)) for key in DECISIVE}
    features = chosen["net.features"]
    backbone = backbone_shapes(net, features)
    channels, head_channels = backbone.channels[-1], backbone.head_channels
    parts: dict[str, nn.Module] = {}
    # A layer that a damaged file lacks has 0 rows, and is reported later.
    classes, anchors, width = (max(number, 1) for number in numbers)
    with shape_only():
        if features == "fpn":
            parts["pyramid"] = pyramid = FeaturePyramid(
                backbone.channels,
                chosen["net.fpn_channels"],
                strides=backbone.strides,
                norm=chosen["net.fpn_norm"],
                coarser=chosen["net.fpn_coarser"],
                coarser_by=chosen["net.fpn_coarser_by"],
                finest=chosen["net.fpn_finest"],
            )
            channels = pyramid.channels
        if chosen["net.detector"] == "retinanet":
            parts["dense_head.predictor"] = DensePredictor(
                channels,
                anchors,
                classes,
                convs=chosen["dense.convs"],
                norm=chosen["dense.norm"],
            )
            return backbone.shapes | _shapes(parts)
        cascade = chosen["head.cascade"]
        bodies, predictors = ["region_head"], ["box_head.predictor"]
        if cascade:
            stages = range(1 + len(cascade))
            bodies = [f"box_head.body.{k}" for k in stages]
            predictors = [f"box_head.stage.{k}.predictor" for k in stages]
        if features != "c4":
            region_head = RegionHead(
                channels,
                chosen["pooling.size"],
                convs=chosen["head.convs"],
                conv_channels=chosen["head.conv_channels"],
                fcs=chosen["head.fcs"],
                fc_channels=chosen["head.fc_channels"],
                norm=chosen["head.norm"],
            )
            head_channels = region_head.out_channels
            parts |= dict.fromkeys(bodies, region_head)
        parts["rpn.head"] = RPNPredictor(
            channels, width, anchors, convs=chosen["rpn.convs"]
        )
        agnostic = chosen["head.class_agnostic"] or bool(cascade)
        predictor = BoxPredictor(head_channels, classes, class_agnostic=agnostic)
        parts |= dict.fromkeys(predictors, predictor)
        maps = head_channels if features == "c4" else channels
        parts |= _instance_heads(chosen, maps, channels, classes)
    return backbone.shapes | _shapes(parts)


def _instance_heads(
    chosen: Mapping[str, Any], maps: int, channels: int, classes: int
) -> dict[str, nn.Module]:
    """Build the heads of masks, on ``maps`` channels, and of keypoints."""
    parts: dict[str, nn.Module] = {}
    if chosen["mask.enabled"]:
        width = chosen["mask.channels"]
        parts["mask_head.layers"] = MaskLayers(
            maps, width, convs=chosen["mask.convs"], norm=chosen["mask.norm"]
        )
        rows = 1 if chosen["mask.class_agnostic"] else classes
        parts["mask_head.predictor"] = MaskPredictor(width, rows)
    if chosen["keypoint.enabled"]:
        parts["keypoint_head.layers"] = KeypointLayers(
            channels,
            chosen["keypoint.channels"],
            convs=chosen["keypoint.convs"],
            keypoints=chosen["keypoint.count"],
        )
    return parts


def _default(key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(Config(), section), name)


def _shapes(parts: Mapping[str, nn.Module]) -> dict[str, Shape]:
    return {
        f"{prefix}.{key}": tuple(tensor.shape)
        for prefix, part in parts.items()
        for key, tensor in part.state_dict().items()
    }
