"""Table of the published weights that this program reads.

Addresses, hashes and results are those of the publishers; none was measured here. Facts
that a publisher does not state are None.
"""

import difflib

from ..checkpoint import CheckpointError
from .entry import Entry

_TORCHVISION = "https://download.pytorch.org/models/"
_TORCHVISION_PAGE = (
    "https://pytorch.org/vision/stable/models/generated/torchvision.models."
)
_TORCHVISION_LICENCE = (
    "not stated for the weights; torchvision's code: BSD-3-Clause, and its README: the "
    "weights may have terms derived from the data"
)
_DETECTRON2 = "https://dl.fbaipublicfiles.com/detectron2/"
_DETECTRON2_PAGE = (
    "https://github.com/facebookresearch/detectron2/blob/main/MODEL_ZOO.md"
)
_FAMILY_DETECTORS = "https://drive.google.com/open?id=0B7fNdx_jAqhtNE10TDZDbFRuU0E"
_FAMILY_RESNETS = "https://github.com/ruotianluo/pytorch-resnet"
_FAMILY_MOBILE = "https://drive.google.com/open?id=0B7fNdx_jAqhtZGJvZlpVeDhUN1k"
_COCO = "COCO val2017"
_VOC07 = "mAP, VOC 2007 test, trained on 07+12"
_MINIVAL = "box AP, COCO minival"

