"""Recognise unsupported formats, and say how to convert each."""

import itertools
from pathlib import Path
from typing import NamedTuple

_FILES = 200
"""Number of files of a pattern that are examined."""

_BYTES = 1 << 16

_TO_VOC = (
    "move the .xml files into Annotations/ and the pictures into JPEGImages/, and "
    "write their names into ImageSets/Main/train.txt and val.txt"
)
_IN_CODE = 'read it in a few lines of code (docs/own_data.md, "A data set in code")'


class _Format(NamedTuple):
    """A format and its signs."""

    pattern: str  # pattern of its files, in the folder or one level below
    inside: str  # text near the start of such a file; "" for any file
    name: str  # name of the format
    remedy: str  # how to convert it


_FORMATS = (
    _Format(
        "_annotations.coco.json",
        "",
        "Roboflow's COCO export",
        "move each split's JSON to annotations/instances_<split>.json and its pictures "
        "to images/<split>/ (the splits being train and val), or export it as YOLOv8",
    ),
    _Format("_darknet.labels", "", "Roboflow's Darknet export", "export it as YOLOv8"),
    _Format(
        "*.json",
        '"imagePath"',
        "labelme's JSON outside the folders of splits",
        "move each split's images and JSON files into a folder of its name, train and "
        "val",
    ),
    _Format("*.json", '"regions"', "VIA's JSON", "export it from VIA in COCO format"),
    _Format(
        "*.json",
        '"annotations"',
        "a COCO file outside of annotations/",
        "move it to annotations/instances_train.json (instances_val.json for the other "
        "split) and its pictures to images/train/",
    ),
    _Format(
        "*.xml", "<annotation", "VOC's XML files beside the pictures or alone", _TO_VOC
    ),
    _Format("*.csv", "", "a table of boxes (CSV)", _IN_CODE),
    _Format(
        "*.tfrecord*", "", "TensorFlow's TFRecord", "export it as COCO, VOC or YOLO"
    ),
    _Format("*.parquet", "", "a table in Parquet", _IN_CODE),
)


def foreign_format(folder: Path) -> str:
    """Describe an unsupported format in a folder and its conversion; "" if unknown."""
    for one in _FORMATS:
        found = itertools.chain(
            folder.glob(one.pattern), folder.glob(f"*/{one.pattern}")
        )
        for file in sorted(itertools.islice(found, _FILES)):
            if not file.name.startswith("._") and _contains(file, one.inside):
                return f"{one.name} ({file.relative_to(folder)}): {one.remedy}"
    return ""


def _contains(file: Path, words: str) -> bool:
    if not words:
        return True
    try:
        with file.open("rb") as opened:
            return words.encode() in opened.read(_BYTES)
    except OSError:
        return False
