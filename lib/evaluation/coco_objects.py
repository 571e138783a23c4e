"""Ground truth and detections of a data set, as columns in COCO's conventions.

    B  boxes of the whole data set

Boxes are COCO's ``x, y, width, height`` in pixels of the original images.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hotcoco.mask
import numpy as np
import numpy.typing as npt

from ..datasets.formats.values import four_numbers, is_set, whole_number
from ..datasets.index.indexed_records import as_records
from ..datasets.records import (
    BoolArray,
    Dataset,
    FloatArray,
    IntArray,
    Mask,
    RunLengths,
)
from ..utils.untrusted.json_files import is_number, read_json
from .image_detections import FlatDetections
from .tasks import Task

Float64Array = npt.NDArray[np.float64]

Segmentation = list[list[float]] | dict[str, Any]
"""A mask as in COCO's files: polygons, or a dict of run lengths."""


class CocoImages(NamedTuple):
    """Images to evaluate, including those without objects.

    Attributes:
        ids: I ids.
        sizes: ``(I, 2)`` widths and heights, for masks; None if not requested.
    """

    ids: Sequence[int] | IntArray
    sizes: npt.NDArray[np.integer[Any]] | None = None


class CocoObjects(NamedTuple):
    """Ground-truth objects: columns ``(B,)``, and boxes ``(B, 4)``.

    Attributes:
        areas: ``(B,)`` square pixels, of the object itself if COCO gives it.
        crowd: ``(B,)`` ignored: matches with it count neither as true nor as false.
        masks: B masks; None if not requested. An object without one has its box, and
            is a crowd, if ``coco_objects`` made it.
        keypoints: ``(B, K, 3)`` x, y as pixel indices, and visibility; None if not
            requested.
    """

    image_ids: IntArray
    category_ids: IntArray
    boxes: Float64Array
    areas: Float64Array
    crowd: BoolArray
    masks: list[Segmentation] | None = None
    keypoints: Float64Array | None = None

    def boxes_of(self, image_ids: IntArray) -> "CocoObjects":
        """Return the objects of some images, without masks and keypoints."""
        own = np.isin(self.image_ids, image_ids)
        return CocoObjects(
            self.image_ids[own],
            self.category_ids[own],
            self.boxes[own],
            self.areas[own],
            self.crowd[own],
        )


class CocoDetections(NamedTuple):
    """Detected objects: columns ``(B,)``, and boxes ``(B, 4)``.

    Attributes:
        masks: B masks; None if there are none.
        keypoints: ``(B, K, 3)`` x, y as pixel indices, and score; None if there are
            none.
    """

    image_ids: IntArray
    category_ids: IntArray
    boxes: Float64Array
    scores: Float64Array
    masks: list[Segmentation] | None = None
    keypoints: Float64Array | None = None


def coco_image_ids(dataset: Dataset) -> IntArray:
    """Return COCO's id of each record ``(I,)``; a running number for other ids."""
    if dataset.layout == "coco":
        return np.array(as_records(dataset.records).image_ids, np.int64)
    return np.arange(1, len(dataset.records) + 1, dtype=np.int64)


def coco_objects(dataset: Dataset, tasks: Sequence[Task] = ("bbox",)) -> CocoObjects:
    """Return the ground truth by COCO's rules.

    With an annotation file, it is that file's, unclipped and with its zero-area boxes,
    as on the evaluation server. Otherwise it is built from the records, where
    ``difficult`` objects become crowds, the only kind of object that COCO's rules
    ignore. Deviation: COCO measures the overlap with a crowd relative to the
    detection's own area, so every detection inside a difficult object is ignored too.
    For "segm", an object without a mask becomes a crowd that covers its box.

    Args:
        tasks: tasks whose columns to return.

    Raises:
        ValueError: the annotation file cannot be read.
    """
    if dataset.annotation_file is not None:
        objects = _objects_of_file(dataset, dataset.annotation_file, tasks)
    else:
        objects = _objects_of_records(dataset, tasks)
    return objects if objects.masks is None else _with_box_for_mask(objects)


def _objects_of_records(dataset: Dataset, tasks: Sequence[Task]) -> CocoObjects:
    records = as_records(dataset.records)
    masks: list[Segmentation] | None = None
    keypoints = None
    if "segm" in tasks:
        masks = list(map(segmentation, records.masks()))
    if "keypoints" in tasks:
        points = [r.keypoints for r in dataset.records if r.keypoints is not None]
        keypoints = pixel_indices(np.concatenate(points))
    return CocoObjects(
        coco_image_ids(dataset)[records.images],
        np.array(dataset.category_ids, np.int64)[records.classes],
        xywh(records.boxes),
        records.areas.astype(np.float64),
        records.crowd | records.difficult,
        masks,
        keypoints,
    )


