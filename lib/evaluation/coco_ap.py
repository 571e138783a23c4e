"""The twelve numbers of the COCO detection challenge, through pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..datasets.index.access import as_records
from ..datasets.records import Dataset, FloatArray
from ..utils.json_files import is_number, read_json
from .results import FlatDetections, ImageDetections, flatten

# In the order of COCOeval.stats. AP: mean over IoU 0.50:0.95; s, m, l: objects below
# 32^2 pixels, between, and above 96^2; AR1: recall with one detection per image.
METRICS = (
    "AP",
    "AP50",
    "AP75",
    "APs",
    "APm",
    "APl",
    "AR1",
    "AR10",
    "AR100",
    "ARs",
    "ARm",
    "ARl",
)


@dataclass(frozen=True, slots=True)
class CocoResult:
    """COCO's numbers for a data set, each in 0..1, or NaN where no object counts.

    Attributes:
        metrics: the twelve numbers by the names in ``METRICS``.
        per_class: class name to AP at IoU 0.50:0.95, all sizes, 100 detections.
    """

    metrics: dict[str, float]
    per_class: dict[str, float]


def coco_metrics(dataset: Dataset, detections: Sequence[ImageDetections]) -> CocoResult:
    """Compute COCO's AP and AR.

    With an annotation file, the ground truth is that file, unclipped and with its
    zero-area boxes, as on the evaluation server. Otherwise it is made from the records.
    There, ``difficult`` objects become crowds, the only kind that COCO's rules neither
    count nor punish. Deviation: COCO measures the overlap with a crowd over the
    detection's own area, so whatever lies inside a difficult object is ignored too.

    Args:
        dataset: ground truth. Only its own images and classes are evaluated.
        detections: one entry per image of ``dataset``.

    Raises:
        ValueError: detections that do not fit the data set; an unreadable annotation
            file.
    """
    flat = flatten(dataset, detections)
    if not dataset.records:
        nan = float("nan")
        return CocoResult(
            dict.fromkeys(METRICS, nan), dict.fromkeys(dataset.classes[1:], nan)
        )
    image_ids = _image_ids(dataset)
    images = [{"id": image_id} for image_id in image_ids]
    categories = [{"id": category_id} for category_id in dataset.category_ids[1:]]
    if dataset.annotation_file is None:
        objects = _objects_of_records(dataset, image_ids)
    else:
        objects = _objects_of_file(dataset, dataset.annotation_file)
    found = _detections(dataset, flat, image_ids)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            _index(images, categories, objects),
            _index(images, categories, found),
            iouType="bbox",
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = {
        name: _known(float(value))
        for name, value in zip(METRICS, evaluation.stats, strict=True)
    }
    return CocoResult(metrics, _class_aps(dataset, evaluation))


def _image_ids(dataset: Dataset) -> list[int]:
    """Give COCO's id of each record; a running number where ids are no numbers."""
    if dataset.layout == "coco":
        return [int(image_id) for image_id in as_records(dataset.records).image_ids]
    return list(range(1, len(dataset.records) + 1))


def _objects_of_records(
    dataset: Dataset, image_ids: Sequence[int]
) -> list[dict[str, Any]]:
    records = as_records(dataset.records)
    rows = zip(
        records.images.tolist(),
        records.classes.tolist(),
        _xywh(records.boxes).tolist(),
        records.areas.tolist(),
        (records.crowd | records.difficult).tolist(),
        strict=True,
    )
    return [
        {
            "image_id": image_ids[image],
            "category_id": dataset.category_ids[c],
            "bbox": bbox,
            "area": area,
            "iscrowd": int(crowd),
        }
        for image, c, bbox, area, crowd in rows
    ]


def _objects_of_file(dataset: Dataset, path: Path) -> list[dict[str, Any]]:
    """Read the boxes of the data set's images and classes from the annotation file."""
    content = read_json(
        path,
        expected=f"the COCO annotations of {dataset.name}",
        remedy="put the file back that the data set was read from",
    )
    if not isinstance(content, dict) or "annotations" not in content:
        raise ValueError(
            f"{path}: expected COCO annotations, a JSON object with 'annotations', "
            f"found {type(content).__name__} without; put the file back that "
            f"{dataset.name} was read from"
        )
    # As text, because an id of the wrong type need not be hashable.
    image_ids = {str(image_id): image_id for image_id in _image_ids(dataset)}
    category_ids = {
        str(category_id): category_id for category_id in dataset.category_ids[1:]
    }
    objects: list[dict[str, Any]] = []
    for annotation in content["annotations"]:
        image_id = image_ids.get(str(annotation.get("image_id")))
        category_id = category_ids.get(str(annotation.get("category_id")))
        bbox = annotation.get("bbox")
        if image_id is None or category_id is None or not _four_numbers(bbox):
            continue  # reading the data set has counted and logged these
        area = annotation.get("area")
        objects.append(
            {
                "image_id": image_id,
                "category_id": category_id,
                "bbox": bbox,
                "area": area if is_number(area) else bbox[2] * bbox[3],
                "iscrowd": int(bool(annotation.get("iscrowd"))),
            }
        )
    return objects


def _four_numbers(bbox: Any) -> bool:
    return isinstance(bbox, list) and len(bbox) == 4 and all(map(is_number, bbox))


def _detections(
    dataset: Dataset, flat: FlatDetections, image_ids: Sequence[int]
) -> list[dict[str, Any]]:
    boxes = _xywh(flat.boxes)
    rows = zip(
        flat.images.tolist(),
        flat.classes.tolist(),
        boxes.tolist(),
        boxes[:, 2:].prod(axis=1).tolist(),
        flat.scores.tolist(),
        strict=True,
    )
    return [
        {
            "image_id": image_ids[image],
            "category_id": dataset.category_ids[c],
            "bbox": bbox,
            "area": area,
            "iscrowd": 0,
            "score": score,
        }
        for image, c, bbox, area, score in rows
    ]


def _xywh(boxes: FloatArray) -> npt.NDArray[np.float64]:
    """Turn pixel edges ``(B, 4)`` into COCO's x, y, width, height.

    Rounded to a thousandth of a pixel: annotations have two decimals, which float32
    edges miss by a little, and a box whose IoU is a threshold exactly (0.95, say)
    would then fall below it.
    """
    edges = boxes.astype(np.float64)
    sizes = np.maximum(edges[:, 2:] - edges[:, :2], 0)
    return np.round(np.concatenate([edges[:, :2], sizes], axis=1), 3)


def _index(
    images: list[dict[str, Any]],
    categories: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
) -> Any:
    """Make pycocotools' COCO object. Unlike ``loadRes``, takes an empty list too."""
    # Ids are given anew, from 1: pycocotools reads an id of 0 as "no match".
    numbered = [{"id": i, **a} for i, a in enumerate(annotations, start=1)]
    coco = COCO()
    coco.dataset = {
        "images": images,
        "categories": categories,
        "annotations": numbered,
    }
    coco.createIndex()
    return coco


def _class_aps(dataset: Dataset, evaluation: Any) -> dict[str, float]:
    # (IoU thresholds, recalls, categories by ascending id); all areas, 100 detections
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    ids = sorted(dataset.category_ids[1:])
    return {
        name: _known(float(precision[:, :, ids.index(category_id)].mean()))
        for name, category_id in zip(
            dataset.classes[1:], dataset.category_ids[1:], strict=True
        )
    }


def _known(value: float) -> float:
    """Give NaN for pycocotools' -1, its sign for "no object counts"."""
    return value if value >= 0 else float("nan")
