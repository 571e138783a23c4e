"""Build a detector from a configuration."""

import torch
from torch import nn

from ..config.settings import Config
from ..nets import build_backbone
from ..nets.backbone import Backbone
from ..nets.fpn import FeaturePyramid
from ..nets.layers import Norm
from ..nets.region_head import RegionHead
from .box_head import BoxHead
from .faster_rcnn import FasterRCNN
from .normalisation import NORMALISATIONS
from .region_proposals import RegionProposalNetwork
from .single_module import FastRCNN, ProposalNetwork


def build_detector(config: Config, num_classes: int) -> FasterRCNN:
    """Build the detector that a configuration describes, with random weights.

    Args:
        config: the run's configuration.
        num_classes: C, background included.

    Returns:
        The detector that ``net.modules`` names: `FasterRCNN`, `FastRCNN` or
        `ProposalNetwork`.
    """
    net = config.net
    pretrained = net.weights != "none"
    norm = net.norm
    if norm == "auto":
        norm = "frozen" if pretrained else "batch"
    backbone = build_backbone(
        net.name,
        features=net.features,
        style=net.style,
        norm=norm,
        fixed_blocks=net.fixed_blocks if pretrained else 0,
        head_stride=net.head_stride,
        dropout=net.dropout,
    )
    pyramid = region_head = None
    channels, strides = backbone.channels[-1], backbone.strides
    head_channels = backbone.head_channels
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
        head = config.head
        region_head = RegionHead(
            channels,
            config.pooling.size,
            convs=head.convs,
            conv_channels=head.conv_channels,
            fcs=head.fcs,
            fc_channels=head.fc_channels,
            norm=head.norm,
        )
        head_channels = region_head.out_channels
    rpn = box_head = None
    if net.modules != "fast_rcnn":
        rpn = RegionProposalNetwork(
            channels,
            strides,
            anchors=config.anchors,
            boxes=config.boxes,
            rpn=config.rpn,
            box_gradient=config.pooling.box_gradient,
        )
    if net.modules != "rpn":
        box_head = BoxHead(
            head_channels, num_classes, boxes=config.boxes, head=config.head
        )
    model = DETECTORS[net.modules](
        backbone,
        rpn,
        box_head,
        pooling=config.pooling,
        # Pretrained weights bring their own normalisation; see `load_initial_weights`.
        normalisation=NORMALISATIONS[
            "torchvision" if net.normalisation == "auto" else net.normalisation
        ],
        pyramid=pyramid,
        region_head=region_head,
    )
    if net.fixed_trunk and pretrained:
        freeze_trunk(model)
    return model.to(memory_format=torch.channels_last)


DETECTORS: dict[str, type[FasterRCNN]] = {
    "both": FasterRCNN,
    "rpn": ProposalNetwork,
    "fast_rcnn": FastRCNN,
}
"""By ``net.modules``."""


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


def freeze_trunk(model: FasterRCNN) -> None:
    """Freeze the layers that both modules share: the trunk and the pyramid."""
    model.backbone.freeze(len(model.backbone.blocks()))
    if model.pyramid is not None:
        model.pyramid.requires_grad_(False)
        for part in model.pyramid.modules():
            if isinstance(part, Norm):
                part.freeze()
