"""The modules of torchvision's detectors for a recipe; see torchvision_peer.

There are three kinds: a backbone up to stride 16 with the rest of the classification
network as the head (C4), which torchvision lacks; torchvision's own pyramid with two
fully connected layers (FPN); and a pyramid from stride 8 on, for RetinaNet. Outputs are
float32, also under autocast.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from faster_rcnn.config.settings import Config
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet18, resnet50, resnet101
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7
from torchvision.ops.misc import Conv2dNormActivation

_PADDED_TO = 32
"""torchvision's. The anchors' stride is the padded size divided by the map's."""

_RESNETS = {"res18": resnet18, "res50": resnet50, "res101": resnet101}


class Net(NamedTuple):
    """A network in torchvision's parts.

    Attributes:
        backbone: layers up to the shared maps, with torchvision's `out_channels`.
        box_head: module on pooled regions; None for RetinaNet.
        head_channels: length of the vectors that it computes.
        strides: strides of the maps, finest first.
        pooled: number of maps from which regions are pooled.
        blocks: the backbone's modules by block, input first.
        default_fixed_blocks: number of frozen blocks.
    """

    backbone: nn.Module
    box_head: nn.Module | None
    head_channels: int
    strides: tuple[int, ...]
    pooled: int
    blocks: list[list[nn.Module]]
    default_fixed_blocks: int


