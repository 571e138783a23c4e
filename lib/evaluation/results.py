"""Detections as JSON on disk: a COCO result list, one detection per line."""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.index.indexed_records import as_records
from ..datasets.records import Dataset
from ..utils.files import atomic_path, write_atomic
from ..utils.untrusted.json_files import is_number, read_json
from .image_detections import FlatDetections, ImageDetections, flatten, group_by_image
from .instance_rows import boxes_of, instance_texts, parse_keypoints, parse_masks
from .tasks import Task

_KEYS = ("image_id", "category_id", "score")
_BOXED = ("bbox", "segmentation", "keypoints")
"""Keys of which a row has at least one; each of them gives a box."""


def save_detections(
    path: Path, detections: Sequence[ImageDetections], dataset: Dataset
) -> None:
    """Save detections as a COCO result list, atomically and without loss.

    Each row has ``image_id`` (COCO layout: the integer id; VOC layout: the file
    stem), ``category_id`` (COCO layout: COCO's id; VOC layout: the class index),
    ``category`` (the name), ``bbox`` (x, y, width, height in pixels of the original
    image, 0-based), ``score`` and, of detectors that predict them, ``segmentation``
    (compressed run lengths) and ``keypoints`` (x, y, score of each, as pixel indices).
    COCO's tools accept the file and ignore the name. Of a row with a box they take the
    box's area for small, medium and large, where those of masks alone have the mask's.

    Raises:
        ValueError: see ``flatten``.
        OSError: the file cannot be written, for example because the disk is full.
    """
    flat = flatten(dataset, detections)
    write_atomic(path, "".join(_json_rows(dataset, flat)))


def save_coco_upload(
    folder: Path,
    detections: Sequence[ImageDetections],
    dataset: Dataset,
    *,
    algorithm: str,
    task: Task = "bbox",
) -> Path:
    """Save the archive that COCO's evaluation server takes, and return its path.

    Args:
        folder: folder for ``detections_<set>_<algorithm>_results.json``, a COCO result
            list of the task alone, and for the archive of that file, which is to be
            uploaded. The names of keypoints begin with ``person_keypoints``.
        dataset: in COCO layout; for coco_2017_test-dev the set is test-dev2017.
        algorithm: letters, digits, dots and dashes.

    Raises:
        ValueError: see ``flatten``; or the layout is VOC, or the server would not
            accept the name.
        OSError: a file cannot be written.
    """
    if dataset.layout != "coco":
        raise ValueError(
            f"{dataset.name}: expected COCO layout, whose image ids the server "
            "knows, found VOC layout; write VOC files instead"
        )
    if not re.fullmatch(r"[A-Za-z0-9.-]+", algorithm):
        raise ValueError(
            f"expected the algorithm's name in letters, digits, dots and dashes, found "
            f"{algorithm!r}; the server splits names at underscores"
        )
    images = re.sub(r"^coco_(\d+)_(.+)$", r"\2\1", dataset.name)
    start = "person_keypoints" if task == "keypoints" else "detections"
    name = f"{start}_{images}_{algorithm}_results"
    rows = _json_rows(dataset, flatten(dataset, detections), task)
    content = "".join(rows)
    write_atomic(folder / f"{name}.json", content)
    archive = folder / f"{name}.zip"
    with atomic_path(archive) as temporary, zipfile.ZipFile(temporary, "w") as file:
        file.writestr(f"{name}.json", content, zipfile.ZIP_DEFLATED)
    return archive


