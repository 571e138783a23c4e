"""Ground truth from an annotation file alone, without its images."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.formats.coco_tables import read_categories
from ..datasets.formats.values import is_set, whole_number
from ..datasets.index.indexed_records import as_records
from ..datasets.records import BACKGROUND, Dataset, Drops, KeypointNames, Record
from ..utils.untrusted.json_files import is_number, read_json
from .coco_objects import annotation_box


def read_annotations(path: Path) -> Dataset:
    """Read an instances file in COCO layout without looking for its images.

    Args:
        path: for example instances_val2017.json.

    Raises:
        ValueError: the file cannot be read, or lacks images, categories or annotations;
            or entries are malformed, with their count and the first example.
    """
    content = read_json(
        path, expected="COCO annotations", remedy="give an instances_*.json"
    )
    try:
        images = [{**i, "id": whole_number(i["id"])} for i in content["images"]]
        rows = [
            {
                **annotation,
                "image_id": whole_number(annotation["image_id"]),
                "category_id": whole_number(annotation["category_id"]),
                "bbox": annotation_box(annotation),
            }
            for annotation in content["annotations"]
        ]
        used = {row["category_id"] for row in rows}
        names, ids = read_categories(path, content["categories"], used, Drops())
        numbers = {category_id: c for c, category_id in enumerate(ids, start=1)}
        own: dict[int, list[dict[str, Any]]] = {i["id"]: [] for i in images}
        bad = []
        for row, annotation in zip(rows, content["annotations"], strict=True):
            fits = row["category_id"] in numbers and row["image_id"] in own
            if not fits or row["bbox"] is None or not all(map(is_number, row["bbox"])):
                bad.append(annotation)
            else:
                own[row["image_id"]].append(row)
        records = [_record(i, own[i["id"]], numbers) for i in images]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected COCO images, categories and annotations "
            f"({type(error).__name__}: {error}); give an instances_*.json"
        ) from error
    if bad:
        raise ValueError(
            f"{path}: {len(bad)} of {len(content['annotations'])} annotations are of "
            "unknown images or categories, or their bbox is not four numbers, first "
            f"{bad[0]!r:.200}; correct the file"
        )
    return Dataset(
        name=re.sub("^(instances|person_keypoints)_", "", path.stem),
        layout="coco",
        classes=(BACKGROUND, *names),
        records=as_records(records),  # once, not for every quantity
        drops={},
        annotation_file=path,
        category_ids=(0, *numbers),
        has_masks=any(annotation.get("segmentation") for annotation in rows),
        keypoints=_keypoint_names(content["categories"]),
    )


def _keypoint_names(categories: list[dict[str, Any]]) -> KeypointNames | None:
    """Return the first category's keypoints that has any."""
    for category in categories:
        if names := category.get("keypoints"):
            skeleton = [(a - 1, b - 1) for a, b in category.get("skeleton") or ()]
            return KeypointNames(tuple(map(str, names)), skeleton=tuple(skeleton))
    return None


def _record(
    image: dict[str, Any], annotations: list[dict[str, Any]], numbers: dict[int, int]
) -> Record:
    boxes = np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4)
    areas = [a.get("area", a["bbox"][2] * a["bbox"][3]) for a in annotations]
    boxes[:, 2:] += boxes[:, :2]
    return Record(
        image_id=str(image["id"]),
        path=Path(image.get("file_name", f"{image['id']}.jpg")),
        width=int(image["width"]),
        height=int(image["height"]),
        boxes=boxes.astype(np.float32),
        classes=np.array([numbers[a["category_id"]] for a in annotations], np.int64),
        difficult=np.zeros(len(boxes), np.bool_),
        crowd=np.array([is_set(a.get("iscrowd")) for a in annotations], np.bool_),
        areas=np.array(areas, np.float32),
        object_ids=np.array(
            [whole_number(a.get("id")) or 0 for a in annotations], np.int64
        ),
    )
