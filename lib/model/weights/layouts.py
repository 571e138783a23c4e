"""The names that weights have in files of each origin, and what fits them.

A layout gives every key of our state dict its name in a file. A file is recognised by
the layout with which it shares most, and must then fit it wholly.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import torch

from ...nets import build_backbone
from ..checkpoint import CheckpointError
from ..settings import NET_NAMES
from .detectron2 import UNUSED as DETECTRON2_UNUSED
from .detectron2 import detectron2_name
from .structures import Layout, Origin, Shape

HEADS = (
    "rpn.head.conv",
    "rpn.head.scores",
    "rpn.head.deltas",
    "box_head.predictor.scores",
    "box_head.predictor.deltas",
)
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
}  # ResNets: fc.
_NO_CLASSIFIER = "classifier of whole images, which a detector does not have"


class BackboneShapes(NamedTuple):
    """Shapes by our keys, and the channels that the output layers see."""

    shapes: dict[str, Shape]
    channels: int
    head_channels: int


@cache
def backbone_shapes(net: str) -> BackboneShapes:
    """What the state dict of a net's backbone looks like; style makes no difference."""
    with torch.device("meta"):
        backbone = build_backbone(
            net,
            style="pytorch",
            norm="frozen",
            fixed_blocks=0,
            head_stride=1,
            dropout=0,
        )
    state = backbone.state_dict()
    return BackboneShapes(
        {f"backbone.{key}": tuple(value.shape) for key, value in state.items()},
        backbone.channels[-1],
        backbone.head_channels,
    )


def long_name(net: str) -> str:
    """torchvision's name of a net."""
    names = {"mobile": "mobilenet_v1", "mobile_v2": "mobilenet_v2"}
    return names.get(net, net.replace("res", "resnet"))


@cache
def layouts() -> tuple[Layout, ...]:
    """All that can be read, but for checkpoints of this program."""
    return tuple(layout for net in NET_NAMES for layout in _layouts_of(net))


@cache
def own_layouts() -> tuple[Layout, ...]:
    """Checkpoints of this program, one per net."""
    return tuple(
        _layout("checkpoint of this program", "own", net, lambda key: key, {})
        for net in NET_NAMES
    )


def _layouts_of(net: str) -> Iterator[Layout]:
    kind = f"{long_name(net)} classification weights"
    classifier = dict.fromkeys(_CLASSIFIERS.get(net, ("fc.",)), _NO_CLASSIFIER)

    def plain(key: str) -> str:
        return key.removeprefix("backbone.")

    def old_vgg(key: str) -> str:
        # Without the reshaping, dropout came before each layer.
        key = plain(key).replace("classifier.3.", "classifier.4.")
        return key.replace("classifier.0.", "classifier.1.")

    yield _layout(kind, "classification", net, plain, classifier)
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
    if net != "mobile_v2":
        prefix = _FAMILY_PREFIX.get(net, "resnet.")
        yield _layout(
            f"detector of tf-faster-rcnn's PyTorch port with {long_name(net)}",
            "family",
            net,
            lambda key: _family_name(key, prefix),
            {prefix + start: reason for start, reason in classifier.items()},
        )
    if net in ("res50", "res101", "res152"):
        yield _layout(
            f"Detectron2 R{net.removeprefix('res')}-C4 detector",
            "detectron2",
            net,
            detectron2_name,
            DETECTRON2_UNUSED,
        )


def _family_name(key: str, prefix: str) -> str:
    layer, _, part = key.rpartition(".")
    if layer in _FAMILY_HEADS:
        return f"{_FAMILY_HEADS[layer]}.{part}"
    return prefix + key.removeprefix("backbone.")


def _layout(
    kind: str,
    origin: Origin,
    net: str,
    name: Callable[[str], str],
    unused: Mapping[str, str],
) -> Layout:
    keys = list(backbone_shapes(net).shapes)
    if origin != "classification":
        keys += [f"{layer}.{part}" for layer in HEADS for part in ("weight", "bias")]
    return Layout(kind, origin, net, {key: name(key) for key in keys}, unused)


def nearest_layout(
    tensors: Collection[str], choices: Sequence[Layout], *, source: str
) -> Layout:
    """The layout that shares most names with a file.

    Raises:
        CheckpointError: none shares any.
    """

    def likeness(layout: Layout) -> float:
        known = set(layout.names.values())
        names = {n for n in tensors if not n.startswith(tuple(layout.unused) or "\0")}
        return len(known & names) / len(known | names)

    best = max(choices, key=likeness)
    if likeness(best) == 0:
        found = ", ".join(list(tensors)[:3]) or "nothing"
        raise CheckpointError(
            f"{source}: expected weights of one of {', '.join(NET_NAMES)} named by "
            "torchvision, the family's PyTorch port, Detectron2 or this program; found "
            f"{len(tensors)} entries ({found}, ...). Give a file of those"
        )
    return best
