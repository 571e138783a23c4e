"""Detections in pixels of the original images, in memory and as JSON on disk.

Boxes are pixel edges: float32 ``x1, y1, x2, y2`` with pixel k spanning [k, k+1), so
that ``x2 - x1`` is the width. The file is a COCO result list, one detection a line.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..datasets.index.access import as_records
from ..datasets.records import BoolArray, Dataset, FloatArray, IntArray
from ..utils.files import write_atomic
from ..utils.json_files import is_number, read_json

# A degenerate box may come out inverted by a rounding error, never by a whole pixel.
_INVERTED_BY = 1.0
_KEYS = ("image_id", "category_id", "bbox", "score")


@dataclass(frozen=True, slots=True)
class ImageDetections:
    """What the detector found in one image.

    Attributes:
        image_id: the record's ``image_id``.
        boxes: ``(D, 4)`` float32 pixel edges of the original image.
        scores: ``(D,)`` float32, descending.
        classes: ``(D,)`` int64 class indices, 1..C-1.
    """

    image_id: str
    boxes: FloatArray
    scores: FloatArray
    classes: IntArray


class FlatDetections(NamedTuple):
    """The detections of a whole data set, one row each, in the order of its records.

    Attributes:
        images: ``(D,)`` int64 index into ``dataset.records``.
        boxes: ``(D, 4)`` float32 pixel edges.
        scores: ``(D,)`` float32.
        classes: ``(D,)`` int64, 1..C-1.
    """

    images: IntArray
    boxes: FloatArray
    scores: FloatArray
    classes: IntArray


def flatten(dataset: Dataset, detections: Sequence[ImageDetections]) -> FlatDetections:
    """Join the detections of all images, checked against the data set.

    Args:
        dataset: the images that were to be tested.
        detections: one entry per image of ``dataset``, in any order; an image without
            detections has an entry with zero rows.

    Raises:
        ValueError: images unknown, missing or given twice; arrays of differing
            lengths; values that are not finite; inverted boxes; unknown classes.
    """
    _check_images(dataset, detections)
    by_id = {entry.image_id: entry for entry in detections}
    entries = [by_id[image_id] for image_id in as_records(dataset.records).image_ids]
    for entry in entries:
        count = len(entry.scores)
        if entry.boxes.shape != (count, 4) or entry.classes.shape != (count,):
            raise ValueError(
                f"image {entry.image_id}: expected boxes (D, 4), scores (D,) and "
                f"classes (D,), found {entry.boxes.shape}, {entry.scores.shape} and "
                f"{entry.classes.shape}; each detection needs all three"
            )
    counts = [len(entry.scores) for entry in entries]
    none = ImageDetections(
        "", np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    )
    entries = [none, *entries]  # np.concatenate needs at least one array
    flat = FlatDetections(
        np.repeat(np.arange(len(counts), dtype=np.int64), counts),
        np.concatenate([entry.boxes for entry in entries], dtype=np.float32),
        np.concatenate([entry.scores for entry in entries], dtype=np.float32),
        np.concatenate([entry.classes for entry in entries], dtype=np.int64),
    )
    _check_values(dataset, flat)
    return flat


def save_detections(
    path: Path, detections: Sequence[ImageDetections], dataset: Dataset
) -> None:
    """Save detections as a COCO result list, atomically and without loss.

    Each row has ``image_id`` (COCO layout: the integer id; VOC layout: the file
    stem), ``category_id`` (COCO layout: COCO's id; VOC layout: the class index),
    ``category`` (the name), ``bbox`` (x, y, width, height in pixels of the original
    image, 0-based) and ``score``. COCO's tools accept the file as it is; the name is
    an extra that they skip.

    Raises:
        ValueError: as ``flatten``.
        OSError: the file cannot be written, for example because the disk is full.
    """
    flat = flatten(dataset, detections)
    write_atomic(path, "".join(_json_rows(dataset, flat)))


def load_detections(path: Path, dataset: Dataset) -> list[ImageDetections]:
    """Read a file of ``save_detections``, or another COCO result list.

    Returns:
        One entry per image of ``dataset``, in its order, best score first. An image
        that no row mentions has zero rows, for the format cannot tell an image
        without detections from one that was not tested.

    Raises:
        ValueError: not readable as JSON or not a list; rows with missing keys, unknown
            images or categories, a name that is not the category's in ``dataset``, a
            malformed box, or a score that is not finite. The message has the count
            and the first example of each.
    """
    rows = read_json(
        path, expected="a JSON list of detections", remedy="test the checkpoint again"
    )
    if not isinstance(rows, list):
        raise ValueError(
            f"{path}: expected a JSON list of detections, found "
            f"{type(rows).__name__}; give the detections file, not another"
        )
    image_ids = as_records(dataset.records).image_ids
    images = {_file_image_id(dataset, name): i for i, name in enumerate(image_ids)}
    categories = {dataset.category_ids[c]: c for c in range(1, len(dataset.classes))}
    problems: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        problem = _row_problem(row, images, categories, dataset.classes)
        if problem:
            problems.setdefault(problem, []).append(number)
    if problems:
        raise ValueError(_rows_message(path, rows, problems, dataset))
    image_indices = np.array([images[row["image_id"]] for row in rows], np.int64)
    classes = np.array([categories[row["category_id"]] for row in rows], np.int64)
    scores = np.array([row["score"] for row in rows], np.float32)
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    order = np.lexsort((-scores, image_indices))
    bounds = np.searchsorted(image_indices[order], np.arange(len(images) + 1))
    own = [order[start:end] for start, end in itertools.pairwise(bounds)]
    return [
        ImageDetections(image_id, boxes[o].astype(np.float32), scores[o], classes[o])
        for image_id, o in zip(image_ids, own, strict=True)
    ]


def _check_images(dataset: Dataset, detections: Sequence[ImageDetections]) -> None:
    expected = Counter(as_records(dataset.records).image_ids)
    found = Counter(entry.image_id for entry in detections)
    checks = (
        (
            [i for i, times in expected.items() if times > 1],
            "are listed more than once in",
            "take the repeated set or lines out",
        ),
        (
            [i for i in found if i not in expected],
            "have detections but are not in",
            "evaluate the detections on the set that they were made on",
        ),
        (
            [i for i, times in found.items() if times > 1],
            "have more than one entry of detections for",
            "give each image one entry",
        ),
        (
            [i for i in expected if i not in found],
            "have no entry of detections for",
            "test the whole set (nothing found is an entry with zero rows)",
        ),
    )
    for image_ids, what, remedy in checks:
        if image_ids:
            raise ValueError(
                f"{len(image_ids)} images {what} {dataset.name} ({len(expected)} "
                f"images), first {image_ids[0]!r}; {remedy}"
            )


def _check_values(dataset: Dataset, flat: FlatDetections) -> None:
    boxes, count = flat.boxes, len(dataset.classes)
    inverted = np.any(boxes[:, 2:] - boxes[:, :2] < -_INVERTED_BY, axis=1)
    checks: tuple[tuple[BoolArray, str, str], ...] = (
        (~np.isfinite(flat.scores), "a score that is not finite", "look for NaN"),
        (
            ~np.all(np.isfinite(boxes), axis=1),
            "a box that is not finite",
            "look for NaN",
        ),
        (inverted, "a box with x2 < x1 or y2 < y1", "give x1, y1, x2, y2"),
        (
            (flat.classes < 1) | (flat.classes >= count),
            f"a class outside 1..{count - 1}",
            "test with the network of this data set",
        ),
    )
    for bad, what, remedy in checks:
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"{np.count_nonzero(bad)} of {len(bad)} detections have {what}, first "
                f"in image {dataset.records[flat.images[row]].image_id!r}: box "
                f"{boxes[row].tolist()}, score {float(flat.scores[row])}, class "
                f"{int(flat.classes[row])}; {remedy}"
            )


def _file_image_id(dataset: Dataset, image_id: str) -> int | str:
    return int(image_id) if dataset.layout == "coco" else image_id


def _json_rows(dataset: Dataset, flat: FlatDetections) -> Iterator[str]:
    """Yield the file's text; nine digits bring every float32 back to the bit."""
    images = [
        json.dumps(_file_image_id(dataset, image_id))
        for image_id in as_records(dataset.records).image_ids
    ]
    categories = [
        f'"category_id": {category_id}, "category": {json.dumps(name)}'
        for category_id, name in zip(dataset.category_ids, dataset.classes, strict=True)
    ]
    boxes = flat.boxes.astype(np.float64)
    boxes[:, 2:] = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    start = "[\n"
    for image, c, (x, y, w, h), score in zip(
        flat.images.tolist(),
        flat.classes.tolist(),
        boxes.tolist(),
        flat.scores.tolist(),
        strict=True,
    ):
        yield (
            f'{start}{{"image_id": {images[image]}, {categories[c]}, '
            f'"bbox": [{x:.9g}, {y:.9g}, {w:.9g}, {h:.9g}], "score": {score:.9g}}}'
        )
        start = ",\n"
    yield "\n]\n" if len(flat.scores) else "[]\n"


def _row_problem(
    row: Any,
    images: dict[int | str, int],
    categories: dict[int, int],
    classes: tuple[str, ...],
) -> str:
    """Name what makes a row unusable; "" for a good one."""
    if not isinstance(row, dict) or any(key not in row for key in _KEYS):
        return f"rows without all of {', '.join(_KEYS)}"
    image_id, category_id, bbox, score = (row[key] for key in _KEYS)
    if not isinstance(image_id, (int, str)) or image_id not in images:
        return "rows of unknown images"
    if not isinstance(category_id, int) or category_id not in categories:
        return "rows of unknown categories"
    name = classes[categories[category_id]]
    if row.get("category", name) != name:
        return "rows whose category has another name here"
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, bbox)):
        return "rows whose bbox is not four finite numbers"
    if bbox[2] < 0 or bbox[3] < 0:
        return "rows whose bbox has a negative width or height"
    if not is_number(score):
        return "rows whose score is not a finite number"
    return ""


def _rows_message(
    path: Path, rows: list[Any], problems: dict[str, list[int]], dataset: Dataset
) -> str:
    found = "; ".join(
        f"{len(numbers)} {problem} (first is row {numbers[0]}: "
        f"{rows[numbers[0]]!r:.200})"
        for problem, numbers in problems.items()
    )
    return (
        f"{path}: {found}, of {len(rows)} rows. Expected detections on {dataset.name} "
        f"({len(dataset.records)} images, {len(dataset.classes) - 1} classes); name "
        "the set and classes that they were made with, or test the checkpoint again"
    )
