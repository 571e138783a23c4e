"""The backbone: its name on the command line, its features, its initial weights."""

import difflib
import re
from itertools import combinations, product
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, model_validator

from .section import Count, Positive, Section, Share, Whole

NET_NAMES = (
    "vgg16",
    "res18",
    "res34",
    "res50",
    "res101",
    "res152",
    "resx101",
    "mobile",
    "mobile_v2",
    "mobile_v3",
)

TIMM = "timm/"
"""Prefix of the nets of timm, such as ``timm/convnext_atto.d2_in1k``."""

FEATURE_KINDS = ("c4", "dc5", "fpn")
_ADDITIONS = ("cascade", "mask", "keypoint")
_TWO_STAGE = {
    "_".join(added) or "faster_rcnn": "".join(f"{each}_" for each in added)
    for count in range(len(_ADDITIONS) + 1)
    for added in combinations(_ADDITIONS, count)
}
_TIMM_NAME = rf"{TIMM}[a-z0-9][a-z0-9_.]*?"
_OF_TIMM = re.compile(rf"(?P<name>{_TIMM_NAME})(_fpn|_dc5|)$")
DETECTORS = {**_TWO_STAGE, "retinanet": "retina_"}
"""Kinds of detectors, and how NET begins on the command line."""


class Net(NamedTuple):
    """A NET of the command line: ``res50``, ``mask_res50_fpn``, ``retina_res50_fpn``.

    Attributes:
        detector: one of `DETECTORS`.
        name: one of `NET_NAMES`, or ``timm/`` and a model of timm, the backbone.
        features: one of `FEATURE_KINDS`.
    """

    detector: str
    name: str
    features: str

    def __str__(self) -> str:
        """Return NET as on the command line."""
        features = "" if self.features == "c4" else f"_{self.features}"
        return f"{DETECTORS[self.detector]}{self.name}{features}"

    @property
    def prefixes(self) -> list[str]:
        """Return the words before the backbone, then the first two and so on together.

        ``cascade_mask_res50`` has cascade, mask and cascade_mask.
        """
        whole = DETECTORS[self.detector].removesuffix("_")
        words = whole.split("_") if whole else []
        together = ("_".join(words[:count]) for count in range(2, len(words) + 1))
        return [*words, *together]


def named_detector(detector: str, *, mask: bool, keypoint: bool) -> str:
    """Return the one of `DETECTORS` that also names the heads that are enabled.

    Raises:
        ValueError: a one-stage detector has no such heads.
    """
    if detector == "retinanet":
        if mask or keypoint:
            raise ValueError(
                "mask.enabled and keypoint.enabled need regions; found net.detector "
                "retinanet, which has none"
            )
        return detector
    has = {"cascade": "cascade" in detector, "mask": mask, "keypoint": keypoint}
    return "_".join(word for word in _ADDITIONS if has[word]) or "faster_rcnn"


def split_net(net: str) -> Net:
    """Split a command line NET into its parts.

    Raises:
        ValueError: there is no such net; the message names the nearest one.
    """
    within = _OF_TIMM.search(net)
    stand_in = NET_NAMES[0]  # has all kinds of features
    words = net if within is None else net.replace(within["name"], stand_in)
    nets = [
        *map(Net._make, product(_TWO_STAGE, NET_NAMES, FEATURE_KINDS)),
        *(Net("retinanet", name, "fpn") for name in NET_NAMES),
    ]
    known = {str(each): each for each in nets}
    if words not in known:
        near = difflib.get_close_matches(net, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"expected one of {', '.join(NET_NAMES)}, or timm/ and the name of a model "
            "of timm, or one with the suffix _fpn or "
            "_dc5, or with the prefixes cascade_, mask_ and keypoint_, in this order, "
            f"or with the prefix retina_ and the suffix _fpn; found {net!r}{hint}"
        )
    found = known[words]
    return found if within is None else found._replace(name=within["name"])


def _backbone_name(name: str) -> str:
    if name not in NET_NAMES and not re.fullmatch(_TIMM_NAME, name):
        known = ", ".join(map(repr, NET_NAMES))
        raise ValueError(f"expected {known} or timm/ and the name of a model of timm")
    return name


