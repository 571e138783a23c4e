"""Recognise unsupported formats, and say how to convert each."""

from pathlib import Path
from typing import NamedTuple

from .exports.export import files_with, subfolders

_PICTURES = "put the pictures beside them, or into images/"
_EXPORT = "export it as COCO, VOC or YOLO"
_IN_CODE = 'read it in a few lines of code (docs/own_data.md, "A data set in code")'


class _Format(NamedTuple):
    """A format and its signs."""

    pattern: str  # pattern of its files, in the folder or one level below
    inside: str  # text near the start of such a file; "" for any file
    name: str  # name of the format
    remedy: str  # how to convert it


_FORMATS = (
    _Format("*.json", '"imagePath"', "labelme's JSON without its pictures", _PICTURES),
    _Format(
        *("*.xml", "<annotation", "VOC's XML files without pictures of their names"),
        _PICTURES,
    ),
    _Format("*.json", '"annotations"', "COCO's JSON without its pictures", _PICTURES),
    _Format("_darknet.labels", "", "Darknet's labels without pictures", _PICTURES),
    _Format("*.json", '"regions"', "VIA's JSON without its pictures", _PICTURES),
    _Format("*.csv", "", "a table of boxes (CSV) of other columns", _IN_CODE),
    _Format("*.tfrecord*", "", "TensorFlow's TFRecord", _EXPORT),
    _Format("*.parquet", "", "a table in Parquet", _IN_CODE),
)


def foreign_format(folder: Path) -> str:
    """Describe an unsupported format in a folder and its conversion; "" if unknown."""
    places = [folder, *subfolders(folder)]
    for one in _FORMATS:
        for file in files_with(places, one.pattern, one.inside):
            return f"{one.name} ({file.relative_to(folder)}): {one.remedy}"
    return ""
