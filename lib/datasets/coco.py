"""Reading annotations in the layout of COCO: one JSON file per set.

Boxes in the file are x, y, width, height in pixels, 0-based; here they become pixel
edges, (x, y, x + width, y + height).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.json_files import read_json
from .images import image_size
from .records import (
    BACKGROUND,
    Dataset,
    Drops,
    RawImage,
    RawObjects,
    build_records,
    few,
)

_Entry = dict[str, Any]


def read_coco(annotation_file: Path, image_folder: Path, *, name: str) -> Dataset:
    """Read an instances file and find its images.

    Class indices follow the ascending category ids, whatever gaps those have. An
    annotation of an image that the file does not list is left out and counted, as
    files cut down to some images have them; one of an unknown category is an error,
    since its object would be trained as background.

    Args:
        annotation_file: for example annotations/instances_train2017.json.
        image_folder: what the file names of the images are relative to.
        name: of the data set returned.

    Raises:
        ValueError: the file is missing or malformed, lacks a key, or lists images that
            are not in the folder.
    """
    content = _load(annotation_file)
    drops = Drops()
    names, category_ids = _categories(annotation_file, content["categories"])
    images = _images(annotation_file, content["images"], image_folder)
    objects = _columns(
        annotation_file, content["annotations"], images, category_ids, drops
    )
    records = build_records(images, objects, drops, closing=0.0)
    return Dataset(
        name=name,
        layout="coco",
        classes=(BACKGROUND, *names),
        records=records,
        drops=drops.log(name),
        annotation_file=annotation_file,
        category_ids=(0, *category_ids),
    )


def _load(path: Path) -> dict[str, list[_Entry]]:
    """Read the file and check that its three tables are lists of objects."""
    content = read_json(
        path, expected="COCO annotations", remedy="fetch or write the file again"
    )
    for key in ("images", "annotations", "categories"):
        table = content.get(key) if isinstance(content, dict) else None
        if not isinstance(table, list) or not all(isinstance(e, dict) for e in table):
            raise ValueError(
                f"{path}: expected a list of objects under the key {key!r}, found none;"
                " give an instances file in COCO layout"
            )
    return dict(content)


def _get(path: Path, table: str, place: int, entry: _Entry, key: str) -> Any:
    if key not in entry:
        raise ValueError(
            f"{path}: {table}[{place}] (id {entry.get('id')}): expected the key "
            f"{key!r}, found only {', '.join(map(repr, entry))}; add it"
        )
    return entry[key]


def _whole(path: Path, table: str, place: int, entry: _Entry, key: str) -> int:
    """Get a value that must be a whole number fitting 64 bits."""
    value = _get(path, table, place, entry, key)
    if type(value) is not int or abs(value) >= 2**63:
        raise ValueError(
            f"{path}: {table}[{place}]: expected a whole number under {key!r}, found "
            f"{value!r}; correct it"
        )
    return value


def _categories(path: Path, table: Sequence[_Entry]) -> tuple[list[str], list[int]]:
    """Give the class names and their category ids, by ascending id."""
    names: dict[int, str] = {}
    for place, entry in enumerate(table):
        number = _whole(path, "categories", place, entry, "id")
        name = str(_get(path, "categories", place, entry, "name"))
        if number in names or name in names.values():
            raise ValueError(
                f"{path}: categories[{place}]: expected ids and names that differ, "
                f"found id {number} or name {name!r} a second time; rename one"
            )
        names[number] = name
    if not names:
        raise ValueError(f"{path}: expected categories, found none; add them")
    ids = sorted(names)
    return [names[number] for number in ids], ids


def _images(path: Path, table: Sequence[_Entry], folder: Path) -> list[RawImage]:
    """Find the images, in the order of the file."""
    if not table:
        raise ValueError(f"{path}: expected images, found none; add them")
    there = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    images: dict[int, RawImage] = {}
    missing = []
    for place, entry in enumerate(table):
        number = _whole(path, "images", place, entry, "id")
        file_name = str(_get(path, "images", place, entry, "file_name"))
        if number in images:
            raise ValueError(
                f"{path}: images[{place}]: expected ids that differ, found {number} a "
                "second time; take one of the two out"
            )
        # One look at the folder serves all but names with a folder of their own.
        file = folder / file_name
        if file_name not in there and not ("/" in file_name and file.is_file()):
            missing.append(file_name)
            continue
        width, height = entry.get("width"), entry.get("height")
        if not (type(width) is int and type(height) is int and min(width, height) > 0):
            width, height = image_size(file)
        images[number] = RawImage(str(number), file, width, height, source=path)
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} of {len(table)} images are not in {folder}: "
            f"{few(missing)}; unpack the images there"
        )
    return list(images.values())


def _columns(
    path: Path,
    table: Sequence[_Entry],
    images: Sequence[RawImage],
    category_ids: Sequence[int],
    drops: Drops,
) -> RawObjects:
    """Turn the annotations into columns."""
    image_of = {int(raw.image_id): place for place, raw in enumerate(images)}
    class_of = {number: place for place, number in enumerate(category_ids, start=1)}
    image, label, ids, crowd, areas = [], [], [], [], []
    boxes: list[tuple[float, ...]] = []
    for place, entry in enumerate(table):
        number = _whole(path, "annotations", place, entry, "id")
        owner = _whole(path, "annotations", place, entry, "image_id")
        category = _whole(path, "annotations", place, entry, "category_id")
        if category not in class_of:
            raise ValueError(
                f"{path}: annotations[{place}] (id {number}): unknown category id "
                f"{category}, expected one of {few([str(i) for i in category_ids])}; "
                "add the category or take the annotation out"
            )
        if owner not in image_of:
            drops.add(
                "annotation of an image that is not listed",
                f"annotation {number} of image {owner} in {path}",
            )
            continue
        boxes.append(_edges(path, place, entry))
        image.append(image_of[owner])
        label.append(class_of[category])
        ids.append(number)
        crowd.append(bool(entry.get("iscrowd", 0)))
        areas.append(_area(entry))
    return RawObjects(
        image=np.array(image, np.int64),
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        classes=np.array(label, np.int64),
        difficult=np.zeros(len(image), np.bool_),
        crowd=np.array(crowd, np.bool_),
        areas=np.array(areas, np.float64),
        ids=np.array(ids, np.int64),
    )


def _edges(path: Path, place: int, entry: _Entry) -> tuple[float, ...]:
    """Turn x, y, width, height into pixel edges."""
    box = _get(path, "annotations", place, entry, "bbox")
    try:
        x, y, width, height = map(float, box)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"{path}: annotations[{place}] (id {entry['id']}): expected four numbers "
            f"under 'bbox', found {box!r}; correct it"
        ) from None
    return x, y, x + width, y + height


def _area(entry: _Entry) -> float:
    """Give the area, NaN where the file has none: the box's own serves then."""
    try:
        return float(entry["area"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return np.nan
