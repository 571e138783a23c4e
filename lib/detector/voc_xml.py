"""Detections as an XML annotation in VOC's layout."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

import numpy as np

from ..datasets.records import FloatArray


def voc_annotation(
    filename: str,
    size: tuple[int, int],
    names: Sequence[str],
    boxes: FloatArray,
    scores: Sequence[float],
) -> str:
    """Return the annotation of an image; see ``Result.to_voc``.

    Args:
        filename: of the image.
        size: its height and width.
        names: D classes.
        boxes: ``(D, 4)`` pixel edges.
        scores: D scores.
    """
    height, width = size
    root = ET.Element("annotation")
    _add(root, "filename", filename)
    extent = ET.SubElement(root, "size")
    for key, length in (("width", width), ("height", height), ("depth", 3)):
        _add(extent, key, length)
    _add(root, "segmented", 0)
    # Pixel edges are rounded to whole ones; a box keeps at least one pixel.
    edges = np.rint(boxes).astype(int)
    limits = np.array([width, height])
    first = edges[:, :2].clip(0, limits - 1)
    last = np.maximum(edges[:, 2:].clip(0, limits), first + 1)
    # 1-based; the last pixel belongs to the box.
    whole = np.concatenate([first + 1, last], axis=1).tolist()
    for name, score, box in zip(names, scores, whole, strict=True):
        node = ET.SubElement(root, "object")
        _add(node, "name", name)
        _add(node, "pose", "Unspecified")
        _add(node, "truncated", 0)
        _add(node, "difficult", 0)
        _add(node, "score", f"{score:.6g}")
        corners = ET.SubElement(node, "bndbox")
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            _add(corners, key, value)
    ET.indent(root, "\t")
    return ET.tostring(root, encoding="unicode") + "\n"


def _add(parent: ET.Element, key: str, value: object) -> None:
    ET.SubElement(parent, key).text = str(value)
