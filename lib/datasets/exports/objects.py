"""Objects of pictures, as tables of boxes and labelling tools write them."""

import cmath
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

Edges = tuple[float, float, float, float]


class Object(NamedTuple):
    """An object of a file."""

    label: str  # name of its class
    edges: Edges  # x1, y1, x2, y2, pixel edges; shares of the image if ``share``
    outline: tuple[float, ...] = ()  # x, y, x, y, ... in pixels; empty for a box.
    share: bool = False  # whether the edges are shares of the image's width and height


def turned(
    label: str, edges: Edges, degrees: float, pivot: tuple[float, float]
) -> Object:
    """Return the outline of a box that is turned clockwise about a pivot, in pixels."""
    x1, y1, x2, y2 = edges
    if not degrees:
        return Object(label, edges)
    turn = cmath.exp(1j * math.radians(degrees))
    centre = complex(*pivot)
    corners = (complex(x, y) for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2)))
    points = [centre + (corner - centre) * turn for corner in corners]
    return outlined(label, [p.real for p in points], [p.imag for p in points])


def outlined(label: str, xs: Sequence[float], ys: Sequence[float]) -> Object:
    """Return the object of a polygon, in pixels."""
    outline = tuple(float(v) for point in zip(xs, ys, strict=True) for v in point)
    return Object(label, (min(xs), min(ys), max(xs), max(ys)), outline)


Objects = Iterator[tuple[str, Object | None]]
"""Picture names with an object each; None for a picture without objects."""


def coco_row(
    number: int, image: int, category: int, edges: Edges, **more: Any
) -> dict[str, Any]:
    """Return a row of COCO's annotations, all of whose ids begin at 1."""
    x1, y1, x2, y2 = edges
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": max(x2 - x1, 0) * max(y2 - y1, 0),
        "iscrowd": 0,
        **more,
    }


class LabelledBox(NamedTuple):
    """A box to write: pixel edges, and its score unless a person has drawn it."""

    label: str
    edges: Edges
    score: float | None = None


class LabelledPicture(NamedTuple):
    """A picture to write: its path below the pictures' folder, its size, its boxes."""

    name: str
    width: int
    height: int
    boxes: tuple[LabelledBox, ...]
