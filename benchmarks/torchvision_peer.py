"""torchvision's own Faster R-CNN with the network that one of our recipes describes.

Body, head, anchors, RPN, RoIAlign, matching, sampling, losses and suppression are all
torchvision's; only the numbers come from the recipe. What is added is what torchvision
lacks for this shape: a body that ends at stride 16 with the rest of the classification
network as head (C4), an RPN of other width than the body, float32 outputs under
autocast (its boxes would be bfloat16 otherwise), and images that are not resized again.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from faster_rcnn.model.config import Config
from faster_rcnn.model.faster_rcnn import FasterRCNN as OurFasterRCNN
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet50
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import AnchorGenerator, RPNHead
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.ops.misc import Conv2dNormActivation

STRIDE = 16
_PADDED_TO = 32
"""torchvision's. The anchors' stride is the padded size divided by the map's."""

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


class _Net(NamedTuple):
    """A classification network cut in two: children by name, body blocks, widths."""

    body: dict[str, nn.Module]
    tail: dict[str, nn.Module]
    blocks: list[list[nn.Module]]
    default_fixed_blocks: int
    channels: int
    tail_channels: int


class _Body(nn.Sequential):
    """Feature map at stride 16, float32."""

    def __init__(self, children: Mapping[str, nn.Module], out_channels: int) -> None:
        super().__init__(OrderedDict(children))
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to ``(N, C, H / 16, W / 16)``."""
        features: Tensor = super().forward(images)
        return features.float()


class _Tail(nn.Sequential):
    """The rest of the network, averaged over each region."""

    def __init__(self, children: Mapping[str, nn.Module]) -> None:
        super().__init__(OrderedDict(children))

    def forward(self, pooled: Tensor) -> Tensor:
        """Map ``(M, C, P, P)`` to ``(M, C')``."""
        features: Tensor = super().forward(pooled)
        return features.mean((2, 3))


class _RPNHead(RPNHead):
    """torchvision's head with a 3x3 convolution of any width."""

    def __init__(self, in_channels: int, channels: int, anchors: int) -> None:
        super().__init__(channels, anchors)
        conv = Conv2dNormActivation(in_channels, channels, 3, norm_layer=None)
        nn.init.normal_(conv[0].weight, std=0.01)
        nn.init.zeros_(conv[0].bias)
        self.conv = nn.Sequential(conv)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Logits and deltas of each level, float32."""
        logits, deltas = super().forward(features)
        return [x.float() for x in logits], [x.float() for x in deltas]


class _Predictor(FastRCNNPredictor):
    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and deltas of each region, float32."""
        logits, deltas = super().forward(vectors)
        return logits.float(), deltas.float()


class _Unscaled(nn.Module):
    """Stacks images that are normalised and resized already."""

    def forward(
        self, images: Sequence[Tensor], targets: Any = None
    ) -> tuple[ImageList, Any]:
        sizes = [(int(image.shape[1]), int(image.shape[2])) for image in images]
        height, width = (
            -(-max(sides) // _PADDED_TO) * _PADDED_TO
            for sides in zip(*sizes, strict=True)
        )
        batch = images[0].new_zeros(len(images), 3, height, width)
        batch = batch.contiguous(memory_format=torch.channels_last)
        for slot, image, (h, w) in zip(batch, images, sizes, strict=True):
            slot[:, :h, :w] = image
        return ImageList(batch, sizes), targets

    def postprocess(self, result: Any, *_: object) -> Any:
        return result


def build_peer(config: Config, num_classes: int) -> FasterRCNN:
    """torchvision's detector for a recipe, with random weights and frozen norms.

    Body and head, fixed blocks, anchors, RPN width and counts, RoIs per image and test
    thresholds are the recipe's. Matching, sampling, losses, initial output layers, the
    shift of RoIAlign and the place of the anchors are torchvision's defaults.

    Args:
        config: of the run; net mobile_v2 or res50.
        num_classes: C, background included.

    Raises:
        ValueError: another net.
    """
    net, rpn, head, test = config.net, config.rpn, config.head, config.test
    parts = _cut(net.name, net.head_stride)
    fixed = net.fixed_blocks
    for block in parts.blocks[: parts.default_fixed_blocks if fixed is None else fixed]:
        for module in block:
            module.requires_grad_(False)
    sizes = tuple(STRIDE * scale for scale in config.anchors.scales)
    anchors = AnchorGenerator((sizes,), (tuple(config.anchors.ratios),))
    peer = FasterRCNN(
        _Body(parts.body, parts.channels),
        rpn_anchor_generator=anchors,
        rpn_head=_RPNHead(
            parts.channels, rpn.channels, anchors.num_anchors_per_location()[0]
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
        box_roi_pool=MultiScaleRoIAlign(
            ["0"], config.pooling.size, config.pooling.sampling_ratio or -1
        ),
        box_head=_Tail(parts.tail),
        box_predictor=_Predictor(parts.tail_channels, num_classes),
        box_score_thresh=test.score_threshold,
        box_nms_thresh=test.nms_threshold,
        box_detections_per_img=test.detections_per_image,
        box_fg_iou_thresh=head.fg_overlap,
        box_bg_iou_thresh=head.bg_overlap_high,
        box_batch_size_per_image=head.rois_per_image,
        box_positive_fraction=head.fg_fraction,
        bbox_reg_weights=tuple(1 / std for std in config.boxes.delta_std),
    )
    peer.transform = _Unscaled()
    peer.to(memory_format=torch.channels_last)
    return peer


def _cut(name: str, head_stride: int) -> _Net:
    stride = (head_stride, head_stride)
    if name == "mobile_v2":
        features = mobilenet_v2(norm_layer=FrozenBatchNorm2d).features
        features[14].conv[1][0].stride = stride
        # Slices keep the names of their members.
        return _Net(
            body={"features": features[:14]},
            tail={"features": features[14:]},
            blocks=[[feature] for feature in features[:14]],
            default_fixed_blocks=5,
            channels=96,
            tail_channels=1280,
        )
    if name == "res50":
        net = resnet50(norm_layer=FrozenBatchNorm2d)
        children = dict(net.named_children())
        net.layer4[0].conv2.stride = net.layer4[0].downsample[0].stride = stride
        stem = ("conv1", "bn1", "relu", "maxpool")
        return _Net(
            body={n: children[n] for n in (*stem, "layer1", "layer2", "layer3")},
            tail={"layer4": net.layer4},
            blocks=[[net.conv1, net.layer1], [net.layer2], [net.layer3]],
            default_fixed_blocks=1,
            channels=1024,
            tail_channels=2048,
        )
    raise ValueError(f"net: expected mobile_v2 or res50, found {name!r}")


def load_classification_weights(peer: FasterRCNN, state: Mapping[str, Tensor]) -> None:
    """Fill body and head from a classification network's state dict.

    Raises:
        KeyError: a tensor of the network is not in ``state``.
    """
    for part in (peer.backbone, peer.roi_heads.box_head):
        part.load_state_dict({key: state[key] for key in part.state_dict()})


def copy_weights(ours: OurFasterRCNN, peer: FasterRCNN) -> None:
    """Give the peer the weights of our detector of the same configuration.

    Our RPN scores background and object; torchvision's one logit is their difference.
    """
    state = ours.state_dict()

    def under(prefix: str) -> dict[str, Tensor]:
        return {
            key.removeprefix(prefix): value
            for key, value in state.items()
            if key.startswith(prefix)
        }

    load_classification_weights(peer, under("backbone."))
    head = under("rpn.head.")
    logits = {}
    for kind in ("weight", "bias"):
        background, objects = head[f"scores.{kind}"].chunk(2)
        logits[f"cls_logits.{kind}"] = objects - background
    peer.rpn.head.load_state_dict(
        logits
        | {f"conv.0.0.{kind}": head[f"conv.{kind}"] for kind in ("weight", "bias")}
        | {f"bbox_pred.{kind}": head[f"deltas.{kind}"] for kind in ("weight", "bias")}
    )
    predictor = under("box_head.predictor.")
    names = {"cls_score": "scores", "bbox_pred": "deltas"}
    peer.roi_heads.box_predictor.load_state_dict(
        {
            f"{theirs}.{kind}": predictor[f"{name}.{kind}"]
            for theirs, name in names.items()
            for kind in ("weight", "bias")
        }
    )
