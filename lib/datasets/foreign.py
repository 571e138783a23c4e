"""Recognise unsupported formats, and say how to convert each."""

import itertools
from pathlib import Path
from typing import NamedTuple

_FILES = 200
"""Number of files of a pattern that are examined."""

_BYTES = 1 << 16

_PICTURES = "put the pictures beside them, or into images/"
_IN_CODE = 'read it in a few lines of code (docs/own_data.md, "A data set in code")'


class _Format(NamedTuple):
    """A format and its signs."""

    pattern: str  # pattern of its files, in the folder or one level below
    inside: str  # text near the start of such a file; "" for any file
    name: str  # name of the format
    remedy: str  # how to convert it


_FORMATS = (
    _Format(
        "*.json",
        '"imagePath"',
        "labelme's JSON without its pictures",
        _PICTURES,
    ),
    _Format(
        "*.xml",
        "<annotation",
        "VOC's XML files without pictures of their names",
        _PICTURES,
    ),
    _Format("*.json", '"annotations"', "COCO's JSON without its pictures", _PICTURES),
    _Format("_darknet.labels", "", "Darknet's labels without pictures", _PICTURES),
    _Format("*.json", '"regions"', "VIA's JSON without its pictures", _PICTURES),
    _Format("*.csv", "", "a table of boxes (CSV) of other columns", _IN_CODE),
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
