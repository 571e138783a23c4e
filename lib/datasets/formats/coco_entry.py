"""The values of one entry of a file in COCO's layout, or what is wrong with them."""

from pathlib import Path
from typing import Any

import numpy as np

Entry = dict[str, Any]


def get(path: Path, table: str, place: int, entry: Entry, key: str) -> Any:
    """Get the value of a key that must be there."""
    if key not in entry:
        raise ValueError(
            f"{path}: {table}[{place}] (id {entry.get('id')}): expected the key "
            f"{key!r}, found only {', '.join(map(repr, entry))}; add it"
        )
    return entry[key]


def whole(path: Path, table: str, place: int, entry: Entry, key: str) -> int:
    """Get a value that must be a whole number fitting 64 bits."""
    value = get(path, table, place, entry, key)
    if type(value) is not int or abs(value) >= 2**63:
        raise ValueError(
            f"{path}: {table}[{place}]: expected a whole number under {key!r}, found "
            f"{value!r}; correct it"
        )
    return value


def edges(path: Path, place: int, entry: Entry) -> tuple[float, ...]:
    """Turn x, y, width, height into pixel edges."""
    box = get(path, "annotations", place, entry, "bbox")
    try:
        x, y, width, height = map(float, box)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"{path}: annotations[{place}] (id {entry['id']}): expected four numbers "
            f"under 'bbox', found {box!r}; correct it"
        ) from None
    return x, y, x + width, y + height


def area(entry: Entry) -> float:
    """Give the area, NaN where the file has none: the box's own serves then."""
    try:
        return float(entry["area"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return np.nan
