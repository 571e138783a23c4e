"""Parse one annotation file in VOC layout, and turn many into columns."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..index.index_writer import RawImages
from ..records import RawObjects, did_you_mean
from .values import is_set

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.:-]+)["']""")


class _Object(NamedTuple):
    name: str
    corners: tuple[float, ...]  # as written
    difficult: bool


class Annotation(NamedTuple):
    """Content of one annotation file."""

    width: int  # 0 if the file has none
    height: int
    objects: list[_Object]


def unreadable(path: Path, error: Exception) -> ValueError:
    """Create the error for a file that cannot be read."""
    return ValueError(
        f"{path}: expected an XML file, cannot read it ({error}); restore the file"
    )


def parse_xml(data: bytes) -> ET.Element:
    """Parse an XML file in the encoding that it declares.

    Raises:
        ET.ParseError: it is malformed.
        ValueError, LookupError: it is not in the declared encoding, or that is unknown.
    """
    try:
        return ET.fromstring(data)
    except ValueError:  # a multi-byte encoding such as GBK, which expat lacks
        declared = _DECLARED.match(data)
        if declared is None:
            raise
        return ET.fromstring(data.decode(declared[1].decode()))


def is_difficult(node: ET.Element) -> bool:
    """Return whether an <object> is marked difficult."""
    return is_set(node.findtext("difficult") or "")


def stated_length(root: ET.Element, key: str) -> int:
    """Read <width>, <height> or <depth>; 0 if missing or not an integer."""
    text = (root.findtext(f"size/{key}") or "").strip()
    return int(text) if text.isdecimal() else 0


def parse_annotation(path: Path, data: bytes) -> Annotation:
    """Parse one annotation file.

    Args:
        path: path of the file, for errors.
        data: content of the file.

    Raises:
        ValueError: the file is malformed.
    """
    try:
        root = parse_xml(data)
    except ET.ParseError as error:
        raise ValueError(
            f"{path}: expected well-formed XML, found a fault at line "
            f"{error.position[0]} ({error}); correct the file"
        ) from error
    except (ValueError, LookupError) as error:
        raise unreadable(path, error) from error
    if root.tag != "annotation":
        raise ValueError(
            f"{path}: expected the root element <annotation>, found <{root.tag}>; "
            "replace the file by one in VOC layout"
        )
    objects = []
    # Direct children only: the boxes of nested <part> elements are not objects.
    for place, node in enumerate(root.findall("object"), start=1):
        name = _text(node, "name", path, place)
        corners = tuple(_number(node, f"bndbox/{key}", path, place) for key in _CORNERS)
        objects.append(_Object(name, corners, is_difficult(node)))
    width, height = (stated_length(root, key) for key in ("width", "height"))
    return Annotation(width, height, objects)


def _text(node: ET.Element, key: str, path: Path, place: int) -> str:
    text = (node.findtext(key) or "").strip()
    if not text:
        raise ValueError(
            f"{path}: object {place}: expected <{key}>, found none or an empty one; "
            "add it"
        )
    return text


def _number(node: ET.Element, key: str, path: Path, place: int) -> float:
    text = _text(node, key, path, place)
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"{path}: object {place}: expected a number in <{key}>, found {text!r}; "
            "correct it"
        ) from None


def object_columns(
    images: RawImages,
    annotations: Mapping[str, Annotation],
    classes: Sequence[str],
) -> RawObjects:
    """Convert the images' objects to columns, and corners to pixel edges."""
    index = {name: number for number, name in enumerate(classes, start=1)}
    image: list[int] = []
    label: list[int] = []
    corners: list[tuple[float, ...]] = []
    difficult: list[bool] = []
    for number, stem in enumerate(images.ids):
        for found in annotations[stem].objects:
            if found.name not in index:
                source = images.source(number)
                raise ValueError(
                    f"{source}: unknown class {found.name!r}"
                    f"{did_you_mean(found.name, classes)}; expected one of "
                    f"{', '.join(classes)}; correct the name, or, for classes of your "
                    f"own, name {source.parent.parent} itself as the data set"
                )
            image.append(number)
            label.append(index[found.name])
            corners.append(found.corners)
            difficult.append(found.difficult)
    first_pixel = np.array([1.0, 1.0, 0.0, 0.0])
    return RawObjects(
        image=np.array(image, np.int64),
        boxes=np.array(corners, np.float64).reshape(-1, 4) - first_pixel,
        classes=np.array(label, np.int64),
        difficult=np.array(difficult, np.bool_),
        crowd=np.zeros(len(image), np.bool_),
    )
