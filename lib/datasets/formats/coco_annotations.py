"""The annotations of a file in COCO layout, as columns that may exceed memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..index.index_writer import Spool
from ..records import BACKGROUND, BoolArray, Drops, IntArray, RawObjects, few
from .values import four_numbers, is_set, whole_number

Entry = dict[str, Any]

_WHOLE = ("id", "image_id", "category_id")
"""Keys of an annotation whose values are integers."""


def get(path: Path, table: str, place: int, entry: Entry, key: str) -> Any:
    """Return the value of a required key of an entry, or raise ValueError."""
    if key not in entry:
        raise ValueError(
            f"{path}: {table}[{place}] (id {entry.get('id')}): expected the key "
            f"{key!r}, found only {', '.join(map(repr, entry))}; add it"
        )
    return entry[key]


def get_whole(path: Path, table: str, place: int, entry: Entry, key: str) -> int:
    """Return such a value as a 64-bit integer; text such as "7" is accepted."""
    value = get(path, table, place, entry, key)
    number = whole_number(value)
    if number is None:
        raise ValueError(
            f"{path}: {table}[{place}]: expected a whole number under {key!r}, found "
            f"{value!r:.80}; correct it"
        )
    return number


class Annotations:
    """Columns of annotations, collected before images and categories are known."""

    def __init__(self, path: Path, scratch: Path | None) -> None:
        self.path = path
        self.unnumbered = 0
        self.columns = (
            *(Spool(np.zeros(0, np.int64), scratch) for _ in _WHOLE),
            Spool(np.zeros((0, 4)), scratch),  # boxes, as pixel edges
            Spool(np.zeros(0), scratch),  # areas
            Spool(np.zeros(0, np.bool_), scratch),  # crowd
        )

    def add(self, rows: list[Entry]) -> None:
        """Add the next entries."""
        if not rows:
            return
        values = _columns(rows) or self._columns_of_doubtful(rows)
        for column, value in zip(self.columns, values, strict=True):
            column.append(value)

    def _columns_of_doubtful(self, rows: list[Entry]) -> tuple[Any, ...]:
        """Convert entries one by one like `_columns`: slowly, and with errors.

        Training does not need an annotation's own id: without one, its index is used.
        """
        wholes, boxes, areas = [], [], []
        for place, entry in enumerate(rows, start=len(self.columns[0])):
            number = whole_number(entry.get("id"))
            if number is None:
                self.unnumbered += 1
                number = place
            row = self.path, "annotations", place, entry
            wholes.append([number, *(get_whole(*row, key) for key in _WHOLE[1:])])
            box = get(*row, "bbox")
            numbers = four_numbers(box)
            if numbers is None:
                raise ValueError(
                    f"{self.path}: annotations[{place}] (id {entry.get('id')}): "
                    f"expected four numbers under 'bbox', found {box!r:.80}; correct it"
                )
            x, y, width, height = numbers
            boxes.append((x, y, x + width, y + height))
            try:
                areas.append(float(entry["area"]))
            except (KeyError, TypeError, ValueError, OverflowError):
                areas.append(np.nan)
        crowd = [is_set(entry.get("iscrowd")) for entry in rows]
        return *zip(*wholes, strict=True), boxes, areas, crowd

    def used_categories(self) -> set[int]:
        """Return the category ids that occur."""
        used: set[int] = set()
        for piece in self.columns[_WHOLE.index("category_id")].pieces():
            used.update(np.unique(piece).tolist())
        return used

    def objects(
        self,
        image_ids: IntArray,
        category_ids: Sequence[int],
        drops: Drops,
        *,
        of_background: bool = False,
    ) -> Iterator[RawObjects]:
        """Yield the annotations in pieces, with rows and classes in place of ids.

        Args:
            image_ids: COCO's ids of the listed images.
            category_ids: category ids of the classes.
            drops: counts dropped annotations.
            of_background: whether category 0 is the background, which has no objects.
        """
        place = 0
        if self.unnumbered:
            kind = "annotation without an id, numbered by its place"
            drops.add(kind, str(self.path), self.unnumbered)
        rows_of, class_of = _Places(image_ids), _Places(np.array(category_ids))
        pieces = zip(*(column.pieces() for column in self.columns), strict=True)
        for ids, owners, categories, boxes, areas, crowd in pieces:
            known, classes = class_of(categories)
            nothing = (categories == 0) & of_background
            if nothing.any():
                row = int(np.argmax(nothing))
                drops.add(
                    f"annotation of category 0, {BACKGROUND}",
                    f"annotation {ids[row]} in {self.path}",
                    int(np.count_nonzero(nothing)),
                )
            if not (known | nothing).all():
                row = int(np.argmin(known | nothing))
                raise ValueError(
                    f"{self.path}: annotations[{place + row}] (id {ids[row]}): unknown "
                    f"category id {categories[row]}, expected one of "
                    f"{few([str(i) for i in category_ids])}; add the category, or"
                    " remove the annotation"
                )
            listed, image = rows_of(owners)
            if not listed.all():
                row = int(np.argmin(listed))
                drops.add(
                    "annotation of an image that is not listed",
                    f"annotation {ids[row]} of image {owners[row]} in {self.path}",
                    int(np.count_nonzero(~listed)),
                )
            listed &= ~nothing
            yield RawObjects(
                image=image[listed],
                boxes=boxes[listed],
                classes=classes[listed] + 1,
                crowd=crowd[listed],
                areas=areas[listed],
                ids=ids[listed],
            )
            place += len(ids)


class _Places:
    """Looks up numbers in a list of distinct numbers."""

    def __init__(self, numbers: IntArray) -> None:
        self.order = np.argsort(numbers, kind="stable")
        self.sorted = numbers[self.order]

    def __call__(self, wanted: IntArray) -> tuple[BoolArray, IntArray]:
        """Return which numbers are in the list, and the position of each that is."""
        at = np.searchsorted(self.sorted, wanted)
        at = np.minimum(at, len(self.sorted) - 1)
        return self.sorted[at] == wanted, self.order[at]


def _columns(rows: list[Entry]) -> tuple[Any, ...] | None:
    """Convert entries to columns; None if any entry is not as expected."""
    try:
        wholes = [[row[key] for row in rows] for key in _WHOLE]
        areas = [row.get("area", np.nan) for row in rows]
        numbers = [set(map(type, column)) for column in (*wholes, areas)]
        if any(types != {int} for types in numbers[:-1]) or numbers[-1] - {int, float}:
            return None
        # x, y, width, height
        boxes = np.array([row["bbox"] for row in rows], np.float64)
        if boxes.shape != (len(rows), 4) or np.isnan(boxes).any():
            return None
        boxes[:, 2:] += boxes[:, :2]
        crowd = [is_set(row.get("iscrowd")) for row in rows]
        return (
            *(np.array(c, np.int64) for c in wholes),
            boxes,
            np.array(areas, np.float64),
            crowd,
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
