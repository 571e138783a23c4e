"""Check the rows of a COCO result list, and report defects with count and example."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..datasets.records import Dataset
from ..utils.untrusted.json_files import is_number

KEYS = ("image_id", "category_id", "bbox", "score")


def check_rows(
    path: Path,
    rows: Sequence[Any],
    images: Mapping[int | str, int],
    categories: Mapping[int, int],
    dataset: Dataset,
) -> None:
    """Check that a result list matches the data set.

    Args:
        path: path of the list.
        rows: its elements.
        images: the data set's images by the id in the rows.
        categories: its classes by the id in the rows.
        dataset: data set to name in the message.

    Raises:
        ValueError: some rows are invalid; the message has the count and the first
            example of each kind.
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
    if problems:
        raise ValueError(_message(path, rows, problems, dataset))


def _problem(
    row: Any,
    images: Mapping[int | str, int],
    categories: Mapping[int, int],
    classes: tuple[str, ...],
) -> str:
    """Describe what makes a row unusable; "" for a valid one."""
    if not isinstance(row, dict) or any(key not in row for key in KEYS):
        return f"rows without all of {', '.join(KEYS)}"
    image_id, category_id, bbox, score = (row[key] for key in KEYS)
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


def _message(
    path: Path,
    rows: Sequence[Any],
    problems: Mapping[str, Sequence[int]],
    dataset: Dataset,
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
