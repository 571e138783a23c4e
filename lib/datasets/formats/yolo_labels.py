"""Parse the rows of a label file in YOLO layout: boxes as fractions of the image."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_FARTHEST = 2.0
"""Fractions beyond this are not slips at the image's edge: they are pixels."""


class Row(NamedTuple):
    """One object.

    Attributes:
        place: line number, from 1.
        class_id: as written.
        box: x1, y1, x2, y2 as fractions of the image's width and height.
    """

    place: int
    class_id: int
    box: tuple[float, float, float, float]


def parse_row(place: int, line: str) -> Row:
    """Parse ``class cx cy width height``, or a polygon ``class x1 y1 x2 y2 ...``.

    Args:
        place: line number, from 1.
        line: text of the line.

    Raises:
        ValueError: it is neither; the message does not name the file.
    """
    try:
        class_number, *shares = map(float, line.split())
    except ValueError:
        raise ValueError(f"expected numbers, found {line.strip()!r:.80}") from None
    if len(shares) == 4:
        x, y, width, height = shares
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    elif len(shares) >= 6 and len(shares) % 2 == 0:
        xs, ys = shares[::2], shares[1::2]
        box = (min(xs), min(ys), max(xs), max(ys))
    else:
        raise ValueError(
            "expected a class id and x, y, width, height, or the corners of a polygon, "
            f"found {len(shares) + 1} numbers"
            + (" (detections have a score as the sixth)" if len(shares) == 5 else "")
        )
    if not class_number.is_integer() or class_number < 0:
        raise ValueError(f"expected a class id of 0 or more, found {line.split()[0]}")
    far = [share for share in shares if _FARTHEST < abs(share) < float("inf")]
    if far:
        raise ValueError(
            "expected shares of the image's width and height, 0 to 1, found "
            f"{far[0]:g}, perhaps pixels"
        )
    return Row(place, int(class_number), box)


def parse_labels(path: Path, data: bytes, names: Mapping[int, str]) -> list[Row]:
    """Read a label file.

    Args:
        path: path of the file, for errors.
        data: content of the file.
        names: class names by id.

    Raises:
        ValueError: a row is malformed, or its class has no name.
    """
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected labels as plain text, cannot read them ({error}); "
            "restore the file"
        ) from error
    rows = []
    for place, line in enumerate(lines, start=1):
        if not line or line.isspace():
            continue
        try:
            row = parse_row(place, line)
        except ValueError as error:
            raise ValueError(f"{path}: line {place}: {error}; correct it") from None
        if row.class_id not in names:
            raise ValueError(
                f"{path}: line {place}: unknown class id {row.class_id}, expected "
                f"{_ids(names)}; correct it, or add the name of that class"
            )
        rows.append(row)
    return rows


def _ids(names: Mapping[int, str]) -> str:
    first, last = min(names), max(names)
    if len(names) == last - first + 1:
        return f"{first} to {last}" if len(names) > 1 else str(first)
    return f"one of {', '.join(map(str, names))}"
