"""Results in the formats of other programs.

Boxes come as pixel edges ``x1, y1, x2, y2``; D detections, best first.
"""

import importlib
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .result import Result


def to_coco(
    result: "Result",
    image_id: int | str,
    category_ids: Sequence[int] | Mapping[str, int] | None = None,
) -> list[dict[str, Any]]:
    """Rows of COCO's result format; see `Result.to_coco`."""
    ids = _category_ids(result, category_ids)
    return [
        {
            "image_id": image_id,
            "category_id": ids[label],
            "bbox": [x1, y1, max(x2 - x1, 0.0), max(y2 - y1, 0.0)],
            "score": score,
        }
        for (x1, y1, x2, y2), label, score in zip(
            result.boxes.tolist(),
            result.labels.tolist(),
            result.scores.tolist(),
            strict=True,
        )
    ]


def _category_ids(
    result: "Result", given: Sequence[int] | Mapping[str, int] | None
) -> Mapping[int, int]:
    """The category of each label that occurs, or may.

    Raises:
        ValueError: a class has none.
    """
    names = result.class_names
    if given is None:
        return dict(enumerate(range(len(names))))
    if isinstance(given, Mapping):
        missing = sorted(set(result.names) - given.keys())
        if missing:
            raise ValueError(
                f"expected a category id of every class, found none of "
                f"{', '.join(missing)}; add them, or filter the classes"
            )
        return {label: given[name] for label, name in enumerate(names) if name in given}
    if len(given) != len(names):
        raise ValueError(
            f"expected {len(names)} category ids, background's first as in the classes "
            f"({', '.join(names)}), found {len(given)}"
        )
    return dict(enumerate(given))


def to_voc(result: "Result") -> str:
    """An annotation file in VOC's layout; see `Result.to_voc`."""
    height, width = result.size
    root = ET.Element("annotation")
    _add(root, "filename", result.path.name if result.path else "")
    size = ET.SubElement(root, "size")
    for key, length in (("width", width), ("height", height), ("depth", 3)):
        _add(size, key, length)
    _add(root, "segmented", 0)
    # Of pixel edges to the nearest whole ones, of which a box has a pixel at least.
    edges = np.rint(result.boxes.numpy()).astype(int)
    limits = np.array([width, height])
    first = edges[:, :2].clip(0, limits - 1)
    last = np.maximum(edges[:, 2:].clip(0, limits), first + 1)
    for name, score, corner, far_corner in zip(
        result.names, result.scores.tolist(), first.tolist(), last.tolist(), strict=True
    ):
        node = ET.SubElement(root, "object")
        _add(node, "name", name)
        for key, value in (("pose", "Unspecified"), ("truncated", 0), ("difficult", 0)):
            _add(node, key, value)
        _add(node, "score", f"{score:.6g}")
        corners = ET.SubElement(node, "bndbox")
        for axis, value in zip("xy", corner, strict=True):
            _add(corners, f"{axis}min", value + 1)  # 1-based
        for axis, value in zip("xy", far_corner, strict=True):
            _add(corners, f"{axis}max", value)  # 1-based, the last pixel inside
    ET.indent(root, "\t")
    return ET.tostring(root, encoding="unicode") + "\n"


def _add(parent: ET.Element, key: str, value: object) -> None:
    ET.SubElement(parent, key).text = str(value)


def to_supervision(result: "Result") -> Any:
    """A ``supervision.Detections``; see `Result.to_supervision`."""
    try:
        supervision = importlib.import_module("supervision")
    except ImportError as error:
        raise ImportError(
            "conversion to supervision.Detections needs the package supervision, which "
            f"cannot be imported here ({error}); pip install supervision"
        ) from error
    return supervision.Detections(
        xyxy=result.boxes.numpy(),
        confidence=result.scores.numpy(),
        class_id=result.labels.numpy(),
        data={"class_name": np.array(result.names, dtype=str)},
    )
