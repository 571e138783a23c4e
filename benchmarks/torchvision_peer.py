"""torchvision's own detectors with the network of one of our recipes.

They are Faster, Mask and Keypoint R-CNN, and RetinaNet.

Backbone, pyramid, heads, anchors, RPN, RoIAlign, matching, sampling, losses and
suppression are torchvision's; only the numbers come from the recipe. This module adds
features that torchvision lacks: C4, an RPN whose width differs from its input's,
float32 outputs under autocast (otherwise boxes would be bfloat16), and images that are
not resized again.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
import yaml
from faster_rcnn.config.settings import Config
from faster_rcnn.model.network import Network
from torch import Tensor, nn
from torchvision.models.detection import (
    FasterRCNN,
    KeypointRCNN,
    MaskRCNN,
    RetinaNet,
)
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision_instances import instance_heads, pooler
from torchvision_parts import (
    Net,
    PeerPredictor,
    PeerRetinaHead,
    PeerRPNHead,
    Unscaled,
    build_net,
)

Peer = FasterRCNN | RetinaNet

_RECIPE = Path(__file__).parents[1] / "experiments" / "cfgs" / "torchvision.yml"

CONVENTION: tuple[str, ...] = tuple(
    word
    for section, keys in yaml.safe_load(_RECIPE.read_text()).items()
    for key, value in keys.items()
    for word in (f"{section}.{key}", str(value))
)
"""Settings under which our detections are torchvision's."""

TRAINING = (
    *("rpn.border", "-1"),
    *("rpn.sigma", "3"),
    *("head.sigma", "3"),
    *("head.add_ground_truth", "true"),
    *("head.replacement", "false"),
)
"""Settings under which, besides, our losses are torchvision's."""

RETINANET = (
    *("anchors.spacing", "fitted"),
    *("dense.box_loss", "l1"),
    *("dense.normaliser", "image"),
    *("test.clip_first", "true"),
    *("test.min_size", "0"),
)
"""Settings under which RetinaNet, besides, is torchvision's."""


def build_peer(
    config: Config,
    num_classes: int,
    *,
    memory_format: torch.memory_format = torch.channels_last,
) -> Peer:
    """Build torchvision's detector for a recipe, with random weights and frozen norms.

    Backbone, pyramid and heads, frozen blocks, anchors, RPN width and counts, RoIs per
    image and test thresholds are the recipe's. Matching, sampling, losses,
    initialisation of output layers, the shift of RoIAlign and the centres of anchors
    are torchvision's defaults.

    Args:
        config: configuration of the run; net mobile_v2 or res50, or mobile_v2, res18,
            res50 or res101 with a pyramid, also as RetinaNet and with masks or
            keypoints.
        num_classes: C, background included.
        memory_format: memory format of weights and images.

    Raises:
        ValueError: the net, or its head, is not supported.
    """
    net, fixed = build_net(config), config.net.fixed_blocks
    for block in net.blocks[: net.default_fixed_blocks if fixed is None else fixed]:
        for module in block:
            module.requires_grad_(False)
    anchors = AnchorGenerator(
        tuple(
            tuple(stride * scale for scale in scales)
            for stride, scales in zip(
                net.strides, config.anchors.level_scales(net.strides), strict=True
            )
        ),
        (tuple(config.anchors.ratios),) * len(net.strides),
    )
    build = _retinanet if config.net.detector == "retinanet" else _faster_rcnn
    peer = build(config, num_classes, net, anchors)
    peer.transform = Unscaled(memory_format)
    return peer.to(memory_format=memory_format)


def _faster_rcnn(
    config: Config, num_classes: int, net: Net, anchors: AnchorGenerator
) -> FasterRCNN:
    rpn, head, test = config.rpn, config.head, config.test
    build = FasterRCNN
    if config.mask.enabled:
        build = MaskRCNN
    elif config.keypoint.enabled:
        build = KeypointRCNN
    return build(
        net.backbone,
        rpn_anchor_generator=anchors,
        rpn_head=PeerRPNHead(
            net.backbone.out_channels,
            rpn.channels,
            anchors.num_anchors_per_location()[0],
        ),
        rpn_pre_nms_top_n_train=rpn.train_pre_nms,
        rpn_pre_nms_top_n_test=rpn.test_pre_nms,
        rpn_post_nms_top_n_train=rpn.train_post_nms,
        rpn_post_nms_top_n_test=rpn.test_post_nms,
        rpn_nms_thresh=rpn.nms_threshold,
        rpn_fg_iou_thresh=rpn.positive_overlap,
        rpn_bg_iou_thresh=rpn.negative_overlap,
        rpn_batch_size_per_image=rpn.batch_size,
        rpn_positive_fraction=rpn.fg_fraction,
        box_roi_pool=pooler(config, net.pooled, config.pooling.size),
        box_head=net.box_head,
        box_predictor=PeerPredictor(net.head_channels, num_classes),
        box_score_thresh=test.score_threshold,
        box_nms_thresh=test.nms_threshold,
        box_detections_per_img=test.detections_per_image,
        box_fg_iou_thresh=head.fg_overlap,
        box_bg_iou_thresh=head.bg_overlap_high,
        box_batch_size_per_image=head.rois_per_image,
        box_positive_fraction=head.fg_fraction,
        bbox_reg_weights=tuple(1 / std for std in config.boxes.delta_std),
        **instance_heads(config, net, num_classes),
    )


