"""Write texts on pictures: titles, and labels of boxes that cover each other least."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]
Color: TypeAlias = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BLACK: Color = (0, 0, 0)
_WHITE: Color = (255, 255, 255)
_ROWS_AWAY = 5
"""Largest distance of a label from its box, in heights of the label."""


class LabelPlace(NamedTuple):
    """Column and row of a label, and ends of a line to its box unless it touches it."""

    left: int
    top: int
    line: tuple[tuple[int, int], tuple[int, int]] | None


def text_scale(picture: npt.NDArray[np.uint8]) -> float:
    """Return the size of texts: a fortieth of the picture, and never too small."""
    height, width, _ = picture.shape
    return float(np.clip(min(height, width) / 1200, 0.4, 6))


def _weight(scale: float) -> int:
    """Return the thickness of letters in pixels."""
    return max(1, round(1.5 * scale))


def text_size(text: str, scale: float) -> tuple[int, int, int]:
    """Return width, height over the baseline and depth below it, in pixels."""
    (width, height), depth = cv2.getTextSize(text, _FONT, scale, _weight(scale))
    return width, height, depth


def put_text(
    picture: npt.NDArray[np.uint8],
    text: str,
    x: int,
    y: int,
    scale: float,
    color: Color,
) -> None:
    """Write a text from (x, y) on, the left end of its baseline."""
    weight = _weight(scale)
    cv2.putText(picture, text, (x, y), _FONT, scale, color, weight, cv2.LINE_AA)


def draw_labels(
    picture: npt.NDArray[np.uint8],
    texts: Sequence[str],
    corners: Array,
    colors: Sequence[Color],
) -> None:
    """Write labels where they cover least, the first on top; empty ones are left out.

    Args:
        corners: ``(B, 4)`` outermost pixels of their boxes.
    """
    height, width, _ = picture.shape
    scale = text_scale(picture)
    margin = max(2, round(4 * scale))
    measured = [text_size(text, scale) for text in texts]
    sizes = [
        (wide + 2 * margin, tall + depth + margin) if text else (0, 0)
        for text, (wide, tall, depth) in zip(texts, measured, strict=True)
    ]
    places = place_labels(
        corners + np.array((0, 0, 1, 1)),
        np.array(sizes, float).reshape(-1, 2),
        width=width,
        height=height,
    )
    for i, (left, top, line) in reversed(list(enumerate(places))):
        if not texts[i]:
            continue
        if line:
            cv2.line(picture, *line, colors[i], _weight(scale))
        right, bottom = left + sizes[i][0] - 1, top + sizes[i][1] - 1
        cv2.rectangle(picture, (left, top), (right, bottom), colors[i], cv2.FILLED)
        red, green, blue = colors[i]
        ink = _BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else _WHITE
        base = bottom - measured[i][2] - margin // 2
        put_text(picture, texts[i], left + margin, base, scale, ink)


def place_labels(
    boxes: Array, sizes: Array, *, width: int, height: int
) -> list[LabelPlace]:
    """Choose a place for each label: above its box, below, beside or inside, or near.

    Labels are placed in turn, each where it covers the least: other labels above all,
    then small objects, then large ones. A label of size 0 takes no place.

    Args:
        boxes: ``(B, 4)`` pixel edges within the picture, the most important first.
        sizes: ``(B, 2)`` width and height of each label.

    Returns:
        B places within the picture, as far as the labels fit into it.
    """
    boxes, sizes = np.asarray(boxes, float), np.asarray(sizes, float)
    areas = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1.0)
    limits = np.maximum((width, height) - sizes, 0)
    taken = np.zeros((0, 4))
    places = []
    for i, (box, size) in enumerate(zip(boxes, sizes, strict=True)):
        for away in (False, True):
            corners, costs = _candidates(box, size, away=away)
            corners = np.clip(corners, 0, limits[i])
            labels = np.concatenate([corners, corners + size], axis=1)
            covered = _common(labels, boxes)
            # A part of a label hides little of a large object, and all of a small one.
            costs = costs + (covered / areas).sum(axis=1)
            others = covered.sum(axis=1) - 0.5 * covered[:, i]
            costs += 0.3 * others / max(size.prod(), 1.0)
            hidden = _common(labels, taken).sum(axis=1)
            costs += 3 * (hidden > 0) + 20 * hidden / max(size.prod(), 1.0)
            best = int(costs.argmin())
            if not hidden[best]:
                break
        taken = np.concatenate([taken, labels[best : best + 1]])
        places.append(_place(labels[best], box))
    return places


def _candidates(box: Array, size: Array, *, away: bool) -> tuple[Array, Array]:
    """Return left upper corners ``(P, 2)`` for a label, and P costs of their oddness.

    With ``away``, some of them do not touch the box.
    """
    x1, y1, x2, y2 = box.tolist()
    wide, tall = size.tolist()
    xs = (x1, x2 - wide, (x1 + x2 - wide) / 2)
    above, below, middle = y1 - tall, y2, (y1 + y2 - tall) / 2
    ranked = [
        *((x, y) for y in (above, below) for x in xs),
        *((x, y) for y in (y1, middle, y2 - tall) for x in (x2, x1 - wide)),
        *((x, y) for y in (y1, y2 - tall) for x in xs),
    ]
    costs = [0.02 * rank for rank in range(len(ranked))]
    for steps in range(1, _ROWS_AWAY + 1) if away else ():
        rows = above - steps * tall, below + steps * tall
        columns = x1 - (1 + steps / 4) * wide, x2 + steps / 4 * wide
        far = [(x, y) for y in rows for x in (*xs, *columns)]
        far += [(x, y) for x in columns for y in (y1, middle)]
        ranked += far
        costs += [0.4 + 0.3 * steps] * len(far)
    return np.array(ranked), np.array(costs)


def _common(labels: Array, boxes: Array) -> Array:
    """Return ``(P, B)`` areas that P labels and B boxes have in common."""
    low = np.maximum(labels[:, None, :2], boxes[None, :, :2])
    high = np.minimum(labels[:, None, 2:], boxes[None, :, 2:])
    common: Array = np.maximum(high - low, 0).prod(axis=2)
    return common


def _place(label: Array, box: Array) -> LabelPlace:
    left, top, right, bottom = (int(v) for v in label)
    near, far = np.clip(box, (left, top) * 2, (right, bottom) * 2).reshape(2, 2)
    start = ((near + far) / 2).astype(int)
    end = np.clip(start, box[:2], np.maximum(box[2:] - 1, box[:2])).astype(int)
    line = None
    if np.abs(start - end).max() > 1:
        line = (int(start[0]), int(start[1])), (int(end[0]), int(end[1]))
    return LabelPlace(left, top, line)
