"""Average precision by size and by shape of the objects."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..voc_matching import Float64Array
from .matches import Matches
from .precision import average_precisions, mean_of_known

SIDES = (0.0, 16.0, 32.0, 96.0, 288.0, float("inf"))
"""Edges of the size groups: square roots of areas, in pixels of the original image.

32 and 96 are COCO's.
"""

RATIOS = (0.0, 1 / 3, 2 / 3, 3 / 2, 3.0, float("inf"))
"""Edges of the shape groups: width divided by height."""


class Group(NamedTuple):
    """Objects between two edges.

    Attributes:
        low: lower edge, included.
        high: upper edge, excluded.
        objects: number of objects that count.
        ap: mean over the classes that have such objects; NaN without any.
    """

    low: float
    high: float
    objects: int
    ap: float


def ap_by_size(matches: Matches, *, edges: Sequence[float] = SIDES) -> list[Group]:
    """Compute AP for the objects of each size alone; see ``ap_by``."""
    boxes = matches.found.boxes.astype(np.float64)
    areas = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
    return ap_by(matches, np.sqrt(matches.objects.areas), np.sqrt(areas), edges=edges)


def ap_by_ratio(matches: Matches, *, edges: Sequence[float] = RATIOS) -> list[Group]:
    """Compute AP for the objects of each shape alone; see ``ap_by``."""
    boxes = matches.found.boxes.astype(np.float64)
    return ap_by(matches, _ratios(matches.objects.boxes), _ratios(boxes), edges=edges)


def ap_by(
    matches: Matches,
    objects: Float64Array,
    detections: Float64Array,
    *,
    edges: Sequence[float],
) -> list[Group]:
    """Compute AP for the objects of each group alone, as COCO does for its sizes.

    Objects of other groups are ignored, with all detections that hit them. A detection
    that hits nothing counts in its own group.

    Args:
        objects: ``(G,)`` value of the objects to group by.
        detections: ``(D,)`` the same value of the detections.
        edges: edges of the groups, ascending.
    """
    hit = matches.overlap > matches.foreground
    values = detections.copy()
    values[hit] = objects[matches.nearest[hit]]
    groups = []
    for low, high in itertools.pairwise(edges):
        counts = matches.count_objects((objects >= low) & (objects < high))
        judged = matches.counted((values >= low) & (values < high))
        aps = average_precisions(*judged, counts)
        groups.append(
            Group(low, high, int(counts.sum()), mean_of_known(aps[counts > 0]))
        )
    return groups


def _ratios(boxes: Float64Array) -> Float64Array:
    sizes = boxes[:, 2:] - boxes[:, :2]
    # A detection without height is infinitely wide; one without any size is square.
    width, height = np.maximum(sizes, 1e-6).T
    ratios: Float64Array = width / height
    return np.minimum(ratios, 1e9)