def _retinanet(
    config: Config, num_classes: int, net: Net, anchors: AnchorGenerator
) -> RetinaNet:
    dense, test = config.dense, config.test
    if dense.convs != 4:
        raise ValueError(
            "torchvision's RetinaNet has four convolutions in each subnet; leave out "
            f"dense.convs, found {dense.convs}"
        )
    head = PeerRetinaHead(
        net.backbone.out_channels,
        anchors.num_anchors_per_location()[0],
        num_classes,
        norm_layer=partial(nn.GroupNorm, 32) if dense.norm == "group" else None,
    )
    head.regression_head._loss_type = dense.box_loss  # as its own v2 does
    return RetinaNet(
        net.backbone,
        num_classes,
        anchor_generator=anchors,
        head=head,
        score_thresh=test.score_threshold,
        nms_thresh=test.nms_threshold,
        detections_per_img=test.detections_per_image,
        fg_iou_thresh=dense.positive_overlap,
        bg_iou_thresh=dense.negative_overlap,
        topk_candidates=dense.pre_nms,
    )


def as_ours(peer: Peer) -> nn.Module:
    """Return torchvision's parts under our names, which set their weight decay."""
    body = peer.backbone
    backbone, new = [body], []
    if isinstance(body, BackboneWithFPN):
        backbone, new = [body.body], [body.fpn]
    if isinstance(peer, RetinaNet):
        new.append(peer.head)
    else:
        heads = dict(peer.roi_heads.named_children())
        (new or backbone).append(heads.pop("box_head"))
        new += [peer.rpn, *heads.values()]
    parts = {"backbone": nn.ModuleList(backbone), "heads": nn.ModuleList(new)}
    return nn.ModuleDict(parts)


def load_classification_weights(peer: Peer, state: Mapping[str, Tensor]) -> None:
    """Load backbone, and C4's head, from a classification network's state dict.

    Raises:
        KeyError: a tensor of the network is not in ``state``.
    """
    if isinstance(peer.backbone, BackboneWithFPN):
        body = peer.backbone.body
        # MobileNet's body is its list of features.
        prefix = "" if hasattr(body, "layer4") else "features."
        body.load_state_dict({key: state[prefix + key] for key in body.state_dict()})
        return
    for part in (peer.backbone, peer.roi_heads.box_head):
        part.load_state_dict({key: state[key] for key in part.state_dict()})


def copy_weights(ours: Network, peer: Peer) -> None:
    """Copy the weights of our detector of the same configuration to torchvision's.

    RetinaNet's subnets and the mask head must have no norms.

    Our RPN scores background and object; torchvision's single logit is their
    difference.
    """
    load_classification_weights(peer, _under(ours, "backbone."))
    if isinstance(peer.backbone, BackboneWithFPN):
        levels = range(len(peer.backbone.fpn.inner_blocks))
        names = {f"lateral.{i}": f"inner_blocks.{i}.0" for i in levels}
        names |= {f"output.{i}": f"layer_blocks.{i}.0" for i in levels}
        if isinstance(peer.backbone.fpn.extra_blocks, LastLevelP6P7):
            names |= {f"down.{i}": f"extra_blocks.p{6 + i}" for i in range(2)}
        _copy(_under(ours, "pyramid."), peer.backbone.fpn, names)
    if isinstance(peer, RetinaNet):
        subnets, names = ("classification_head", "regression_head"), {}
        for kind, subnet in zip(("score", "delta"), subnets, strict=True):
            names |= {f"{kind}_convs.{i}": f"{subnet}.conv.{i}.0" for i in range(4)}
        names["scores"] = "classification_head.cls_logits"
        names["deltas"] = "regression_head.bbox_reg"
        _copy(_under(ours, "dense_head.predictor."), peer.head, names)
        return
    if isinstance(peer.backbone, BackboneWithFPN):
        names = {"fcs.0": "fc6", "fcs.1": "fc7"}
        _copy(_under(ours, "region_head."), peer.roi_heads.box_head, names)
    head = _under(ours, "rpn.head.")
    for kind in ("weight", "bias"):
        background, objects = head[f"scores.{kind}"].chunk(2)
        head[f"scores.{kind}"] = objects - background
    names = {"conv": "conv.0.0", "scores": "cls_logits", "deltas": "bbox_pred"}
    _copy(head, peer.rpn.head, names)
    names = {"scores": "cls_score", "deltas": "bbox_pred"}
    _copy(_under(ours, "box_head.predictor."), peer.roi_heads.box_predictor, names)
    if isinstance(peer, MaskRCNN):
        convs = range(len(peer.roi_heads.mask_head))
        names = {f"layers.convs.{i}": f"mask_head.{i}.0" for i in convs}
        names["layers.deconv"] = "mask_predictor.conv5_mask"
        names["predictor"] = "mask_predictor.mask_fcn_logits"
        heads = nn.ModuleDict(
            (name, peer.roi_heads.get_submodule(name))
            for name in ("mask_head", "mask_predictor")
        )
        _copy(_under(ours, "mask_head."), heads, names)


def _under(model: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Return a state dict's entries whose keys start with ``prefix``, without it."""
    return {
        key.removeprefix(prefix): value
        for key, value in model.state_dict().items()
        if key.startswith(prefix)
    }


def _copy(
    state: Mapping[str, Tensor], part: nn.Module, names: Mapping[str, str]
) -> None:
    """Copy weights and biases by name (``ours: theirs``)."""
    part.load_state_dict(
        {
            f"{theirs}.{kind}": state[f"{name}.{kind}"]
            for name, theirs in names.items()
            for kind in ("weight", "bias")
        }
    )
