"""CVAT's XML for images, version 1.1: read, and written for import into a task."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...utils.files import atomic_path
from .objects import LabelledPicture, Object, Objects, outlined, turned


def read_cvat(path: Path) -> Objects:
    """Read boxes, polygons and masks; a mask by its box, since its bits are CVAT's own.

    Raises:
        ValueError: the file is not well-formed XML.
    """
    try:
        root = ET.parse(path).getroot()
    except ET.ParseError as error:
        raise ValueError(
            f"{path}: expected CVAT's XML, found a fault ({error}); export it again"
        ) from error
    if root.tag != "annotations":
        return
    for image in root.iter("image"):
        name = image.attrib["name"]
        yield name, None
        for shape in image:
            found = _shape(shape)
            if found is not None:
                yield name, found


def _shape(shape: ET.Element) -> Object | None:
    """Read a shape; None for points, lines and what else has no area."""
    given, label = shape.attrib, shape.get("label", "object")
    if shape.tag == "box":
        x1, y1, x2, y2 = (float(given[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        centre = ((x1 + x2) / 2, (y1 + y2) / 2)
        return turned(label, (x1, y1, x2, y2), float(given.get("rotation", 0)), centre)
    if shape.tag == "mask":
        x, y, width, height = (
            float(given[key]) for key in ("left", "top", "width", "height")
        )
        return Object(label, (x, y, x + width, y + height))
    if shape.tag != "polygon":
        return None
    points = [tuple(map(float, p.split(","))) for p in given["points"].split(";")]
    return outlined(label, *zip(*points, strict=True))


def write_cvat(
    path: Path, pictures: Iterable[LabelledPicture], classes: Sequence[str]
) -> None:
    """Write boxes; what a detector found has the source ``auto``."""
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    labels = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")
    for name in classes:
        ET.SubElement(ET.SubElement(labels, "label"), "name").text = name
    for number, picture in enumerate(pictures):
        sizes = {"width": picture.width, "height": picture.height}
        image = _add(root, "image", id=number, name=picture.name, **sizes)
        for box in picture.boxes:
            corners = dict(zip(("xtl", "ytl", "xbr", "ybr"), box.edges, strict=True))
            source = "manual" if box.score is None else "auto"
            given = {"label": box.label, "source": source, "occluded": 0}
            _add(image, "box", **given, **corners, z_order=0)
    ET.indent(root, " ")
    with atomic_path(path) as temporary:
        ET.ElementTree(root).write(temporary, "utf-8", xml_declaration=True)


def _add(parent: ET.Element, tag: str, **values: Any) -> ET.Element:
    return ET.SubElement(
        parent, tag, {key: str(value) for key, value in values.items()}
    )
