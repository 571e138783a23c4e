"""COCO's precision and recall, computed by hotcoco or, as the oracle, by pycocotools.

Both agree to the last bit; hotcoco takes a fiftieth of the time.
"""

import contextlib
import io
import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from .coco_objects import CocoDetections, CocoImages, CocoObjects, Float64Array
from .tasks import COCO, CocoParameters, Task, keypoint_sigmas

Evaluator = Literal["hotcoco", "pycocotools"]

SIZES = ("all", "small", "medium", "large")
"""Objects of all areas, and by their area; COCO has no small ones for keypoints."""


class Curves(NamedTuple):
    """Precision and recall; -1 where no object counts.

    T IoU thresholds, 101 recalls, K categories by ascending id (or 1 for all together),
    4 sizes (``SIZES``), M limits on the detections of an image.

    Attributes:
        precision: ``(T, 101, K, 4, M)`` best precision at this recall or a higher one.
        recall: ``(T, K, 4, M)`` recall of all detections up to the limit.
    """

    precision: Float64Array
    recall: Float64Array


def coco_curves(
    images: CocoImages,
    category_ids: Sequence[int] | None,
    objects: CocoObjects,
    detections: CocoDetections,
    *,
    task: Task = "bbox",
    evaluator: Evaluator = "hotcoco",
    parameters: CocoParameters = COCO,
    limits: Sequence[int] = (1, 10, 100),
) -> Curves:
    """Match detections with objects by COCO's rules.

    Args:
        images: images to evaluate, with sizes if the task is ``segm``.
        category_ids: ids of the categories to evaluate; if None, detections match
            objects of any category.
        task: overlap to match by: of boxes, of masks, or OKS of keypoints.
        parameters: of the evaluation, except for the limit on detections.
        limits: numbers of best-scored detections of an image (and class) to consider.

    Raises:
        ValueError: the evaluator is unknown or a mask is damaged.
    """
    if evaluator not in get_args(Evaluator):
        names = " or ".join(get_args(Evaluator))
        raise ValueError(f"expected the evaluator {names}, found {evaluator!r}")
    make = _hotcoco if evaluator == "hotcoco" else _pycocotools
    as_given: Callable[[Sequence[float]], Any] = (
        list if evaluator == "hotcoco" else np.array
    )
    rows: Rows = [{"id": int(i)} for i in images.ids]
    if images.sizes is not None:
        for row, (width, height) in zip(rows, images.sizes.tolist(), strict=True):
            row |= {"width": width, "height": height}
    known: Sequence[int] | npt.NDArray[np.integer[Any]] | None = category_ids
    if known is None:
        known = np.union1d(objects.category_ids, detections.category_ids)
    categories = [{"id": int(i), "name": str(i)} for i in known]
    # hotcoco warns that thresholds other than COCO's are not covered by its tests.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluation = make(rows, categories, objects, detections, task)
        chosen = evaluation.params
        chosen.iouThrs = as_given(parameters.iou_thresholds)
        chosen.maxDets = list(limits)
        low, high = (side**2 for side in parameters.areas)
        chosen.areaRng = [[0, 1e10], [0, low], [low, high], [high, 1e10]]
        chosen.areaRngLbl = list(SIZES)
        if objects.keypoints is not None and task == "keypoints":
            spread = keypoint_sigmas(objects.keypoints.shape[1], parameters.sigmas)
            chosen.kpt_oks_sigmas = as_given(spread)
        chosen.useCats = category_ids is not None
        evaluation.evaluate()
        evaluation.accumulate()
    found = evaluation.eval
    return Curves(found["precision"], found["recall"])


Rows = list[dict[str, Any]]


def _hotcoco(
    images: Rows,
    categories: Rows,
    objects: CocoObjects,
    detections: CocoDetections,
    task: Task = "bbox",
) -> Any:
    import hotcoco.mask
    from hotcoco import COCO, COCOeval

    if task == "keypoints":
        tables = {"images": images, "categories": categories}
        truth = COCO({**tables, "annotations": _truth_rows(objects, task)})
        found = COCO({**tables, "annotations": _found_rows(detections, task)})
        return COCOeval(truth, found, task)
    truth = COCO.from_arrays(
        images,
        categories,
        objects.image_ids,
        objects.category_ids,
        objects.boxes,
        area=objects.areas,
        iscrowd=objects.crowd.astype(np.int64),
        segmentation=objects.masks if task == "segm" else None,
    )
    if not len(detections.scores):  # load_res refuses an empty list
        none = np.zeros(0, np.int64)
        found = COCO.from_arrays(images, categories, none, none, np.zeros((0, 4)))
        return COCOeval(truth, found, task)
    columns = [
        detections.image_ids,
        detections.boxes,
        detections.scores,
        detections.category_ids,
    ]
    masks: Any = detections.masks if task == "segm" else None
    found = truth.load_res(np.column_stack(columns), segmentation=masks)
    if masks is not None:  # beside boxes, their area would be taken for the mask's
        numbers = np.arange(1, len(masks) + 1)
        found.update_anns(ids=numbers, area=hotcoco.mask.area(masks).astype(float))
    return COCOeval(truth, found, task)


def _pycocotools(
    images: Rows,
    categories: Rows,
    objects: CocoObjects,
    detections: CocoDetections,
    task: Task = "bbox",
) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    both = []
    for rows in (_truth_rows(objects, task), _found_rows(detections, task)):
        # Unlike loadRes, COCO.createIndex accepts an empty list.
        coco = COCO()
        coco.dataset = {
            "images": images,
            "categories": categories,
            "annotations": rows,
        }
        coco.createIndex()
        both.append(coco)
    return COCOeval(*both, iouType=task)


def _truth_rows(objects: CocoObjects, task: Task) -> Rows:
    more: dict[str, Any] = {"area": objects.areas}
    more["iscrowd"] = objects.crowd.astype(np.int64)
    if task == "keypoints" and objects.keypoints is not None:
        more["num_keypoints"] = (objects.keypoints[..., 2] > 0).sum(axis=1)
    return _rows(objects, task, **more)


def _found_rows(detections: CocoDetections, task: Task) -> Rows:
    areas = detections.boxes[:, 2:].prod(axis=1)
    if task == "segm" and detections.masks:
        from pycocotools import mask

        areas = np.array([mask.area(each) for each in detections.masks])
    if task == "keypoints" and detections.keypoints is not None:
        areas = np.ptp(detections.keypoints[..., :2], axis=1).prod(axis=1)
    none = np.zeros(len(areas), np.int64)
    return _rows(detections, task, area=areas, iscrowd=none, score=detections.scores)


def _rows(
    columns: CocoObjects | CocoDetections, task: Task, **more: npt.NDArray[Any]
) -> Rows:
    """Make a dict of each object, with what the task matches."""
    fields: dict[str, list[Any]] = {
        "image_id": columns.image_ids.tolist(),
        "category_id": columns.category_ids.tolist(),
        "bbox": columns.boxes.tolist(),
        **{name: values.tolist() for name, values in more.items()},
    }
    if task == "segm":
        fields["segmentation"] = list(columns.masks or ())
    if task == "keypoints" and columns.keypoints is not None:
        count = len(columns.keypoints)
        fields["keypoints"] = columns.keypoints.reshape(count, -1).tolist()
    # Ids are assigned anew, from 1: pycocotools reads an id of 0 as "no match".
    lists = [itertools.count(1), *fields.values()]
    names = ["id", *fields]
    return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=False)]
