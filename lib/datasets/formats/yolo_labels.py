"""Parse label files in YOLO layout: boxes, polygons and keypoints.

All are fractions of the image's width and height.
"""

from collections.abc import Sequence
from typing import NamedTuple

from .values import Fault
from .yolo_settings import Pose

_FARTHEST = 2.0
"""Fractions beyond this are not slips at the image's edge: they are pixels."""


class Row(NamedTuple):
    """One object."""

    place: int  # line number, from 0
    class_id: int  # as written
    # x1, y1, x2, y2 as fractions of the image's width and height
    box: tuple[float, float, float, float]
    polygon: tuple[float, ...] = ()  # x and y in turn; empty for a row of a box
    # x, y and visibility of each; empty for a row without
    keypoints: tuple[tuple[float, float, float], ...] = ()


def parse_labels(data: bytes, fault: Fault, pose: Pose | None = None) -> list[Row]:
    """Parse a label file; report each fault, and leave out its row or the whole file.

    Args:
        pose: the keypoints that rows may have, instead of polygons.
    """
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        fault(
            f"expected labels as plain text, cannot read them ({error}); restore the "
            "file",
            None,
        )
        return []
    rows = []
    for place, line in enumerate(lines):
        if line and not line.isspace():
            try:
                rows.append(parse_row(place, line, pose))
            except ValueError as error:
                fault(f"line {place + 1}: {error}; correct it", place)
    return rows


def parse_row(place: int, line: str, pose: Pose | None = None) -> Row:
    """Parse ``class cx cy width height``, or a polygon ``class x1 y1 x2 y2 ...``.

    Args:
        place: line number, from 0.
        pose: the keypoints that may follow a box.

    Raises:
        ValueError: it is neither; the message does not name the file.
    """
    try:
        class_number, *shares = map(float, line.split())
    except ValueError:
        raise ValueError(f"expected numbers, found {line.strip()!r:.80}") from None
    polygon: tuple[float, ...] = ()
    keypoints: tuple[tuple[float, float, float], ...] = ()
    of_pose = pose.values * len(pose.keypoints.names) if pose else 0
    if len(shares) in (4, 4 + of_pose):
        x, y, width, height = shares[:4]
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        if pose:
            keypoints = _keypoints(shares[4:], pose.values)
    elif pose:
        raise ValueError(
            "expected a class id, x, y, width, height and, as kpt_shape says, "
            f"{of_pose} numbers of keypoints, found {len(shares) + 1} numbers"
        )
    elif len(shares) >= 6 and len(shares) % 2 == 0:
        polygon, xs, ys = tuple(shares), shares[::2], shares[1::2]
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
    return Row(place, int(class_number), box, polygon, keypoints)


def _keypoints(
    values: Sequence[float], each: int
) -> tuple[tuple[float, float, float], ...]:
    """Add the visibility where labels have none: 0 at the corner or outside, else 2."""
    flat = iter(values)
    if each == 3:
        return tuple(zip(flat, flat, flat, strict=True))
    pairs = zip(flat, flat, strict=True)
    return tuple((x, y, 2.0 * (min(x, y) >= 0 and (x, y) != (0, 0))) for x, y in pairs)
