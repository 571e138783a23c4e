"""Table of the published weights that this program reads.

Addresses, hashes and results are those of the publishers; none was measured here. Facts
that a publisher does not state are None.
"""

import difflib

from ..checkpoint import CheckpointError
from .entry import (
    Entry,
    by_hand,
    detectron2,
    detectron2_on_coco,
    torchvision_backbone,
    torchvision_detector,
)

FAMILY_DETECTORS = "https://drive.google.com/open?id=0B7fNdx_jAqhtNE10TDZDbFRuU0E"
FAMILY_RESNETS = "https://github.com/ruotianluo/pytorch-resnet"
FAMILY_MOBILE = "https://drive.google.com/open?id=0B7fNdx_jAqhtZGJvZlpVeDhUN1k"

_VGG_CAFFE = Entry(
    name="family/vgg16_caffe",
    kind="backbone",
    file="vgg16-00b39a1b.pth",
    page="https://github.com/jcjohnson/pytorch-vgg",
    licence="not stated",
    net="vgg16",
    normalisation="caffe",
    reader="Caffe classification",
    url="https://s3-us-west-2.amazonaws.com/jcjohns-models/vgg16-00b39a1b.pth",
)

_VOC07 = "mAP, VOC 2007 test, trained on 07+12"
_MINIVAL = "box AP, COCO minival"

