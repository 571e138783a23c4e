"""Layouts: the names that weights have in the files of each program.

A layout gives every key of our state dict its name in a file. A file is recognised by
the layout with which it shares the most names, and must then match it exactly.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from types import MappingProxyType
from typing import Any

from ..config.settings import NET_NAMES
from . import detectron, detectron2, torchvision
from .checkpoint import CheckpointError
from .imported import BATCH_EPS, Layout, Numbers, Origin
from .state_shapes import backbone_shapes, detector_shapes

_FAMILY_HEADS = {
    "rpn.head.conv": "rpn_net",
    "rpn.head.scores": "rpn_cls_score_net",
    "rpn.head.deltas": "rpn_bbox_pred_net",
    "box_head.predictor.scores": "cls_score_net",
    "box_head.predictor.deltas": "bbox_pred_net",
}
_FAMILY_PREFIX = {"vgg16": "vgg.", "mobile": "mobilenet."}  # ResNets: resnet.
_CLASSIFIERS = {
    "vgg16": ("classifier.6.",),
    "mobile": ("classifier.", "fc."),
    "mobile_v2": ("classifier.",),
    "mobile_v3": ("classifier.",),
}  # ResNets: fc.
_NO_CLASSIFIER = "classifier of whole images, which a detector does not have"
_DETECTRON2_NAMES = {
    "cascade": "FPN Cascade R-CNN",
    "mask_cascade": "FPN Cascade Mask R-CNN",
    "retinanet": "FPN RetinaNet",
}
_LONG_NAMES = {
    "mobile": "mobilenet_v1",
    "mobile_v2": "mobilenet_v2",
    "mobile_v3": "mobilenet_v3_large",
    "resx101": "resnext101_32x8d",
}
_LEAST_SHARE = 0.02  # least share of the names that a file and its layout share
_EPS = {"mobile_v3": 1e-3}  # of torchvision's classification weights


def long_name(net: str) -> str:
    """Return torchvision's name of a net."""
    return _LONG_NAMES.get(net, net.replace("res", "resnet"))


@cache
def layouts() -> tuple[Layout, ...]:
    """Return all supported layouts except checkpoints of this program."""
    return tuple(layout for net in NET_NAMES for layout in _layouts_of(net))


@cache
def own_layouts() -> tuple[Layout, ...]:
    """Return detectors of this program at stride 16, one per net, to recognise nets."""
    return tuple(own_layout(net, {}) for net in NET_NAMES)


def own_layout(net: str, settings: Mapping[str, Any]) -> Layout:
    """Return the layout of a detector of this program with the given settings."""
    kind = "checkpoint of this program"
    return _layout(kind, "own", net, lambda key: key, {}, settings)


def _layouts_of(net: str) -> Iterator[Layout]:
    kind = f"{long_name(net)} classification weights"
    classifier = dict.fromkeys(_CLASSIFIERS.get(net, ("fc.",)), _NO_CLASSIFIER)

    def plain(key: str) -> str:
        return key.removeprefix("backbone.")

    def old_vgg(key: str) -> str:
        # Without reshaping layers, dropout came before each layer.
        key = plain(key).replace("classifier.3.", "classifier.4.")
        return key.replace("classifier.0.", "classifier.1.")

    eps = _EPS.get(net, BATCH_EPS)
    yield _layout(kind, "classification", net, plain, classifier, eps=eps)
    if net == "vgg16":
        old = f"{kind} with the layers named as in Caffe's and the oldest torchvision's"
        yield _layout(old, "classification", net, old_vgg, classifier)
    if net == "mobile":
        prefixed = f"{kind} of the family"
        yield _layout(
            prefixed,
            "classification",
            net,
            lambda k: f"features.{plain(k)}",
            classifier,
        )
    if net not in ("mobile_v2", "mobile_v3", "resx101"):
        prefix = _FAMILY_PREFIX.get(net, "resnet.")
        yield _layout(
            f"detector of tf-faster-rcnn's PyTorch port with {long_name(net)}",
            "family",
            net,
            lambda key: _family_name(key, prefix),
            {prefix + start: reason for start, reason in classifier.items()},
        )
    yield from _torchvisions(net)
    yield from _detectron2s(net)
    yield from _detectrons(net)


