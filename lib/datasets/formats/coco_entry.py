"""Read the values of one entry of a file in COCO layout, or report the error."""

from pathlib import Path
from typing import Any

import numpy as np

from .values import whole_number

Entry = dict[str, Any]


def get(path: Path, table: str, place: int, entry: Entry, key: str) -> Any:
    """Return the value of a required key."""
    if key not in entry:
        raise ValueError(
            f"{path}: {table}[{place}] (id {entry.get('id')}): expected the key "
            f"{key!r}, found only {', '.join(map(repr, entry))}; add it"
        )
    return entry[key]


def whole(path: Path, table: str, place: int, entry: Entry, key: str) -> int:
    """Return a value as a 64-bit integer; text such as "7" is accepted."""
    value = get(path, table, place, entry, key)
    number = whole_number(value)
    if number is None:
        raise ValueError(
            f"{path}: {table}[{place}]: expected a whole number under {key!r}, found "
            f"{value!r:.80}; correct it"
        )
    return number


def four_numbers(box: Any) -> tuple[float, float, float, float] | None:
    """Read x, y, width, height; None if they are not four numbers."""
    try:
        x, y, width, height = map(float, box)
    except (TypeError, ValueError, OverflowError):
        return None
    return x, y, width, height


def edges(path: Path, place: int, entry: Entry) -> tuple[float, ...]:
    """Convert x, y, width, height to pixel edges."""
    box = get(path, "annotations", place, entry, "bbox")
    numbers = four_numbers(box)
    if numbers is None:
        raise ValueError(
            f"{path}: annotations[{place}] (id {entry.get('id')}): expected four "
            f"numbers under 'bbox', found {box!r:.80}; correct it"
        )
    x, y, width, height = numbers
    return x, y, x + width, y + height


def area(entry: Entry) -> float:
    """Return the area; NaN if the file has none, in which case the box's is used."""
    try:
        return float(entry["area"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return np.nan