def coco_detections(dataset: Dataset, flat: FlatDetections) -> CocoDetections:
    """Convert detections to COCO's ids, boxes, masks and keypoints."""
    masks: list[Segmentation] | None = None
    if flat.masks is not None:
        # One list for all masks of a size: the garbage collector counts lists.
        sizes = {size: [*size] for _, size in flat.masks}
        masks = [{"size": sizes[size], "counts": text} for text, size in flat.masks]
    return CocoDetections(
        coco_image_ids(dataset)[flat.images],
        np.array(dataset.category_ids, np.int64)[flat.classes],
        xywh(flat.boxes),
        flat.scores.astype(np.float64),
        masks,
        None if flat.keypoints is None else pixel_indices(flat.keypoints),
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


def pixel_indices(keypoints: FloatArray) -> Float64Array:
    """Convert keypoints ``(B, K, 3)`` in continuous pixels to COCO's pixel indices.

    Rounded like boxes; see ``xywh``.
    """
    result = keypoints.astype(np.float64)
    result[..., :2] = np.round(result[..., :2] - 0.5, 3)
    return result


def segmentation(mask: Mask) -> Segmentation:
    """Convert a record's mask to that of COCO's files."""
    if isinstance(mask, RunLengths):
        return {"size": list(mask.size), "counts": mask.counts}
    return [part.reshape(-1).tolist() for part in mask]


def _with_box_for_mask(objects: CocoObjects) -> CocoObjects:
    """Let objects without a mask be crowds, whose mask is the box."""
    masks, crowd = list(objects.masks or ()), objects.crowd.copy()
    for row, mask in enumerate(masks):
        if not mask:
            x, y, w, h = objects.boxes[row].tolist()
            masks[row] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            crowd[row] = True
    return objects._replace(masks=masks, crowd=crowd)


def _objects_of_file(
    dataset: Dataset, path: Path, tasks: Sequence[Task]
) -> CocoObjects:
    """Read the objects of the data set's images and classes from the file."""
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
    kept: list[dict[str, Any]] = []
    for annotation in content["annotations"]:
        image_id = whole_number(annotation.get("image_id"))
        category_id = whole_number(annotation.get("category_id"))
        bbox = annotation_box(annotation)
        known = image_id in image_ids and category_id in category_ids
        if not known or bbox is None or not all(map(is_number, bbox)):
            continue  # counted and logged when the data set was read
        area = annotation.get("area")
        area = area if is_number(area) else bbox[2] * bbox[3]
        crowd = is_set(annotation.get("iscrowd"))
        rows.append((image_id, category_id, bbox, area, crowd))
        kept.append(annotation)
    columns = list(zip(*rows, strict=True)) or [()] * 5
    masks = keypoints = None
    if "segm" in tasks:
        masks = [_usable(annotation.get("segmentation")) for annotation in kept]
    if "keypoints" in tasks:
        count = len(dataset.keypoints.names) if dataset.keypoints else 0
        points = [_triples(each.get("keypoints"), count) for each in kept]
        keypoints = np.array(points, np.float64).reshape(-1, count, 3)
    return CocoObjects(
        np.array(columns[0], np.int64),
        np.array(columns[1], np.int64),
        np.array(columns[2], np.float64).reshape(-1, 4),
        np.array(columns[3], np.float64),
        np.array(columns[4], np.bool_),
        masks,
        keypoints,
    )


def _usable(value: Any) -> Segmentation:
    """Return a file's mask without parts that are no polygons; empty if none is left.

    The reader of the data set has counted and logged those.
    """
    if isinstance(value, dict):
        return value if "counts" in value and "size" in value else {}
    parts = value if isinstance(value, list) else []
    return [
        part
        for part in parts
        if isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0
    ]


def annotation_box(annotation: dict[str, Any]) -> Sequence[float] | None:
    """Return an annotation's bbox, or without one that of its mask; None if invalid."""
    if annotation.get("bbox"):
        return four_numbers(annotation["bbox"])
    mask = _usable(annotation.get("segmentation"))
    if not mask:
        return None
    if isinstance(mask, dict):
        x, y, w, h = hotcoco.mask.to_bbox(mask).tolist()
        return x, y, w, h
    vertices = np.concatenate([np.reshape(part, (-1, 2)) for part in mask])
    return (*vertices.min(axis=0).tolist(), *np.ptp(vertices, axis=0).tolist())


def _triples(value: Any, count: int) -> list[float]:
    """Return a file's keypoints; zeros, which means unlabelled, if they are not K."""
    if isinstance(value, list) and len(value) == 3 * count:
        return value
    return [0.0] * (3 * count)
