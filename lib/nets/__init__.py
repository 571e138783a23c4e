"""Layers with learned weights: backbones and heads."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast, get_args

from ..kernels.convolution import is_depthwise
from .backbone import Backbone, FeatureKind
from .input_channels import widen
from .layers import NormKind
from .mobilenet_v1 import MobileNetV1
from .mobilenet_v2 import MobileNetV2
from .mobilenet_v3 import MobileNetV3
from .resnet import ResNet, Style
from .vgg import VGG16

__all__ = ["BACKBONES", "Backbone", "FeatureKind", "build_backbone", "is_depthwise"]


_TIMM = "timm/"  # before the name of a model of timm


@dataclass(frozen=True)
class _Options:
    kind: FeatureKind
    style: Style
    norm: NormKind
    head_stride: int
    dropout: float


def _resnet(
    depth: int, groups: int = 1, group_width: int = 64
) -> Callable[[_Options], Backbone]:
    def build(o: _Options) -> Backbone:
        return ResNet(
            depth,
            kind=o.kind,
            style=o.style,
            norm=o.norm,
            head_stride=o.head_stride,
            groups=groups,
            group_width=group_width,
        )

    return build


def _vgg16(o: _Options) -> Backbone:
    if o.head_stride != 1:
        raise ValueError(
            f"head_stride: expected 1 for vgg16, whose head is fully connected, "
            f"found {o.head_stride}"
        )
    return VGG16(kind=o.kind, dropout=o.dropout)


def _mobile(o: _Options) -> Backbone:
    return MobileNetV1(kind=o.kind, norm=o.norm, head_stride=o.head_stride)


def _mobile_v2(o: _Options) -> Backbone:
    return MobileNetV2(kind=o.kind, norm=o.norm, head_stride=o.head_stride)


def _mobile_v3(o: _Options) -> Backbone:
    return MobileNetV3(kind=o.kind, norm=o.norm, head_stride=o.head_stride)


BACKBONES: dict[str, Callable[[_Options], Backbone]] = {
    "vgg16": _vgg16,
    **{f"res{depth}": _resnet(depth) for depth in (18, 34, 50, 101, 152)},
    "resx101": _resnet(101, groups=32, group_width=8),
    "mobile": _mobile,
    "mobile_v2": _mobile_v2,
    "mobile_v3": _mobile_v3,
}


def _timm(name: str) -> Callable[[_Options], Backbone]:
    try:
        from .timm_backbone import TimmBackbone
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ValueError(
            f"net {name} needs timm, which is not installed; pip install "
            "'faster-rcnn[timm]' (or pip install timm)"
        ) from error
    return lambda o: TimmBackbone(name.removeprefix(_TIMM), kind=o.kind, norm=o.norm)


def build_backbone(
    name: str,
    *,
    features: str = "c4",
    in_channels: int = 3,
    style: str,
    norm: str,
    fixed_blocks: int | None,
    head_stride: int,
    dropout: float,
) -> Backbone:
    """Build a backbone by its name, with random weights.

    Args:
        name: a key of `BACKBONES`, or ``timm/`` with the name of a model of timm.
        features: see `FeatureKind`.
        in_channels: channels of the images.
        style: where ResNet's bottlenecks have their stride, "pytorch" (in the 3x3) or
            "caffe" (in the 1x1). Ignored by other nets.
        norm: "frozen" (stored statistics, not trained) or "batch" (trained). Ignored by
            VGG16, which has no norms.
        fixed_blocks: number of frozen blocks of shared layers, 0 for none; if None, the
            default of the architecture.
        head_stride: stride of the head's first layer, 1 or 2. Ignored by timm's nets,
            which keep their own.
        dropout: dropout probability in VGG16's head, 0 <= dropout < 1.

    Raises:
        ValueError: an argument is not one of the values above.
    """
    if name not in BACKBONES and not name.startswith(_TIMM):
        near = get_close_matches(name, BACKBONES, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"net: expected one of {', '.join(BACKBONES)}, found {name!r}{hint}"
        )
    for key, value, allowed in (
        ("style", style, get_args(Style)),
        ("norm", norm, get_args(NormKind)),
        ("head_stride", head_stride, (1, 2)),
    ):
        if value not in allowed:
            expected = " or ".join(str(choice) for choice in allowed)
            raise ValueError(f"{key}: expected {expected}, found {value!r}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: expected 0 <= dropout < 1, found {dropout}")
    build = _timm(name) if name.startswith(_TIMM) else BACKBONES[name]
    backbone = build(
        _Options(
            cast(FeatureKind, features),
            cast(Style, style),
            cast(NormKind, norm),
            head_stride,
            dropout,
        )
    )
    if in_channels != 3:
        widen(backbone, in_channels)
    backbone.freeze(
        backbone.default_fixed_blocks if fixed_blocks is None else fixed_blocks
    )
    return backbone
