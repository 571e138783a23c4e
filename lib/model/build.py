"""Build a detector from a configuration."""

import torch
from torch import nn

from ..config.settings import Config
from ..nets import build_backbone
from ..nets.backbone import Backbone
from ..nets.fpn import FeaturePyramid
from ..nets.layers import Norm
from ..nets.region_head import RegionHead
from .external_proposals import ExternalProposals
from .heads.box_head import BoxHead
from .heads.roi_features import LastStage, RoIFeatures, pooled_strides
from .network import Network
from .normalisation import NORMALISATIONS
from .region_proposals import RegionProposalNetwork
from .two_stage import TwoStage


def build_detector(config: Config, num_classes: int) -> TwoStage:
    """Build the detector that a configuration describes, with random weights.

    Args:
        config: the run's configuration.
        num_classes: C, background included.

    Returns:
        Faster R-CNN or, by ``net.modules``, one of its two stages alone.
    """
    net = config.net
    pretrained = net.weights != "none"
    backbone = _backbone(config)
    pyramid = region_head = None
    channels, strides = backbone.channels[-1], backbone.strides
    if net.features == "fpn":
        pyramid = FeaturePyramid(
            backbone.channels,
            net.fpn_channels,
            strides=strides,
            norm=net.fpn_norm,
        )
        channels, strides = pyramid.channels, pyramid.strides
    if net.modules == "rpn":
        remove_head_layers(backbone)
    elif net.features != "c4":
        region_head = build_region_head(config, channels)
    proposer: RegionProposalNetwork | ExternalProposals = ExternalProposals()
    if net.modules != "fast_rcnn":
        proposer = RegionProposalNetwork(
            channels,
            strides,
            anchors=config.anchors,
            boxes=config.boxes,
            rpn=config.rpn,
            box_gradient=config.pooling.box_gradient,
        )
    pooled = pooled_strides(backbone.strides)
    heads = {}
    if net.modules != "rpn":
        regions = RoIFeatures(
            region_head or LastStage(backbone),
            pooling=config.pooling,
            strides=pooled,
            lift=backbone.lift if region_head is None else None,
        )
        heads["box_head"] = BoxHead(
            regions, num_classes, boxes=config.boxes, head=config.head
        )
    model = TwoStage(
        backbone,
        pyramid,
        proposer,
        heads,
        # Pretrained weights bring their own normalisation; see `load_initial_weights`.
        normalisation=NORMALISATIONS[
            "torchvision" if net.normalisation == "auto" else net.normalisation
        ],
        region_head=region_head,
    )
    if pyramid is not None and model.reads_proposals:
        # Maps that no region is pooled from serve only the RPN.
        pyramid.output[len(pooled) :].requires_grad_(False)
    if net.fixed_trunk and pretrained:
        freeze_trunk(model)
    return model.to(memory_format=torch.channels_last)


def _backbone(config: Config) -> Backbone:
    net = config.net
    pretrained = net.weights != "none"
    norm = net.norm
    if norm == "auto":
        norm = "frozen" if pretrained else "batch"
    return build_backbone(
        net.name,
        features=net.features,
        style=net.style,
        norm=norm,
        fixed_blocks=net.fixed_blocks if pretrained else 0,
        head_stride=net.head_stride,
        dropout=net.dropout,
    )


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


def remove_head_layers(backbone: Backbone) -> None:
    """Remove the backbone's layers that only a C4 head uses."""
    trunk = {
        id(parameter)
        for block in backbone.blocks()
        for module in block
        for parameter in module.parameters()
    }

    def drop(parent: nn.Module) -> None:
        for name, child in parent.named_children():
            own = {id(parameter) for parameter in child.parameters()}
            if own and not own & trunk:
                # Backbones index their layers: an empty module keeps the indices.
                setattr(parent, name, nn.Identity())
            elif own - trunk:
                drop(child)

    drop(backbone)


def freeze_trunk(model: Network) -> None:
    """Freeze the layers that both modules share: the trunk and the pyramid."""
    model.backbone.freeze(len(model.backbone.blocks()))
    if model.pyramid is not None:
        model.pyramid.requires_grad_(False)
        for part in model.pyramid.modules():
            if isinstance(part, Norm):
                part.freeze()
