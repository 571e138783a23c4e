"""The backbone: its name on the command line, its features, its first weights."""

import difflib
from typing import Literal

from .section import Count, Section, Share, Whole

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

FEATURE_KINDS = ("c4", "dc5", "fpn")


def split_net(net: str) -> tuple[str, str]:
    """Backbone and features of a NET of the command line: ``res50_fpn``, ``res50``.

    Raises:
        ValueError: there is none such; the message names the nearest.
    """
    known = {
        f"{name}_{kind}": (name, kind) for name in NET_NAMES for kind in FEATURE_KINDS
    }
    known |= {name: (name, "c4") for name in NET_NAMES}
    if net not in known:
        near = difflib.get_close_matches(net, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"expected one of {', '.join(NET_NAMES)}, or one of them with _fpn or "
            f"_dc5 behind; found {net!r}{hint}"
        )
    return known[net]


class NetConfig(Section):
    """The backbone and where its first weights come from."""

    name: Literal[NET_NAMES] = "res101"  # type: ignore[valid-type]
    features: Literal[FEATURE_KINDS] = "c4"  # type: ignore[valid-type]
    """What is taken of the backbone: the map at stride 16, what follows being the
    head (c4); the last map, at stride 16 by dilation (dc5); or a pyramid of the maps at
    strides 4 to 32 (fpn). NET names it behind the backbone: res50_fpn."""
    fpn_channels: Count = 256
    """Of every map of the pyramid."""
    fpn_norm: Literal["none", "batch"] = "none"
    """What follows the pyramid's convolutions."""
    modules: Literal["both", "rpn", "fast_rcnn"] = "both"
    """Of the two modules (Faster R-CNN, section 3), both, or one alone: the region
    proposal network, or the Fast R-CNN detector on proposals of a file
    (``data.proposals``). docs/proposals.md"""
    weights: str = "imagenet"
    """``imagenet`` (torchvision's), ``none`` (random), a name of docs/zoo.md, or a
    file's path."""
    normalisation: Literal["auto", "torchvision", "caffe", "detectron2"] = "auto"
    """Input the weights expect; ``auto``: what is recorded with the weights, or can be
    told from them. Any other value must agree with that, or is an error."""
    style: Literal["pytorch", "caffe"] = "pytorch"
    """Which ResNet the weights are of: stride in the 3x3 convolution (torchvision), or
    in the 1x1 (Caffe). Other nets have one form only."""
    norm: Literal["auto", "frozen", "batch"] = "auto"
    """Batch normalisation: ``auto`` freezes it unless the weights are random."""
    fixed_blocks: Whole | None = None
    """Leading blocks that are not trained; null: as many as the family fixes. With
    random weights all are trained."""
    fixed_trunk: bool = False
    """Train neither trunk nor pyramid, which the two modules share (section 3.2, steps
    3 and 4); needs weights."""
    head_stride: Literal[1, 2] = 1
    """Stride of the stage that serves as head (ResNet conv5)."""
    dropout: Share = 0.5
    """After fc6 and fc7 of VGG16."""

    @property
    def full_name(self) -> str:
        """As NET on the command line: ``res50``, ``res50_fpn``."""
        return self.name if self.features == "c4" else f"{self.name}_{self.features}"
