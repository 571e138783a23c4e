"""Read a COCO instances file without stopping at its faults."""

from collections.abc import Container, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.untrusted.json_files import read_json
from ..formats.coco_annotations import CENTRES
from ..formats.coco_images import find_images
from ..formats.coco_masks import mask_box, parse_mask
from ..formats.coco_tables import is_without_objects, placeholders
from ..formats.values import four_numbers, is_set, whole_number
from ..formats.written_keypoints import clean_keypoints, flip_pairs
from ..records import BACKGROUND, Drops, KeypointNames
from .entries import Defect, Entry, ReadSource, Source, Written


def read_coco_entries(source: Source, _: Executor) -> ReadSource:
    """Read the images, annotations and category names of one instances file."""
    path = source.annotation_file
    assert path is not None
    malformed = "malformed annotation"
    try:
        content = read_json(path, expected="COCO annotations", remedy="replace it")
    except ValueError as error:
        detail = str(error).removeprefix(f"{path}: ")
        return ReadSource([], [Defect(malformed, path, detail)], [])
    if not isinstance(content, dict):
        detail = f"a {type(content).__name__}, expected an object with tables"
        return ReadSource([], [Defect(malformed, path, detail)], [])
    defects: list[Defect] = []
    annotations = list(_rows(path, content, "annotations", defects))
    used = {whole_number(row.get("category_id")) for _, row in annotations}
    names = _names(content, used)
    keypoints = _keypoint_names(content)
    entries = _images(source, path, content, defects)
    for place, row in annotations:
        owner = entries.get(whole_number(row.get("image_id")))
        where = f"annotations[{place}] (id {row.get('id')})"
        category = whole_number(row.get("category_id"))
        instance = _instance(row, keypoints)
        box = _box(row, instance.get("mask", b""))
        if box is None or category is None:
            detail = f"{where}: expected a bbox of four numbers and a category_id"
            defects.append(Defect(malformed, path, detail, owner, place))
            continue
        if owner is None:
            detail = f"{where}: of image {row.get('image_id')}"
            defects.append(Defect("annotation without image", path, detail))
            continue
        name = names.get(category, str(category))
        if category == 0 and name == BACKGROUND:
            detail = f"{where}: {name!r} is the background, and no object"
            defects.append(Defect("unknown class", path, detail, owner, place))
            continue
        crowd = is_set(row.get("iscrowd"))
        owner.objects.append(Written(place, name, box, crowd, **instance))
    if names.get(0) == BACKGROUND:
        del names[0]
    classes = list(names.values())
    return ReadSource(list(entries.values()), defects, classes, keypoints)


def _box(row: dict[str, Any], mask: bytes) -> tuple[float, float, float, float] | None:
    """Return the pixel edges of an object, from its mask if it has no box."""
    if not row.get("bbox") and mask:
        return mask_box(mask)
    numbers = four_numbers(row.get("bbox"))
    if numbers is None:
        return None
    x, y, width, height = numbers
    return x, y, x + width, y + height


def _instance(row: dict[str, Any], names: KeypointNames | None) -> dict[str, Any]:
    """Return what `Written` has besides the box."""
    found: dict[str, Any] = {}
    faults: list[str] = []
    try:
        found["mask"] = parse_mask(row.get("segmentation"), faults.append)
    except ValueError as error:
        faults.append(f"{error}, found {row['segmentation']!r:.60}")
    found["mask_faults"] = tuple(faults)
    area = row.get("area")
    if isinstance(area, int | float):
        found["area"] = float(area)
    given = row.get("keypoints")
    if not given:
        return found
    count = len(names.names) if names else 0
    problems = Drops()
    try:
        values = np.array(given, np.float64).reshape(1, count, 3) + CENTRES
        (found["keypoints"],) = clean_keypoints(values, lambda _: "", problems)
        kinds = list(problems.found())
        labelled, stated = int((values[..., 2] > 0).sum()), row.get("num_keypoints")
        if type(stated) is int and stated != labelled:
            kinds.append(f"num_keypoints {stated}, but {labelled} are labelled")
    except (TypeError, ValueError):
        number = len(given) if isinstance(given, list) else 1
        what = number if number != 3 * count else f"{given!r:.60}"
        kinds = [f"expected {3 * count} numbers, found {what}"]
    found["keypoint_faults"] = tuple(kinds)
    return found


def _keypoint_names(content: dict[str, Any]) -> KeypointNames | None:
    """Return the keypoints of the first category that has any."""
    table = content.get("categories")
    for row in table if isinstance(table, list) else ():
        names = row.get("keypoints") if isinstance(row, dict) else None
        if isinstance(names, list) and names:
            texts = tuple(map(str, names))
            return KeypointNames(texts, flip_pairs(texts))
    return None


def _names(content: dict[str, Any], used: Container[int | None]) -> dict[int, str]:
    """Return the class names by category id; skip malformed rows and placeholders."""
    table = content.get("categories")
    rows = [r for r in table if isinstance(r, dict)] if isinstance(table, list) else []
    spare = placeholders(rows, used)
    names = {}
    for place, row in enumerate(rows):
        number = whole_number(row.get("id"))
        if number is not None and row.get("name") and place not in spare:
            names[number] = str(row["name"])
    return names


def _images(
    source: Source, path: Path, content: dict[str, Any], defects: list[Defect]
) -> dict[int | None, Entry]:
    """Return the images by id."""
    entries: dict[int | None, Entry] = {}
    names: list[str] = []
    for place, row in _rows(path, content, "images", defects):
        number, file_name = whole_number(row.get("id")), row.get("file_name")
        where = f"images[{place}] (id {row.get('id')})"
        if number is None or not file_name:
            detail = f"{where}: expected a whole id and a file_name"
            defects.append(Defect("malformed annotation", path, detail))
        elif number in entries:
            detail = f"{where}: this id once more"
            defects.append(Defect("repeated entry", path, detail))
        else:
            names.append(str(file_name))
            image = source.folder / names[-1]
            entry = Entry(str(number), image, path, source, source.splits)
            entries[number] = entry
            width, height = row.get("width"), row.get("height")
            if type(width) is int and type(height) is int and min(width, height) > 0:
                entry.width, entry.height = width, height
            depth = row.get("depth")  # COCO has none; some exporters write one
            if type(depth) is int and depth > 0:
                entry.depth = depth
    found = find_images(source.folder, names)
    for entry, name in zip(entries.values(), found, strict=True):
        entry.path = source.folder / name if name else entry.path
    return entries


def _rows(
    path: Path, content: dict[str, Any], table: str, defects: list[Defect]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the well-formed rows of a table with their positions."""
    rows = content.get(table)
    if rows is None and table == "annotations" and is_without_objects(path):
        return
    if not isinstance(rows, list):
        detail = f"expected a list under {table!r}"
        defects.append(Defect("malformed annotation", path, detail))
        return
    for place, row in enumerate(rows):
        if isinstance(row, dict):
            yield place, row
        else:
            detail = f"{table}[{place}]: expected an object"
            defects.append(Defect("malformed annotation", path, detail))
