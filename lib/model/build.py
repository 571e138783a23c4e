"""Build a detector from a configuration."""

from collections.abc import Sequence
from typing import Any

import torch

from ..config.section import HeadSection
from ..config.settings import Config
from ..layer_utils.anchor_grid import AnchorGrid
from ..layer_utils.roi_pooling import Pooling
from ..nets import build_backbone
from ..nets.backbone import Backbone
from ..nets.fpn import FeaturePyramid
from ..nets.layers import freeze
from ..nets.normalisation import Normalisation, of_pixels
from ..nets.region_head import RegionHead
from ..nets.roi_features import HeadContext, LastStage, RoIFeatures, pooled_strides
from .external_proposals import ExternalProposals
from .heads.box_head import BoxHead
from .heads.cascade_head import CascadeHead
from .heads.head import Head
from .network import Network
from .one_stage import OneStage
from .region_proposals import RegionProposalNetwork
from .retina_head import RetinaHead
from .two_stage import TwoStage


def build_detector(config: Config, num_classes: int) -> Network:
    """Build the detector that a configuration describes, with random weights.

    Args:
        config: the run's configuration.
        num_classes: C, background included.

    Returns:
        Faster R-CNN or, by ``net.modules``, one of its two stages alone; or RetinaNet,
        by ``net.detector``.
    """
    net = config.net
    backbone = _backbone(config)
    backbone.checkpointing = config.train.gradient_checkpointing
    pyramid = None
    if net.features == "fpn":
        pyramid = FeaturePyramid(
            backbone.channels,
            net.fpn_channels,
            strides=backbone.strides,
            norm=net.fpn_norm,
            coarser=net.fpn_coarser,
            coarser_by=net.fpn_coarser_by,
            finest=net.fpn_finest,
        )
    # Pretrained weights bring their own normalisation; see `load_initial_weights`.
    normalisation = of_pixels(net.normalisation, backbone.normalisation, net.statistics)
    model: Network
    if net.detector == "retinanet":
        assert pyramid is not None
        head = RetinaHead(
            pyramid.channels,
            anchor_grid(config, pyramid.strides),
            num_classes,
            boxes=config.boxes,
            dense=config.dense,
        )
        model = OneStage(backbone, pyramid, head, normalisation=normalisation)
    else:
        model = _two_stage(config, num_classes, backbone, pyramid, normalisation)
    model.masks_padding = net.mask_padding
    if net.fixed_shared and net.weights != "none":
        backbone.freeze(len(backbone.blocks()))
        if pyramid is not None:
            freeze(pyramid)
    return model.to(memory_format=torch.channels_last)


def _two_stage(
    config: Config,
    num_classes: int,
    backbone: Backbone,
    pyramid: FeaturePyramid | None,
    normalisation: Normalisation,
) -> TwoStage:
    net, region_head = config.net, None
    channels, strides = backbone.channels[-1], backbone.strides
    if pyramid is not None:
        channels, strides = pyramid.channels, pyramid.strides
    if net.modules == "rpn":
        backbone.remove_head()
    elif net.features != "c4" and not config.head.cascade:
        region_head = build_region_head(config, channels)
    proposer: RegionProposalNetwork | ExternalProposals = ExternalProposals()
    if net.modules != "fast_rcnn":
        proposer = RegionProposalNetwork(
            channels,
            anchor_grid(config, strides),
            boxes=config.boxes,
            rpn=config.rpn,
            box_gradient=config.pooling.box_gradient,
        )
    pooled = pooled_strides([s for s in backbone.strides if s >= strides[0]])
    heads = {}
    if net.modules != "rpn":
        pooling = Pooling(**config.pooling.model_dump())
        slots = max(round(config.head.fg_fraction * config.head.rois_per_image), 1)
        context = HeadContext(backbone, channels, pooled, pooling, num_classes, slots)
        heads = build_heads(config, context, region_head)
    model = TwoStage(
        backbone,
        pyramid,
        proposer,
        heads,
        normalisation=normalisation,
        region_head=region_head,
    )
    if pyramid is not None and model.reads_proposals:
        # Maps that no region is pooled from serve only the RPN.
        pyramid.output[len(pooled) :].requires_grad_(False)
    return model


def anchor_grid(config: Config, strides: Sequence[int]) -> AnchorGrid:
    """Build the anchors of levels of these strides, finest first."""
    anchors = config.anchors
    return AnchorGrid(
        strides,
        anchors.level_scales(strides),
        ratios=anchors.ratios,
        offset=config.boxes.offset,
        centre=anchors.centre,
        rounding=anchors.rounding,
        fitted=anchors.spacing == "fitted",
    )


def _backbone(config: Config) -> Backbone:
    net, pretrained = config.net, config.net.weights != "none"
    auto = "frozen" if pretrained else "batch"
    return build_backbone(
        net.name,
        features=net.features,
        in_channels=net.in_channels,
        style=net.style,
        norm=auto if net.norm == "auto" else net.norm,
        fixed_blocks=net.fixed_blocks if pretrained else 0,
        head_stride=net.head_stride,
        dropout=net.dropout,
    )


def build_heads(
    config: Config, context: HeadContext, region_head: RegionHead | None
) -> dict[str, Head]:
    """Build the box head, or the cascade in its place, and the further heads.

    A further head is one whose settings are a `HeadSection` with ``enabled``; its keys
    start with the section's name.
    """
    backbone, head, c4 = context.backbone, config.head, config.net.features == "c4"
    options: dict[str, Any] = {"pooling": context.pooling, "strides": context.strides}
    common: dict[str, Any] = {"boxes": config.boxes, "head": head}
    heads: dict[str, Head] = {}
    if head.cascade:
        stages = 1 + len(head.cascade)
        bodies = [
            LastStage(backbone) if c4 else build_region_head(config, context.channels)
            for _ in range(stages)
        ]
        cascade = [RoIFeatures(body, gradient=1 / stages, **options) for body in bodies]
        heads["box_head"] = CascadeHead(cascade, context.num_classes, **common)
    else:
        lift = backbone.lift if region_head is None else None
        regions = RoIFeatures(region_head or LastStage(backbone), lift=lift, **options)
        heads["box_head"] = BoxHead(regions, context.num_classes, **common)
    for name, section in config:
        if isinstance(section, HeadSection) and section.enabled:
            heads[f"{name}_head"] = section.kind()(section, config, context)
    return heads


def build_region_head(config: Config, channels: int) -> RegionHead:
    """Build the layers of a head where no stage of the backbone is left for it."""
    head = config.head
    return RegionHead(
        channels,
        config.pooling.size,
        convs=head.convs,
        conv_channels=head.conv_channels,
        fcs=head.fcs,
        fc_channels=head.fc_channels,
        norm=head.norm,
    )
