"""Weights while they are being imported, with the facts known about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from torch import Tensor

Origin = Literal[
    "own", "classification", "family", "torchvision", "detectron2", "detectron"
]
Shape = tuple[int, ...]

# Only bottlenecks come in two styles.
WITH_STYLE = ("res50", "res101", "res152", "resx101")

BATCH_EPS = 1e-5
"""Epsilon of all our norms."""


class Layout(NamedTuple):
    """How weights of one net are named by one program.

    Attributes:
        kind: in words.
        origin: which program.
        net: one of `NET_NAMES`.
        names: of each of our keys in the file.
        unused: starts of names that may be there too, and why they are not used.
        settings: ``SECTION.KEY`` and value, of a detector: what its weights need to
            mean what they meant in training.
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


class Numbers(NamedTuple):
    """The sizes of a detector's output layers; C counts the background."""

    num_classes: int
    anchors: int
    rpn_channels: int


@dataclass(frozen=True)
class ImportedWeights:
    """Weights in our names, with all that is known of them.

    Attributes:
        source: where they come from.
        kind: what they are, in words.
        net: one of `NET_NAMES`.
        style: of the ResNet, ``pytorch`` or ``caffe``; None where it does not matter.
        normalisation: the input they expect, a key of `NORMALISATIONS`.
        reason: how that is known.
        state: float32 by the keys of the detector's state dict; of a backbone file only
            those that start with ``backbone.``. Always whole, always for RGB.
        unused: names in the file that are not used, and why.
        used: how many tensors of the file are.
        num_classes: C with background; None for a backbone, as all below.
        anchors: per cell.
        rpn_channels: of the RPN's hidden layer.
        classes: names, background first, where the file tells them.
        settings: ``SECTION.KEY`` and value that a configuration needs for these
            weights to mean what they meant in training.
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
    def full_net(self) -> str:
        """As NET on the command line: ``res50``, and of a pyramid ``res50_fpn``."""
        features = self.settings.get("net.features", "c4")
        return self.net if features == "c4" else f"{self.net}_{features}"
