"""Entries of the table of published weights, and each publisher's file names."""

from dataclasses import dataclass
from typing import Literal

TORCHVISION = "https://download.pytorch.org/models/"
DETECTRON2 = "https://dl.fbaipublicfiles.com/detectron2/"

_TORCHVISION_LICENCE = (
    "not stated for the weights; torchvision's code: BSD-3-Clause, and its README: the "
    "weights may have terms derived from the data"
)
_DETECTRON2_LICENCE = "CC BY-SA 3.0"
_FAMILY_LICENCE = "not stated for the weights; the port's code: MIT"


@dataclass(frozen=True)
class Entry:
    """One published file.

    Attributes:
        name: origin and the publisher's own name.
        kind: ``backbone`` (ImageNet classification) or ``detector``.
        file: file name in the cache.
        page: page of the publisher that describes it.
        licence: licence of the weights.
        net: our name of the net.
        normalisation: normalisation of the input, a key of `NORMALISATIONS`.
        reader: the importer that reads it.
        url: download address; None if a program cannot download it.
        sha256: hexadecimal, or its first digits; None if not published.
        md5: hexadecimal, or its first digits; None if not published.
        size: bytes to about three digits, for progress and disk space; 0 if not
            published.
        published: the publisher's figure, and what it was measured on.
    """

    name: str
    kind: Literal["backbone", "detector"]
    file: str
    page: str
    licence: str
    net: str
    normalisation: str
    reader: str
    url: str | None = None
    sha256: str | None = None
    md5: str | None = None
    size: int = 0
    published: str | None = None


def torchvision_backbone(
    name: str, net: str, digits: str, megabytes: float, top1: float
) -> Entry:
    """Create an entry of ImageNet weights: digits of the SHA-256, MiB, top-1 in %."""
    file = f"{name}-{digits}.pth"
    return Entry(
        name=f"torchvision/{name}",
        kind="backbone",
        file=file,
        page=f"https://pytorch.org/vision/stable/models/generated/torchvision.models.{name}.html",
        licence=_TORCHVISION_LICENCE,
        net=net,
        normalisation="torchvision",
        reader="torchvision classification",
        url=TORCHVISION + file,
        sha256=digits,
        size=round(megabytes * 2**20),
        published=f"{top1:.1f} % top-1, ImageNet-1K (IMAGENET1K_V1)",
    )


def torchvision_detector(
    form: str, ending: str, net: str, megabytes: float, ap: float
) -> Entry:
    """Create an entry of a Faster R-CNN: suffix of its name, size in MiB, box AP."""
    name = f"fasterrcnn_{form}"
    file = f"{name}{ending}.pth"
    return Entry(
        name=f"torchvision/{name}",
        kind="detector",
        file=file,
        page=f"https://pytorch.org/vision/stable/models/generated/torchvision.models.detection.{name}.html",
        licence=_TORCHVISION_LICENCE,
        net=net,
        normalisation="torchvision",
        reader="torchvision FPN",
        url=TORCHVISION + file,
        sha256=ending.rpartition("-")[2],
        size=round(megabytes * 2**20),
        published=f"{ap} box AP, COCO val2017",
    )


def detectron2(
    name: str,
    path: str,
    net: str,
    reader: str,
    *,
    normalisation: str = "detectron2",
    published: str | None = None,
) -> Entry:
    """Create an entry below Detectron2's address: a detector, or a backbone."""
    digits = path.rpartition("model_final_")[2].removesuffix(".pkl")
    detector = "model_final_" in path
    return Entry(
        name=f"detectron2/{name}",
        kind="detector" if detector else "backbone",
        file=f"detectron2-{name}-{digits}.pkl"
        if detector
        else f"detectron2-{name}.pkl",
        page="https://github.com/facebookresearch/detectron2/blob/main/MODEL_ZOO.md",
        licence=_DETECTRON2_LICENCE,
        net=net,
        normalisation=normalisation,
        reader=f"detectron2 {reader}",
        url=DETECTRON2 + path,
        md5=digits if detector else None,
        published=published,
    )


def detectron2_on_coco(
    name: str, rest: str, *, net: str, reader: str, ap: float
) -> Entry:
    """Create an entry of a Detectron2 model trained on COCO train2017, on val2017."""
    return detectron2(
        name,
        f"COCO-Detection/{name}/{rest}",
        net,
        reader,
        # X101 divides by a deviation; converted to RGB, its input is torchvision's.
        normalisation="torchvision" if net == "resx101" else "detectron2",
        published=f"{ap} box AP, COCO val2017",
    )


def by_hand(
    name: str, kind: Literal["backbone", "detector"], net: str, page: str, figure: str
) -> Entry:
    """Create an entry of the family's PyTorch port, stored in a Google Drive folder."""
    return Entry(
        name=f"family/{name}",
        kind=kind,
        file=f"family-{name}.pth",
        page=page,
        licence=_FAMILY_LICENCE,
        net=net,
        normalisation="caffe",
        reader="family" if kind == "detector" else "Caffe classification",
        published=figure or None,
    )