def _torchvisions(net: str) -> Iterator[Layout]:
    for name, (its_net, settings, with_old) in torchvision.DETECTORS.items():
        if its_net != net:
            continue
        for old in (False, True) if with_old else (False,):
            yield _layout(
                f"torchvision {name} detector",
                "torchvision",
                net,
                partial(
                    torchvision.torchvision_name,
                    old=old,
                    convs=settings.get("head.convs", 0),
                ),
                {},
                settings,
            )


def _detectron2s(net: str) -> Iterator[Layout]:
    for features, settings in detectron2.SETTINGS.items():
        if net in detectron2.NETS[features]:
            name = _DETECTRON2_NAMES.get(features, features.upper().replace("_", " "))
            yield _layout(
                f"Detectron2 {_short_name(net)}-{name} detector",
                "detectron2",
                net,
                partial(detectron2.detectron2_name, features=features),
                detectron2.UNUSED,
                settings | {"net.style": detectron2.style_of(net)},
            )


def _detectrons(net: str) -> Iterator[Layout]:
    if net not in detectron.NETS:
        return
    style = {"net.style": detectron2.style_of(net)}
    for features, settings in detectron.SETTINGS.items():
        if features.endswith("fpn") or net != "resx101":
            name = features.upper().replace("_", " ")
            yield _layout(
                f"Detectron {_short_name(net)}-{name} detector",
                "detectron",
                net,
                partial(detectron.detectron_name, net=net, features=features),
                detectron.UNUSED,
                settings | style,
            )
    yield _layout(
        f"Caffe2 {long_name(net)} classification weights",
        "detectron",
        net,
        partial(detectron.detectron_name, net=net, features="c4"),
        detectron.UNUSED,
        style,
        backbone_only=True,
    )


def _short_name(net: str) -> str:
    return {"resx101": "X101"}.get(net, net.replace("res", "R"))


def _family_name(key: str, prefix: str) -> str:
    layer, _, part = key.rpartition(".")
    if layer in _FAMILY_HEADS:
        return f"{_FAMILY_HEADS[layer]}.{part}"
    return prefix + key.removeprefix("backbone.")


def _layout(
    kind: str,
    origin: Origin,
    net: str,
    name: Callable[[str], str | None],
    unused: Mapping[str, str],
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    eps: float = BATCH_EPS,
    backbone_only: bool = False,
) -> Layout:
    if origin == "classification" or backbone_only:
        keys = backbone_shapes(net).shapes
    else:
        keys = detector_shapes(net, settings, Numbers(1, 1, 1))
    names = {key: name(key) for key in keys}
    return Layout(
        kind,
        origin,
        net,
        {key: there for key, there in names.items() if there is not None},
        unused,
        settings,
        eps,
        backbone_only or origin == "classification",
    )


def nearest_layout(
    tensors: Mapping[str, object], choices: Sequence[Layout], *, source: str
) -> Layout:
    """Find the layout that shares the most names with a file.

    Of layouts with the same names, such as those of ResNet-101 and ResNeXt-101, it is
    the one with the file's shapes.

    Raises:
        CheckpointError: no layout shares more than accidental names.
    """

    def share(layout: Layout) -> float:
        known = set(layout.names.values())
        names = {n for n in tensors if not n.startswith(tuple(layout.unused) or "\0")}
        return len(known & names) / len(known | names)

    def fitting(layout: Layout) -> int:
        shapes = backbone_shapes(layout.net).shapes
        if not layout.backbone_only:
            shapes = detector_shapes(layout.net, layout.settings, Numbers(1, 1, 1))
        return sum(
            getattr(tensors.get(layout.names.get(key, "")), "shape", None) == shape
            for key, shape in shapes.items()
        )

    shares = [share(layout) for layout in choices]
    tied = [i for i, value in enumerate(shares) if value == max(shares)]
    index = tied[0]
    if len(tied) > 1:
        index = max(tied, key=lambda i: fitting(choices[i]))
    best = choices[index]
    if shares[index] < _LEAST_SHARE:
        found = ", ".join(list(tensors)[:3]) or "nothing"
        raise CheckpointError(
            f"{source}: expected weights of one of {', '.join(NET_NAMES)} named by "
            "torchvision, the family's PyTorch port, Detectron, Detectron2 or this "
            f"program; found {len(tensors)} entries ({found}, ...). Give one of those"
        )
    return best