# Name in torchvision, net, digits of the SHA-256, MiB, top-1 in %.
_TORCHVISION_BACKBONES = (
    ("vgg16", "vgg16", "397923af", 527.796, 71.592),
    ("resnet18", "res18", "f37072fd", 44.661, 69.758),
    ("resnet34", "res34", "b627a593", 83.275, 73.314),
    ("resnet50", "res50", "0676ba61", 97.781, 76.130),
    ("resnet101", "res101", "63fe2227", 170.511, 77.374),
    ("resnet152", "res152", "394f9c45", 230.434, 78.312),
    ("resnext101_32x8d", "resx101", "8ba56ff5", 339.586, 79.312),
    ("mobilenet_v2", "mobile_v2", "b0353104", 13.555, 71.878),
    ("mobilenet_v3_large", "mobile_v3", "8738ca79", 21.114, 74.042),
)
# Name in torchvision, ending of the file's name, MiB, figures.
_TORCHVISION_DETECTORS = (
    ("fasterrcnn_resnet50_fpn", "_coco-258fb6c6", 159.743, "37.0 box AP"),
    ("fasterrcnn_resnet50_fpn_v2", "_coco-dd69338a", 167.104, "46.7 box AP"),
    ("fasterrcnn_mobilenet_v3_large_fpn", "-fb6a3cc7", 74.239, "32.8 box AP"),
    ("fasterrcnn_mobilenet_v3_large_320_fpn", "-907ea3f9", 74.239, "22.8 box AP"),
    ("retinanet_resnet50_fpn", "_coco-eeacb38b", 130.267, "36.4 box AP"),
    ("retinanet_resnet50_fpn_v2", "_coco-5905b1c5", 146.037, "41.5 box AP"),
    ("maskrcnn_resnet50_fpn", "_coco-bf2d0c1e", 169.84, "37.9 box AP, 34.6 mask AP"),
    (
        "maskrcnn_resnet50_fpn_v2",
        "_coco-73cbd019",
        177.219,
        "47.4 box AP, 41.8 mask AP",
    ),
    (
        *("keypointrcnn_resnet50_fpn", "_coco-fc266e95"),
        *(226.054, "54.6 box AP, 65.0 keypoint AP"),
    ),
)
# Name in Detectron2, path, net.
_DETECTRON2_BACKBONES = (
    ("R-50", "MSRA/R-50.pkl", "res50"),
    ("R-101", "MSRA/R-101.pkl", "res101"),
    ("X-101-32x8d", "FAIR/X-101-32x8d.pkl", "resx101"),
)
# Name in Detectron2, job and digits of the MD5, figures.
_DETECTRON2_ON_COCO = (
    ("faster_rcnn_R_50_C4_1x", "137257644/721ade", 35.7),
    ("faster_rcnn_R_50_C4_3x", "137849393/f97cb7", 38.4),
    ("faster_rcnn_R_101_C4_3x", "138204752/298dad", 41.1),
    ("faster_rcnn_R_50_DC5_1x", "137847829/51d356", 37.3),
    ("faster_rcnn_R_50_DC5_3x", "137849425/68d202", 39.0),
    ("faster_rcnn_R_101_DC5_3x", "138204841/3e0943", 40.6),
    ("faster_rcnn_R_50_FPN_1x", "137257794/b275ba", 37.9),
    ("faster_rcnn_R_50_FPN_3x", "137849458/280758", 40.2),
    ("faster_rcnn_R_101_FPN_3x", "137851257/f6e8b1", 42.0),
    ("faster_rcnn_X_101_32x8d_FPN_3x", "139173657/68b088", 43.0),
    ("retinanet_R_50_FPN_1x", "190397773/bfca0b", 37.4),
    ("retinanet_R_50_FPN_3x", "190397829/5bd44e", 38.7),
    ("retinanet_R_101_FPN_3x", "190397697/971ab9", 40.4),
    ("mask_rcnn_R_50_C4_1x", "137259246/9243eb", 36.8, 32.2),
    ("mask_rcnn_R_50_C4_3x", "137849525/4ce675", 39.8, 34.4),
    ("mask_rcnn_R_101_C4_3x", "138363239/a2914c", 42.6, 36.7),
    ("mask_rcnn_R_50_DC5_1x", "137260150/4f86c3", 38.3, 34.2),
    ("mask_rcnn_R_50_DC5_3x", "137849551/84107b", 40.0, 35.9),
    ("mask_rcnn_R_101_DC5_3x", "138363294/0464b7", 41.9, 37.3),
    ("mask_rcnn_R_50_FPN_1x", "137260431/a54504", 38.6, 35.2),
    ("mask_rcnn_R_50_FPN_3x", "137849600/f10217", 41.0, 37.2),
    ("mask_rcnn_R_101_FPN_3x", "138205316/a3ec72", 42.9, 38.6),
    ("mask_rcnn_X_101_32x8d_FPN_3x", "139653917/2d9806", 44.3, 39.5),
    ("cascade_mask_rcnn_R_50_FPN_1x", "138602847/e9d89b", 42.1, 36.4),
    ("cascade_mask_rcnn_R_50_FPN_3x", "144998488/480dd8", 44.3, 38.5),
    ("keypoint_rcnn_R_50_FPN_1x", "137261548/04e291", 53.6, 64.0),
    ("keypoint_rcnn_R_50_FPN_3x", "137849621/a6e10b", 55.4, 65.5),
    ("keypoint_rcnn_R_101_FPN_3x", "138363331/997cc7", 56.4, 66.1),
    ("keypoint_rcnn_X_101_32x8d_FPN_3x", "139686956/5ad38f", 57.3, 66.0),
)
# By the beginning of the name: the folder, the importer unless the name says it, and
# the second figure if there is one.
_DETECTRON2_FOLDERS = {
    "faster": ("COCO-Detection", None, ""),
    "retinanet": ("COCO-Detection", "RetinaNet", ""),
    "mask": ("COCO-InstanceSegmentation", None, "mask AP"),
    "cascade": ("Misc", "cascade", "mask AP"),
    "keypoint": ("COCO-Keypoints", None, "keypoint AP"),
}
# Name, net, page, published figure: files of the family's PyTorch port, by hand.
_FAMILY = (
    ("resnet50_caffe", "res50", _FAMILY_RESNETS, None),
    ("resnet101_caffe", "res101", _FAMILY_RESNETS, None),
    ("resnet152_caffe", "res152", _FAMILY_RESNETS, None),
    ("mobilenet_v1", "mobile", _FAMILY_MOBILE, None),
    ("vgg16_voc0712", "vgg16", _FAMILY_DETECTORS, f"75.3 {_VOC07}"),
    ("res101_voc0712", "res101", _FAMILY_DETECTORS, f"79.8 {_VOC07}"),
    ("vgg16_coco", "vgg16", _FAMILY_DETECTORS, f"30.1 {_MINIVAL}"),
    ("res50_coco", "res50", _FAMILY_DETECTORS, f"32.4 {_MINIVAL}"),
    ("res101_coco", "res101", _FAMILY_DETECTORS, f"35.4 {_MINIVAL}"),
    ("res152_coco", "res152", _FAMILY_DETECTORS, f"36.7 {_MINIVAL}"),
    ("mobile_coco", "mobile", _FAMILY_DETECTORS, f"21.9 {_MINIVAL}"),
)