class NetConfig(Section):
    """The backbone, and the source of its initial weights."""

    detector: Literal[tuple(DETECTORS)] = "faster_rcnn"  # type: ignore[valid-type]
    """faster_rcnn; cascade, mask, keypoint and their combinations, whose recipes set
    head.cascade, mask.enabled and keypoint.enabled; or retinanet, which classifies
    anchors in one stage. On the command line NET begins with these words:
    cascade_mask_res50_fpn, retina_res50_fpn. Masks and keypoints are named whenever
    they are enabled."""
    name: Annotated[str, AfterValidator(_backbone_name)] = "res101"
    """One of `NET_NAMES`, or ``timm/`` and a model of timm, which may have the tag of
    its weights: ``timm/convnext_atto.d2_in1k``."""
    features: Literal[FEATURE_KINDS] = "c4"  # type: ignore[valid-type]
    """How the backbone is used: c4, the map at stride 16, with the layers after it as
    the head; dc5, the last map, dilated to stride 16; fpn, a pyramid over the maps at
    strides 4 to 32. On the command line NET ends in it, except for c4: res50_fpn."""
    fpn_channels: Count = 256
    """Channels of every map of the pyramid."""
    fpn_norm: Literal["none", "batch"] = "none"
    """Norm after the convolutions of the pyramid's top-down path."""
    fpn_finest: Count = 4
    """Least stride of a level of the pyramid; RetinaNet begins at 8."""
    fpn_coarser: Whole = 1
    """Number of levels beyond the backbone's."""
    fpn_coarser_by: Literal["subsample", "p5", "c5"] = "subsample"
    """How these are computed: every other cell of the level before; or convolutions of
    stride 2, the first on the pyramid's last map (p5) or the backbone's (c5)."""
    modules: Literal["both", "rpn", "fast_rcnn"] = "both"
    """Which of the two modules (Faster R-CNN, section 3) to use: both, the region
    proposal network alone, or the Fast R-CNN detector alone, on proposals from a file
    (``data.proposals``). See docs/proposals.md."""
    weights: str = "imagenet"
    """``imagenet`` (torchvision's, or timm's for its nets), ``none`` (random), a name
    from docs/zoo.md, or the path of a file."""
    normalisation: Literal["auto", "torchvision", "caffe", "detectron2"] = "auto"
    """Input normalisation that the weights expect; ``auto``: the one recorded with the
    weights, or recognised from them, or timm's for its nets. Any other value must agree
    with that."""
    in_channels: Count = 3
    """Channels of the images; other than 3 with ``pixel_mean`` and ``pixel_std``."""
    pixel_mean: tuple[float, ...] | None = None
    """Mean of each channel, as stored: images are then read with all their channels and
    their full depth, from TIFF, NPY or PNG (docs/channels.md). null: 8-bit RGB."""
    pixel_std: tuple[Positive, ...] | None = None
    """Standard deviation of each channel."""
    first_conv: Literal["mean", "repeat"] = "mean"
    """How weights for RGB serve other channels: each channel gets their ``mean``, or
    that of red, green, blue in turn (``repeat``), scaled so that sums keep their
    size."""
    style: Literal["pytorch", "caffe"] = "pytorch"
    """ResNet variant of the weights: stride in the 3x3 convolution (torchvision), or in
    the 1x1 (Caffe). Other nets have only one variant."""
    norm: Literal["auto", "frozen", "batch"] = "auto"
    """Batch normalisation: ``auto`` freezes it unless the weights are random."""
    fixed_blocks: Whole | None = None
    """Number of leading blocks that are frozen; null: the default of the architecture.
    With random weights no block is frozen."""
    fixed_shared: bool = False
    """Freeze the layers that the two modules share, pyramid included (section 3.2,
    steps 3 and 4); needs weights."""
    mask_padding: bool = True
    """Keep the padding of smaller images zero in every layer, and without anchors, so
    that an image in a batch has the same features and detections as alone. torchvision
    and Detectron2 do not (docs/weights.md)."""
    head_stride: Literal[1, 2] = 1
    """Stride of the stage that serves as the head (ResNet conv5); timm's nets keep
    theirs."""
    dropout: Share = 0.5
    """Dropout probability after fc6 and fc7 of VGG16."""

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Return mean and deviation of channels as stored; None for 8-bit RGB."""
        if self.pixel_mean is None or self.pixel_std is None:
            return None
        return self.pixel_mean, self.pixel_std

    @property
    def raw_channels(self) -> int | None:
        """Return the number of channels that are read as stored; None for 8-bit RGB."""
        return None if self.pixel_mean is None else self.in_channels

    @model_validator(mode="after")
    def _statistics_fit(self) -> "NetConfig":
        mean, std, count = self.pixel_mean, self.pixel_std, self.in_channels
        both = mean is not None and std is not None
        if not both and (mean, std, count) == (None, None, 3):
            return self
        if not both or not len(mean or ()) == len(std or ()) == count:
            raise ValueError(
                f"net.in_channels {count} needs as many numbers in net.pixel_mean and "
                f"net.pixel_std, found {mean} and {std}; frcnn check DATASET "
                "--pixel-statistics measures them"
            )
        return self

    @property
    def detects(self) -> bool:
        """Return whether the network predicts classes: it is more than an RPN."""
        return self.modules != "rpn"

    @property
    def proposes(self) -> bool:
        """Return whether the network makes proposals."""
        return self.modules != "fast_rcnn" and self.detector != "retinanet"

    @property
    def reads_proposals(self) -> bool:
        """Return whether the network needs a file of proposals."""
        return self.modules == "fast_rcnn"

    @property
    def whole(self) -> bool:
        """Return whether the network detects by itself, with both stages."""
        return self.detects and not self.reads_proposals

    @property
    def full_name(self) -> str:
        """NET on the command line: ``res50``, ``res50_fpn``, ``retina_res50_fpn``."""
        return str(Net(self.detector, self.name, self.features))

    @model_validator(mode="after")
    def _one_stage(self) -> "NetConfig":
        if self.detector == "retinanet" and (self.features, self.modules) != (
            "fpn",
            "both",
        ):
            raise ValueError(
                "detector retinanet needs features fpn and modules both; found "
                f"{self.features} and {self.modules}"
            )
        return self