_ALL = (
    torchvision_backbone("vgg16", "vgg16", "397923af", 527.796, 71.592),
    torchvision_backbone("resnet18", "res18", "f37072fd", 44.661, 69.758),
    torchvision_backbone("resnet34", "res34", "b627a593", 83.275, 73.314),
    torchvision_backbone("resnet50", "res50", "0676ba61", 97.781, 76.130),
    torchvision_backbone("resnet101", "res101", "63fe2227", 170.511, 77.374),
    torchvision_backbone("resnet152", "res152", "394f9c45", 230.434, 78.312),
    torchvision_backbone("resnext101_32x8d", "resx101", "8ba56ff5", 339.586, 79.312),
    torchvision_backbone("mobilenet_v2", "mobile_v2", "b0353104", 13.555, 71.878),
    torchvision_backbone("mobilenet_v3_large", "mobile_v3", "8738ca79", 21.114, 74.042),
    torchvision_detector("resnet50_fpn", "_coco-258fb6c6", "res50", 159.743, 37.0),
    torchvision_detector("resnet50_fpn_v2", "_coco-dd69338a", "res50", 167.104, 46.7),
    torchvision_detector(
        "mobilenet_v3_large_fpn", "-fb6a3cc7", "mobile_v3", 74.239, 32.8
    ),
    torchvision_detector(
        "mobilenet_v3_large_320_fpn", "-907ea3f9", "mobile_v3", 74.239, 22.8
    ),
    detectron2("R-50", "ImageNetPretrained/MSRA/R-50.pkl", "res50", "backbone"),
    detectron2("R-101", "ImageNetPretrained/MSRA/R-101.pkl", "res101", "backbone"),
    detectron2(
        "X-101-32x8d",
        "ImageNetPretrained/FAIR/X-101-32x8d.pkl",
        "resx101",
        "backbone",
        normalisation="torchvision",
    ),
    detectron2_on_coco(
        "faster_rcnn_R_50_C4_1x",
        "137257644/model_final_721ade.pkl",
        net="res50",
        reader="C4",
        ap=35.7,
    ),
    detectron2_on_coco(
        "faster_rcnn_R_50_C4_3x",
        "137849393/model_final_f97cb7.pkl",
        net="res50",
        reader="C4",
        ap=38.4,
    ),
    detectron2_on_coco(
        "faster_rcnn_R_101_C4_3x",
        "138204752/model_final_298dad.pkl",
        net="res101",
        reader="C4",
        ap=41.1,
    ),
    detectron2_on_coco(
        "faster_rcnn_R_50_DC5_1x",
        "137847829/model_final_51d356.pkl",
        net="res50",
        reader="DC5",
        ap=37.3,
    ),
    detectron2_on_coco(
        "faster_rcnn_R_50_DC5_3x",
        "137849425/model_final_68d202.pkl",
        net="res50",
        reader="DC5",
        ap=39.0,
    ),
    detectron2_on_coco(
        "faster_rcnn_R_101_DC5_3x",
        "138204841/model_final_3e0943.pkl",
        net="res101",
        reader="DC5",
        ap=40.6,
    ),
    detectron2_on_coco(
        "faster_rcnn_R_50_FPN_1x",
        "137257794/model_final_b275ba.pkl",
        net="res50",
        reader="FPN",
        ap=37.9,
    ),
    detectron2_on_coco(
        "faster_rcnn_R_50_FPN_3x",
        "137849458/model_final_280758.pkl",
        net="res50",
        reader="FPN",
        ap=40.2,
    ),
    detectron2_on_coco(
        "faster_rcnn_R_101_FPN_3x",
        "137851257/model_final_f6e8b1.pkl",
        net="res101",
        reader="FPN",
        ap=42.0,
    ),
    detectron2_on_coco(
        "faster_rcnn_X_101_32x8d_FPN_3x",
        "139173657/model_final_68b088.pkl",
        net="resx101",
        reader="FPN",
        ap=43.0,
    ),
    detectron2(
        "voc_faster_rcnn_R_50_C4",
        "PascalVOC-Detection/faster_rcnn_R_50_C4/142202221/model_final_b1acc2.pkl",
        "res50",
        "C4",
    ),
    _VGG_CAFFE,
    by_hand("resnet50_caffe", "backbone", "res50", FAMILY_RESNETS, ""),
    by_hand("resnet101_caffe", "backbone", "res101", FAMILY_RESNETS, ""),
    by_hand("resnet152_caffe", "backbone", "res152", FAMILY_RESNETS, ""),
    by_hand("mobilenet_v1", "backbone", "mobile", FAMILY_MOBILE, ""),
    by_hand("vgg16_voc0712", "detector", "vgg16", FAMILY_DETECTORS, f"75.3 {_VOC07}"),
    by_hand("res101_voc0712", "detector", "res101", FAMILY_DETECTORS, f"79.8 {_VOC07}"),
    by_hand("vgg16_coco", "detector", "vgg16", FAMILY_DETECTORS, f"30.1 {_MINIVAL}"),
    by_hand("res50_coco", "detector", "res50", FAMILY_DETECTORS, f"32.4 {_MINIVAL}"),
    by_hand("res101_coco", "detector", "res101", FAMILY_DETECTORS, f"35.4 {_MINIVAL}"),
    by_hand("res152_coco", "detector", "res152", FAMILY_DETECTORS, f"36.7 {_MINIVAL}"),
    by_hand("mobile_coco", "detector", "mobile", FAMILY_DETECTORS, f"21.9 {_MINIVAL}"),
)

ENTRIES = {entry.name: entry for entry in _ALL}
"""Entries by name, in the order of the documentation."""


def find_entry(name: str) -> Entry:
    """Find the entry of a name; the part after the slash is enough.

    Raises:
        CheckpointError: there is none; the message suggests the nearest.
    """
    found = [entry for entry in _ALL if name in (entry.name, _short(entry))]
    if found:
        return found[0]
    names = [*ENTRIES, *map(_short, _ALL)]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "docs/zoo.md lists them"
    raise CheckpointError(
        f"{name} is neither a file nor the name of published weights; {hint}"
    )


def imagenet_entry(net: str) -> Entry:
    """Return torchvision's ImageNet weights of a net.

    Raises:
        CheckpointError: there are none.
    """
    for entry in _ALL:
        if entry.net == net and entry.reader == "torchvision classification":
            return entry
    raise CheckpointError(
        f"there are no ImageNet weights of {net} to download; take mobile_v2, or train "
        f"{net} with --weights FILE (a file of MobileNet v1, see docs/weights.md) or "
        "--weights none"
    )


def _short(entry: Entry) -> str:
    return entry.name.rpartition("/")[2]