def _torchvision(
    name: str, ending: str, net: str, mebibytes: float, figure: str, reader: str
) -> Entry:
    backbone = reader == "classification"
    file = f"{name}{ending}.pth"
    return Entry(
        name=f"torchvision/{name}",
        kind="backbone" if backbone else "detector",
        file=file,
        page=f"{_TORCHVISION_PAGE}{'' if backbone else 'detection.'}{name}.html",
        licence=_TORCHVISION_LICENCE,
        net=net,
        normalisation="torchvision",
        reader=f"torchvision {reader}",
        url=_TORCHVISION + file,
        sha256=ending.rpartition("-")[2],
        size=round(mebibytes * 2**20),
        published=figure,
    )


def _detectron2(
    name: str, path: str, net: str, reader: str, figure: str | None = None
) -> Entry:
    digits = path.rpartition("model_final_")[2].removesuffix(".pkl")
    detector = reader != "backbone"
    return Entry(
        name=f"detectron2/{name}",
        kind="detector" if detector else "backbone",
        file=f"detectron2-{name}{f'-{digits}' if detector else ''}.pkl",
        page=_DETECTRON2_PAGE,
        licence="CC BY-SA 3.0",
        net=net,
        # X101 divides by a deviation; converted to RGB, its input is torchvision's.
        normalisation="torchvision" if net == "resx101" else "detectron2",
        reader=f"detectron2 {reader}",
        url=_DETECTRON2 + path,
        md5=digits if detector else None,
        published=figure,
    )


def _detectron2_on_coco(name: str, job: str, *figures: float) -> Entry:
    kind, *_, net, depth = name.replace("_32x8d", "").split("_")[:-2]
    folder, reader, second = _DETECTRON2_FOLDERS[kind]
    measured = [
        f"{ap} {what}" for ap, what in zip(figures, ("box AP", second), strict=False)
    ]
    return _detectron2(
        name,
        f"{folder}/{name}/{job.replace('/', '/model_final_')}.pkl",
        "resx101" if net == "X" else f"res{depth}",
        reader or name.split("_")[-2],
        ", ".join([*measured, _COCO]),
    )


def _family(name: str, net: str, page: str, figure: str | None) -> Entry:
    backbone = figure is None
    return Entry(
        name=f"family/{name}",
        kind="backbone" if backbone else "detector",
        file=f"family-{name}.pth",
        page=page,
        licence="not stated for the weights; the port's code: MIT",
        net=net,
        normalisation="caffe",
        reader="Caffe classification" if backbone else "family",
        published=figure,
    )


_ALL = (
    *(
        _torchvision(
            *(name, f"-{digits}", net, size),
            *(f"{top1:.1f} % top-1, ImageNet-1K (IMAGENET1K_V1)", "classification"),
        )
        for name, net, digits, size, top1 in _TORCHVISION_BACKBONES
    ),
    *(
        _torchvision(
            *(name, ending, "mobile_v3" if "mobilenet" in name else "res50", size),
            *(f"{figures}, {_COCO}", "RetinaNet" if "retinanet" in name else "FPN"),
        )
        for name, ending, size, figures in _TORCHVISION_DETECTORS
    ),
    *(
        _detectron2(name, f"ImageNetPretrained/{path}", net, "backbone")
        for name, path, net in _DETECTRON2_BACKBONES
    ),
    *(_detectron2_on_coco(*row) for row in _DETECTRON2_ON_COCO),
    _detectron2(
        "voc_faster_rcnn_R_50_C4",
        "PascalVOC-Detection/faster_rcnn_R_50_C4/142202221/model_final_b1acc2.pkl",
        *("res50", "C4"),
    ),
    Entry(
        name="family/vgg16_caffe",
        kind="backbone",
        file="vgg16-00b39a1b.pth",
        page="https://github.com/jcjohnson/pytorch-vgg",
        licence="not stated",
        net="vgg16",
        normalisation="caffe",
        reader="Caffe classification",
        url="https://s3-us-west-2.amazonaws.com/jcjohns-models/vgg16-00b39a1b.pth",
    ),
    *(_family(*row) for row in _FAMILY),
)

ENTRIES = {entry.name: entry for entry in _ALL}
"""Entries by name, in the order of the documentation."""


def find_entry(name: str) -> Entry:
    """Find the entry of a name; the part after the slash is enough.

    Raises:
        CheckpointError: there is none; the message suggests the nearest.
    """
    known = {entry.name: entry for entry in _ALL}
    known |= {entry.name.rpartition("/")[2]: entry for entry in _ALL}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
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
        f"there are no ImageNet weights of {net} to download; use mobile_v2, or train "
        f"{net} with --weights FILE (a file of MobileNet v1, see docs/weights.md) or "
        "--weights none"
    )