class _Body(nn.Sequential):
    """The feature map at stride 16, in float32."""

    def __init__(self, children: Mapping[str, nn.Module], out_channels: int) -> None:
        super().__init__(OrderedDict(children))
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to ``(N, C, H / 16, W / 16)``."""
        features: Tensor = super().forward(images)
        return features.float()


class _Tail(nn.Sequential):
    """The last layers of the network, averaged over each region."""

    def __init__(self, children: Mapping[str, nn.Module]) -> None:
        super().__init__(OrderedDict(children))

    def forward(self, pooled: Tensor) -> Tensor:
        """Map ``(M, C, P, P)`` to ``(M, C')``."""
        features: Tensor = super().forward(pooled)
        return features.mean((2, 3))


class _Pyramid(BackboneWithFPN):
    """torchvision's pyramid, in float32."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map ``(N, 3, H, W)`` to the maps by name, finest first."""
        return {name: maps.float() for name, maps in super().forward(x).items()}


class PeerRPNHead(RPNHead):
    """torchvision's head with a 3x3 convolution of any width."""

    def __init__(self, in_channels: int, channels: int, anchors: int) -> None:
        super().__init__(channels, anchors)
        conv = Conv2dNormActivation(in_channels, channels, 3, norm_layer=None)
        nn.init.normal_(conv[0].weight, std=0.01)
        nn.init.zeros_(conv[0].bias)
        self.conv = nn.Sequential(conv)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Compute logits and deltas of each level in float32."""
        logits, deltas = super().forward(features)
        return [x.float() for x in logits], [x.float() for x in deltas]


class PeerPredictor(FastRCNNPredictor):
    """torchvision's output layers."""

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits and deltas of each region in float32."""
        logits, deltas = super().forward(vectors)
        return logits.float(), deltas.float()


class PeerRetinaHead(RetinaNetHead):
    """torchvision's two subnets."""

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """Compute logits and deltas of all anchors in float32."""
        return {name: x.float() for name, x in super().forward(features).items()}


class Unscaled(nn.Module):
    """Stack images that are already normalised and resized."""

    def __init__(self, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.memory_format = memory_format

    def forward(
        self, images: Sequence[Tensor], targets: Any = None
    ) -> tuple[ImageList, Any]:
        """Pad ``(3, h, w)`` images to a common multiple of 32."""
        sizes = [(int(image.shape[1]), int(image.shape[2])) for image in images]
        height, width = (
            -(-max(sides) // _PADDED_TO) * _PADDED_TO
            for sides in zip(*sizes, strict=True)
        )
        batch = images[0].new_zeros(len(images), 3, height, width)
        batch = batch.contiguous(memory_format=self.memory_format)
        for slot, image, (h, w) in zip(batch, images, sizes, strict=True):
            slot[:, :h, :w] = image
        return ImageList(batch, sizes), targets

    def postprocess(self, result: Any, *_: object) -> Any:
        """Return the boxes unchanged."""
        return result


def build_net(config: Config) -> Net:
    """Build backbone and head of a recipe's kind, with random weights.

    Raises:
        ValueError: the backbone or head is not supported.
    """
    name, kind = config.net.name, config.net.features
    if kind == "fpn":
        return _pyramid(config)
    if kind == "c4" and name == "mobile_v2":
        return _mobile_v2(config.net.head_stride)
    if kind == "c4" and name == "res50":
        return _res50(config.net.head_stride)
    raise ValueError(
        "net: expected mobile_v2, res50, mobile_v2_fpn, res18_fpn, res50_fpn or "
        f"res101_fpn, found {config.net.full_name!r}"
    )


def _mobile_v2(head_stride: int) -> Net:
    features = mobilenet_v2(norm_layer=FrozenBatchNorm2d).features
    features[14].conv[1][0].stride = (head_stride, head_stride)
    return Net(
        # Slices keep the names of their members.
        backbone=_Body({"features": features[:14]}, 96),
        box_head=_Tail({"features": features[14:]}),
        head_channels=1280,
        strides=(16,),
        pooled=1,
        blocks=[[feature] for feature in features[:14]],
        default_fixed_blocks=5,
    )


def _res50(head_stride: int) -> Net:
    net = resnet50(norm_layer=FrozenBatchNorm2d)
    children = dict(net.named_children())
    stride = (head_stride, head_stride)
    net.layer4[0].conv2.stride = net.layer4[0].downsample[0].stride = stride
    body = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
    return Net(
        backbone=_Body({name: children[name] for name in body}, 1024),
        box_head=_Tail({"layer4": net.layer4}),
        head_channels=2048,
        strides=(16,),
        pooled=1,
        blocks=[[net.conv1, net.layer1], [net.layer2], [net.layer3]],
        default_fixed_blocks=1,
    )


def _pyramid(config: Config) -> Net:
    name, settings = config.net.name, config.net
    if name != "mobile_v2" and name not in _RESNETS:
        raise ValueError(
            f"net: expected mobile_v2, {', '.join(_RESNETS)} with _fpn, found {name!r}"
        )
    if settings.fpn_norm != "none":
        raise ValueError("torchvision's pyramid has no norms; leave out net.fpn_norm")
    blocks: list[list[nn.Module]]
    if name == "mobile_v2":
        body = mobilenet_v2(norm_layer=FrozenBatchNorm2d).features
        taps, widths = ["3", "6", "13", "18"], [24, 32, 96, 1280]
        blocks, fixed = [[feature] for feature in body], 5
    else:
        body = _RESNETS[name](norm_layer=FrozenBatchNorm2d)
        taps = ["layer1", "layer2", "layer3", "layer4"]
        widths = [body.fc.in_features >> shift for shift in (3, 2, 1, 0)]
        blocks = [[body.conv1, body.layer1], [body.layer2], [body.layer3]]
        blocks, fixed = [*blocks, [body.layer4]], 1
    strides = [4 << i for i in range(len(taps) + settings.fpn_coarser)]
    unused = sum(stride < settings.fpn_finest for stride in strides)
    box_head, head_channels = None, 0
    if config.net.detector != "retinanet":
        box_head, head_channels = _box_head(config), config.head.fc_channels
    return Net(
        backbone=_Pyramid(
            body,
            {tap: str(level) for level, tap in enumerate(taps[unused:])},
            widths[unused:],
            settings.fpn_channels,
            _coarser_levels(config, widths[-1]),
        ),
        box_head=box_head,
        head_channels=head_channels,
        strides=tuple(strides[unused:]),
        pooled=4,
        blocks=blocks,
        default_fixed_blocks=fixed,
    )


def _coarser_levels(config: Config, last: int) -> nn.Module:
    """Build the levels behind a backbone whose last map has so many channels."""
    channels, by = config.net.fpn_channels, config.net.fpn_coarser_by
    number = 1 if by == "subsample" else 2
    if config.net.fpn_coarser != number:
        raise ValueError(
            f"net.fpn_coarser: torchvision's pyramid has {number} with fpn_coarser_by "
            f"{by}, found {config.net.fpn_coarser}"
        )
    if by == "subsample":
        return LastLevelMaxPool()
    return LastLevelP6P7(channels if by == "p5" else last, channels)


def _box_head(config: Config) -> nn.Module:
    head = config.head
    if (head.convs, head.fcs) != (0, 2) or head.cascade:
        raise ValueError(
            "torchvision has one box head of two fully connected layers; leave out "
            "head.convs, head.fcs and head.cascade"
        )
    in_channels = config.net.fpn_channels * config.pooling.size**2
    return TwoMLPHead(in_channels, head.fc_channels)
