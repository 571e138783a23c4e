"""The annotations of a file in COCO layout, as columns that may exceed memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..index.index_writer import ROWS, Spool
from ..index.packed_masks import MaskBytes
from ..records import BACKGROUND, BoolArray, Drops, IntArray, RawObjects, Wanted, few
from .coco_masks import mask_box, mask_size, parse_mask
from .values import four_numbers, is_set, whole_number
from .written_keypoints import clean_keypoints

Entry = dict[str, Any]

_WHOLE = ("id", "image_id", "category_id")
"""Keys of an annotation whose values are integers."""

CENTRES = np.array((0.5, 0.5, 0.0))
"""Shift from COCO's pixel indices to continuous pixels, of x, y and visibility."""


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


class MasksNeededError(ValueError):
    """An annotation has no box but a mask, and masks were skipped."""


class Annotations:
    """Columns of annotations, collected before images and categories are known.

    Args:
        scratch: folder of temporary files; if None, the system's.
        skip_masks: whether masks are not even parsed, to save time.
    """

    def __init__(
        self, path: Path, scratch: Path | None, wanted: Wanted, *, skip_masks: bool
    ) -> None:
        self.path = path
        self.scratch = scratch
        self.wanted = wanted
        self.skip_masks = skip_masks
        self.drops = Drops()
        self.masks = MaskBytes(scratch)
        self.columns = {
            **{key: Spool(np.zeros(0, np.int64), scratch) for key in _WHOLE},
            "boxes": Spool(np.zeros((0, 4)), scratch),  # pixel edges
            "areas": Spool(np.zeros(0), scratch),
            "crowd": Spool(np.zeros(0, np.bool_), scratch),
        }
        if wanted.masks:
            self.columns["masks"] = Spool(np.zeros((0, 2), np.int64), scratch)
            # width and height of run lengths, 0 for polygons
            self.columns["mask_sizes"] = Spool(np.zeros((0, 2), np.int32), scratch)

    def __len__(self) -> int:
        return len(self.columns["id"])

    def add(self, rows: list[Entry]) -> None:
        """Add the next entries."""
        if not rows:
            return
        packed = None if self.skip_masks else self._packed_masks(rows)
        if self.wanted.keypoints:
            self._add_keypoints(rows)
        values = _columns(rows) or self._columns_of_doubtful(rows, packed)
        if self.wanted.masks and packed is not None:
            values["masks"] = self.masks.add(packed)
            values["mask_sizes"] = [mask_size(mask) for mask in packed]
        for key, value in values.items():
            self.columns[key].append(value)

    def _packed_masks(self, rows: list[Entry]) -> list[bytes]:
        packed = []
        for place, entry in enumerate(rows, start=len(self)):
            value = entry.get("segmentation")
            faults: list[str] = []
            try:
                packed.append(parse_mask(value, faults.append))
            except ValueError as error:
                raise ValueError(
                    f"{self.path}: annotations[{place}] (id {entry.get('id')}): "
                    f"{error} under 'segmentation', found {value!r:.80}; correct it"
                ) from None
            for kind in faults:
                self.drops.add(kind, f"annotation {entry.get('id')} in {self.path}")
        return packed

    def _add_keypoints(self, rows: list[Entry]) -> None:
        given = [entry.get("keypoints") or () for entry in rows]
        if "keypoints" not in self.columns:
            first = next((row for row, own in enumerate(given) if own), None)
            if first is None:
                return
            where = f"annotations[{len(self) + first}] (id {rows[first].get('id')})"
            self.expect_keypoints(-(-_length(given[first]) // 3), where)
        column = self.columns["keypoints"]
        count = column.row[0]
        values = np.zeros((len(rows), count, 3))
        for row, own in enumerate(given):
            if not own:
                continue
            try:
                # COCO gives pixels, whose centres are half a pixel further.
                values[row] = np.array(own, np.float64).reshape(count, 3) + CENTRES
            except (TypeError, ValueError):
                raise ValueError(
                    f"{self.path}: annotations[{len(self) + row}] (id "
                    f"{rows[row].get('id')}): expected x, y and visibility of {count} "
                    f"keypoints under 'keypoints', found {_length(own)} values "
                    f"{own!r:.60}; correct it"
                ) from None

        def example(row: int) -> str:
            return f"annotation {rows[row].get('id')} in {self.path}"

        column.append(clean_keypoints(values, example, self.drops))

    def expect_keypoints(self, count: int, where: str) -> None:
        """Begin the column of keypoints; earlier annotations have none."""
        column = Spool(np.zeros((0, count, 3), np.float32), self.scratch)
        for start in range(0, len(self), ROWS):
            column.append(np.zeros((min(ROWS, len(self) - start), count, 3)))
        self.columns["keypoints"] = column
        self.first_keypoints = where

    def _columns_of_doubtful(
        self, rows: list[Entry], masks: list[bytes] | None
    ) -> dict[str, Any]:
        """Convert entries one by one like `_columns`: slowly, and with errors.

        Training does not need an annotation's own id: without one, its index is used.
        """
        wholes, areas = [], []
        boxes: list[tuple[float, ...]] = []
        for place, entry in enumerate(rows, start=len(self)):
            number = whole_number(entry.get("id"))
            if number is None:
                kind = "annotation without an id, numbered by its place"
                self.drops.add(kind, str(self.path))
                number = place
            row = self.path, "annotations", place, entry
            wholes.append([number, *(get_whole(*row, key) for key in _WHOLE[1:])])
            mask = masks[len(boxes)] if masks is not None else None
            boxes.append(self._box(place, entry, mask))
            try:
                areas.append(float(entry["area"]))
            except (KeyError, TypeError, ValueError, OverflowError):
                areas.append(np.nan)
        crowd = [is_set(entry.get("iscrowd")) for entry in rows]
        whole_columns = dict(zip(_WHOLE, zip(*wholes, strict=True), strict=True))
        return {**whole_columns, "boxes": boxes, "areas": areas, "crowd": crowd}

    def _box(self, place: int, entry: Entry, mask: bytes | None) -> tuple[float, ...]:
        """Return the pixel edges of an annotation, from its mask if it has no box."""
        if not entry.get("bbox") and "segmentation" in entry:
            if mask is None:
                raise MasksNeededError
            if mask:
                return mask_box(mask)
        box = get(self.path, "annotations", place, entry, "bbox")
        numbers = four_numbers(box)
        if numbers is None:
            raise ValueError(
                f"{self.path}: annotations[{place}] (id {entry.get('id')}): "
                f"expected four numbers under 'bbox', found {box!r:.80}; correct it"
            )
        x, y, width, height = numbers
        return x, y, x + width, y + height

    def used_categories(self) -> set[int]:
        """Return the category ids that occur."""
        used: set[int] = set()
        for piece in self.columns["category_id"].pieces():
            used.update(np.unique(piece).tolist())
        return used

    def objects(
        self,
        image_ids: IntArray,
        sizes: Sequence[tuple[int, int]],
        category_ids: Sequence[int],
        drops: Drops,
        *,
        of_background: bool = False,
    ) -> Iterator[RawObjects]:
        """Yield the annotations in pieces, with rows and classes in place of ids.

        Args:
            image_ids: COCO's ids of the listed images.
            sizes: width and height of those.
            category_ids: category ids of the classes.
            of_background: whether category 0 is the background, which has no objects.
        """
        place = 0
        drops.update(self.drops.found())
        rows_of, class_of = _Places(image_ids), _Places(np.array(category_ids))
        every_size = np.array(sizes, np.int32).reshape(-1, 2)
        pieces = zip(*(c.pieces() for c in self.columns.values()), strict=True)
        for values in pieces:
            piece = dict(zip(self.columns, values, strict=True))
            ids, owners, categories = (piece[key] for key in _WHOLE)
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
            if "masks" in piece:
                own = piece.pop("mask_sizes")
                other = listed & (own != 0).any(1) & (own != every_size[image]).any(1)
                if other.any():
                    row = int(np.argmax(other))
                    drops.add(
                        "mask of another size than its image",
                        f"annotation {ids[row]} in {self.path}",
                        int(np.count_nonzero(other)),
                    )
                piece["masks"] = np.where(other[:, None], 0, piece["masks"])
            yield RawObjects(
                image=image[listed],
                classes=classes[listed] + 1,
                ids=ids[listed],
                **{k: v[listed] for k, v in piece.items() if k not in _WHOLE},
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


def _length(values: Any) -> int:
    return len(values) if isinstance(values, list) else 1


def _columns(rows: list[Entry]) -> dict[str, Any] | None:
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
        return {
            **{k: np.array(c, np.int64) for k, c in zip(_WHOLE, wholes, strict=True)},
            "boxes": boxes,
            "areas": np.array(areas, np.float64),
            "crowd": crowd,
        }
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
