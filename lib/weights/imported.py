"""Weights while they are being imported, with the facts known about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from torch import Tensor

from ..config.net_settings import named_detector
from ..config.settings import Net

Origin = Literal[
    "own", "classification", "family", "torchvision", "detectron2", "detectron"
]
Shape = tuple[int, ...]

# Only bottlenecks have two styles.
WITH_STYLE = ("res50", "res101", "res152", "resx101")

BATCH_EPS = 1e-5
"""Epsilon of all our norms."""

MASK_HEAD: dict[str, Any] = {
    "mask.enabled": True,
    "mask.size": 14,
    "mask.convs": 4,
    "mask.channels": 256,
    "mask.norm": "none",
    "mask.class_agnostic": False,
}
"""Settings of the mask head of Mask R-CNN (figure 4), as all programs have it."""

KEYPOINT_HEAD: dict[str, Any] = {
    "keypoint.enabled": True,
    "keypoint.count": 17,
    "keypoint.size": 14,
    "keypoint.convs": 8,
    "keypoint.channels": 512,
}
"""Settings of the keypoint head for COCO's persons (Mask R-CNN, section 5)."""


class Layout(NamedTuple):
    """The names that one program gives the weights of one net.

    Attributes:
        kind: description in words.
        origin: the program.
        net: one of `NET_NAMES`.
        names: name in the file of each of our keys.
        unused: prefixes of names that may also occur, with the reason for ignoring
            them.
        settings: ``SECTION.KEY`` and value for a detector: settings with which its
            weights compute the same as in training.
        eps: epsilon of its backbone's norms.
        backbone_only: whether it has no output layers.
    """

    kind: str
    origin: Origin
    net: str
    names: dict[str, str]
    unused: Mapping[str, str]
    settings: Mapping[str, Any] = MappingProxyType({})
    eps: float = BATCH_EPS
    backbone_only: bool = False

    @property
    def features(self) -> str:
        """Return the part of the backbone that the detector uses, a `FeatureKind`."""
        return str(self.settings.get("net.features", "c4"))

    @property
    def dense(self) -> bool:
        """Return whether the detector classifies anchors, in one stage."""
        return self.settings.get("net.detector") == "retinanet"


class Numbers(NamedTuple):
    """The sizes of a detector's output layers; C counts the background."""

    num_classes: int
    anchors: int
    rpn_channels: int


@dataclass(frozen=True)
class ImportedWeights:
    """Weights under our names, with everything known about them.

    Attributes:
        source: origin of the weights.
        kind: description in words.
        net: one of `NET_NAMES`, or a net of timm.
        style: style of the ResNet, ``pytorch`` or ``caffe``; None for other nets.
        normalisation: normalisation that they expect, a key of `NORMALISATIONS`;
            ``auto``: that of the net, for timm's.
        reason: how the normalisation is known.
        state: float32 by the keys of the detector's state dict; for a backbone file
            only those that start with ``backbone.``. Always complete, always for RGB.
        unused: names in the file that are not used, with the reason.
        used: number of tensors of the file that are used.
        num_classes: C with background; None for a backbone, like all below.
        anchors: anchors per cell.
        rpn_channels: channels of the RPN's hidden layer.
        classes: class names, background first, if the file contains them.
        settings: ``SECTION.KEY`` and value: settings with which these weights compute
            the same as in training.
    """

    source: str
    kind: str
    net: str
    style: str | None
    normalisation: str
    reason: str
    state: dict[str, Tensor]
    unused: dict[str, str]
    used: int
    num_classes: int | None = None
    anchors: int | None = None
    rpn_channels: int | None = None
    classes: tuple[str, ...] | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def of_persons(self) -> bool:
        """Return whether it predicts as many keypoints as COCO's persons have."""
        return self.settings.get("keypoint.count") == 17

    @property
    def full_net(self) -> str:
        """Return NET on the command line: ``res50``, with a pyramid ``res50_fpn``."""
        heads = ("mask", "keypoint")
        detector = named_detector(
            self.settings.get("net.detector", "faster_rcnn"),
            **{head: self.settings.get(f"{head}.enabled", False) for head in heads},
        )
        return str(Net(detector, self.net, self.settings.get("net.features", "c4")))