def load_detections(path: Path, dataset: Dataset) -> list[ImageDetections]:
    """Read a file of ``save_detections``, or another COCO result list.

    A row without ``bbox`` gets that of its mask, or of its keypoints.

    Returns:
        One entry per image of ``dataset``, in its order, best score first. An image
        that no row mentions has zero rows, because the format does not distinguish an
        image without detections from one that was not tested.

    Raises:
        ValueError: the file is not JSON or not a list; or rows lack keys, have unknown
            images or categories, a name that is not the category's in ``dataset``, a
            malformed box, a score that is not finite, or a repeated id. The message has
            the count and the first example of each.
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
    _check_rows(path, rows, images, categories, dataset)
    image_indices = np.array([images[row["image_id"]] for row in rows], np.int64)
    classes = np.array([categories[row["category_id"]] for row in rows], np.int64)
    scores = np.array([row["score"] for row in rows], np.float32)
    sizes = as_records(dataset.records).sizes[image_indices].tolist()
    masks = parse_masks(path, rows, sizes)
    keypoints = parse_keypoints(path, rows, dataset)
    boxes = np.array(boxes_of(rows, masks), np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    flat = FlatDetections(
        image_indices, boxes.astype(np.float32), scores, classes, masks, keypoints
    )
    return group_by_image(dataset, flat, source=path)


def _file_image_id(dataset: Dataset, image_id: str) -> int | str:
    return int(image_id) if dataset.layout == "coco" else image_id


def _json_rows(
    dataset: Dataset, flat: FlatDetections, task: Task | None = None
) -> Iterator[str]:
    """Yield the file's text; nine digits restore every float32 exactly.

    With a task, as on COCO's server: of what was found only that, and no class names.
    """
    if task is not None:
        flat = flat._replace(
            masks=flat.masks if task == "segm" else None,
            keypoints=flat.keypoints if task == "keypoints" else None,
        )
    images = [
        json.dumps(_file_image_id(dataset, image_id))
        for image_id in as_records(dataset.records).image_ids
    ]
    categories = [
        f'"category_id": {category_id}'
        + (f', "category": {json.dumps(name)}' if task is None else "")
        for category_id, name in zip(dataset.category_ids, dataset.classes, strict=True)
    ]
    boxes = flat.boxes.astype(np.float64)
    boxes[:, 2:] = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    start = "[\n"
    for image, c, (x, y, w, h), score, more in zip(
        flat.images.tolist(),
        flat.classes.tolist(),
        boxes.tolist(),
        flat.scores.tolist(),
        instance_texts(flat),
        strict=True,
    ):
        box = f' "bbox": [{x:.9g}, {y:.9g}, {w:.9g}, {h:.9g}],'
        yield (
            f'{start}{{"image_id": {images[image]}, {categories[c]},'
            f'{box if task in (None, "bbox") else ""} "score": {score:.9g}{more}}}'
        )
        start = ",\n"
    yield "\n]\n" if len(flat.scores) else "[]\n"


def _check_rows(
    path: Path,
    rows: Sequence[Any],
    images: Mapping[int | str, int],
    categories: Mapping[int, int],
    dataset: Dataset,
) -> None:
    """Raise an error if rows do not match the data set, with an example of each kind.

    ``images`` and ``categories`` are by the ids in the rows.
    """
    problems: dict[str, list[int]] = {}
    ids: set[str] = set()
    for number, row in enumerate(rows):
        problem = _problem(row, images, categories, dataset.classes)
        if not problem and "id" in row:
            name = repr(row["id"])
            problem = "rows whose id another row has" if name in ids else ""
            ids.add(name)
        if problem:
            problems.setdefault(problem, []).append(number)
    if not problems:
        return
    found = "; ".join(
        f"{len(numbers)} {problem} (first is row {numbers[0]}: "
        f"{rows[numbers[0]]!r:.200})"
        for problem, numbers in problems.items()
    )
    raise ValueError(
        f"{path}: {found}, of {len(rows)} rows. Expected detections on {dataset.name} "
        f"({len(dataset.records)} images, {len(dataset.classes) - 1} classes); name "
        "the set and classes that the detections were made with, or test the "
        "checkpoint again"
    )


def _problem(
    row: Any,
    images: Mapping[int | str, int],
    categories: Mapping[int, int],
    classes: tuple[str, ...],
) -> str:
    """Describe what makes a row unusable; "" for a valid one."""
    if not isinstance(row, dict) or any(key not in row for key in _KEYS):
        return f"rows without all of {', '.join(_KEYS)}"
    if "bbox" not in row and not any(row.get(key) for key in _BOXED):
        return f"rows without any of {', '.join(_BOXED)}"
    image_id, category_id, score = (row[key] for key in _KEYS)
    if not isinstance(image_id, (int, str)) or image_id not in images:
        return "rows of unknown images"
    if not isinstance(category_id, int) or category_id not in categories:
        return "rows of unknown categories"
    name = classes[categories[category_id]]
    if row.get("category", name) != name:
        return "rows whose category has another name here"
    if "bbox" in row:
        bbox = row["bbox"]
        numbers = isinstance(bbox, list) and all(map(is_number, bbox))
        if not numbers or len(bbox) != 4:
            return "rows whose bbox is not four finite numbers"
        if bbox[2] < 0 or bbox[3] < 0:
            return "rows whose bbox has a negative width or height"
    if not is_number(score):
        return "rows whose score is not a finite number"
    return ""
