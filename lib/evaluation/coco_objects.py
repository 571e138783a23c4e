"""Ground truth and detections of a data set, as columns in COCO's conventions.

    B  boxes of the whole data set

Boxes are COCO's ``x, y, width, height`` in pixels of the original images.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..datasets.formats.values import four_numbers, is_set, whole_number
from ..datasets.index.indexed_records import as_records
from ..datasets.records import BoolArray, Dataset, FloatArray, IntArray
from ..utils.untrusted.json_files import is_number, read_json
from .image_detections import FlatDetections

Float64Array = npt.NDArray[np.float64]


class CocoObjects(NamedTuple):
    """Ground-truth objects.

    Attributes:
        image_ids: ``(B,)``.
        category_ids: ``(B,)``.
        boxes: ``(B, 4)``.
        areas: ``(B,)`` square pixels, of the object itself if COCO gives it.
        crowd: ``(B,)`` ignored: matches with it count neither as true nor as false.
    """

    image_ids: IntArray
    category_ids: IntArray
    boxes: Float64Array
    areas: Float64Array
    crowd: BoolArray


class CocoDetections(NamedTuple):
    """Detected objects.

    Attributes:
        image_ids: ``(B,)``.
        category_ids: ``(B,)``.
        boxes: ``(B, 4)``.
        scores: ``(B,)``.
    """

    image_ids: IntArray
    category_ids: IntArray
    boxes: Float64Array
    scores: Float64Array


def coco_image_ids(dataset: Dataset) -> IntArray:
    """Return COCO's id of each record ``(I,)``; a running number for other ids."""
    if dataset.layout == "coco":
        return np.array(as_records(dataset.records).image_ids, np.int64)
    return np.arange(1, len(dataset.records) + 1, dtype=np.int64)


def coco_objects(dataset: Dataset) -> CocoObjects:
    """Return the ground truth by COCO's rules.

    With an annotation file, it is that file's, unclipped and with its zero-area boxes,
    as on the evaluation server. Otherwise it is built from the records, where
    ``difficult`` objects become crowds, the only kind of object that COCO's rules
    ignore. Deviation: COCO measures the overlap with a crowd relative to the
    detection's own area, so every detection inside a difficult object is ignored too.

    Raises:
        ValueError: the annotation file cannot be read.
    """
    if dataset.annotation_file is not None:
        return _objects_of_file(dataset, dataset.annotation_file)
    records = as_records(dataset.records)
    return CocoObjects(
        coco_image_ids(dataset)[records.images],
        np.array(dataset.category_ids, np.int64)[records.classes],
        xywh(records.boxes),
        records.areas.astype(np.float64),
        records.crowd | records.difficult,
    )


def coco_detections(dataset: Dataset, flat: FlatDetections) -> CocoDetections:
    """Convert detections to COCO's ids and boxes."""
    return CocoDetections(
        coco_image_ids(dataset)[flat.images],
        np.array(dataset.category_ids, np.int64)[flat.classes],
        xywh(flat.boxes),
        flat.scores.astype(np.float64),
    )


def xywh(boxes: FloatArray) -> Float64Array:
    """Convert pixel edges ``(B, 4)`` to COCO's x, y, width, height.

    Values are rounded to a thousandth of a pixel: annotations have two decimals, which
    float32 edges miss by a little, and a box whose IoU equals a threshold exactly
    (0.95, say) would otherwise fall below it.
    """
    result = boxes.astype(np.float64)
    result[:, 2:] = np.maximum(result[:, 2:] - result[:, :2], 0)
    return np.round(result, 3, out=result)


def _objects_of_file(dataset: Dataset, path: Path) -> CocoObjects:
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
    image_ids = set(coco_image_ids(dataset).tolist())
    category_ids = set(dataset.category_ids[1:])
    rows: list[tuple[Any, ...]] = []
    for annotation in content["annotations"]:
        image_id = whole_number(annotation.get("image_id"))
        category_id = whole_number(annotation.get("category_id"))
        bbox = four_numbers(annotation.get("bbox"))
        known = image_id in image_ids and category_id in category_ids
        if not known or bbox is None or not all(map(is_number, bbox)):
            continue  # counted and logged when the data set was read
        area = annotation.get("area")
        area = area if is_number(area) else bbox[2] * bbox[3]
        crowd = is_set(annotation.get("iscrowd"))
        rows.append((image_id, category_id, bbox, area, crowd))
    columns = list(zip(*rows, strict=True)) or [()] * 5
    return CocoObjects(
        np.array(columns[0], np.int64),
        np.array(columns[1], np.int64),
        np.array(columns[2], np.float64).reshape(-1, 4),
        np.array(columns[3], np.float64),
        np.array(columns[4], np.bool_),
    )
