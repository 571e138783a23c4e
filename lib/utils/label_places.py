"""Place the labels of boxes so that they cover neither each other nor the objects."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]

_ROWS_AWAY = 5
"""Largest distance of a label from its box, in heights of the label."""


class LabelPlace(NamedTuple):
    """Where a label is drawn.

    Attributes:
        left: its first column of pixels.
        top: its first row.
        line: both ends of a line to its box, if the label does not touch it.
    """

    left: int
    top: int
    line: tuple[tuple[int, int], tuple[int, int]] | None


def place_labels(
    boxes: Array, sizes: Array, *, width: int, height: int
) -> list[LabelPlace]:
    """Choose a place for each label: above its box, below, beside or inside, or near.

    Labels are placed in turn, each where it covers the least: other labels above all,
    then small objects, then large ones. A label of size 0 takes no place.

    Args:
        boxes: ``(B, 4)`` pixel edges within the picture, the most important first.
        sizes: ``(B, 2)`` width and height of each label.
        width: width of the picture in pixels.
        height: its height.

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
    """Return ``(P, 2)`` left upper corners for a label, and P costs of their oddness.

    Args:
        box: ``(4,)`` pixel edges.
        size: ``(2,)`` width and height of the label.
        away: include places that do not touch the box.
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
