"""Parse an annotation file in VOC layout."""

import re
import xml.etree.ElementTree as ET
from typing import NamedTuple

from .values import Fault, is_set

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.:-]+)["']""")


class VocObject(NamedTuple):
    """An <object>."""

    place: int  # number among the file's objects, from 0
    name: str  # class name
    box: tuple[float, float, float, float]  # pixel edges, unchecked
    difficult: bool  # whether it is marked difficult


class VocAnnotation(NamedTuple):
    """Content of an annotation file; a size or depth that is not stated is 0."""

    width: int = 0
    height: int = 0
    depth: int = 0
    objects: tuple[VocObject, ...] = ()


def parse_annotation(data: bytes, fault: Fault) -> VocAnnotation:
    """Parse an annotation file; report faults, and leave out their objects or all."""
    try:
        root = _parse_xml(data)
    except ET.ParseError as error:
        fault(
            f"expected well-formed XML, found a fault at line {error.position[0]} "
            f"({error}); correct the file",
            None,
        )
        return VocAnnotation()
    except (ValueError, LookupError) as error:
        fault(f"expected an XML file, cannot read it ({error}); restore the file", None)
        return VocAnnotation()
    if root.tag != "annotation":
        fault(
            f"expected the root element <annotation>, found <{root.tag}>; replace the "
            "file by one in VOC layout",
            None,
        )
        return VocAnnotation()
    objects = []
    # Direct children only: the boxes of nested <part> elements are not objects.
    for place, node in enumerate(root.findall("object")):
        try:
            name = _text(node, "name")
            x1, y1, x2, y2 = (_number(node, f"bndbox/{key}") for key in _CORNERS)
        except ValueError as error:
            fault(f"object {place + 1}: {error}", place)
            continue
        difficult = is_set(node.findtext("difficult") or "")
        objects.append(VocObject(place, name, (x1 - 1, y1 - 1, x2, y2), difficult))
    sizes = [
        (root.findtext(f"size/{key}") or "").strip()
        for key in ("width", "height", "depth")
    ]
    width, height, depth = (int(s) if s.isdecimal() else 0 for s in sizes)
    return VocAnnotation(width, height, depth, tuple(objects))


def _parse_xml(data: bytes) -> ET.Element:
    """Parse XML in its declared encoding, also in a multi-byte one that expat lacks."""
    try:
        return ET.fromstring(data)
    except ValueError:  # an encoding such as GBK
        declared = _DECLARED.match(data)
        if declared is None:
            raise
        return ET.fromstring(data.decode(declared[1].decode()))


def _text(node: ET.Element, key: str) -> str:
    text = (node.findtext(key) or "").strip()
    if not text:
        raise ValueError(f"expected <{key}>, found none or an empty one; add it")
    return text


def _number(node: ET.Element, key: str) -> float:
    text = _text(node, key)
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"expected a number in <{key}>, found {text!r}; correct it"
        ) from None
