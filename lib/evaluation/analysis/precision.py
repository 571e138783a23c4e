"""Average precision from judged detections."""

from collections.abc import Iterator

import numpy as np

from ...datasets.records import BoolArray, FloatArray, IntArray
from ..voc_matching import Float64Array


def average_precisions(
    scores: FloatArray, classes: IntArray, true: BoolArray, objects: IntArray
) -> Float64Array:
    """Compute the area under the monotone precision-recall curve of every class.

    Args:
        scores: ``(D,)`` scores of the detections that count.
        classes: ``(D,)`` 1..C-1.
        true: ``(D,)``.
        objects: ``(C,)`` objects that count, by class.

    Returns:
        ``(C,)`` AP in 0..1. NaN for a class with neither objects nor detections, 0 for
        one with detections alone.
    """
    aps = np.full(len(objects), np.nan)
    for c, rows in enumerate(rows_by_class(scores, classes, len(objects))):
        if objects[c]:
            aps[c] = _best_precision(true[rows]).sum() / objects[c]
        elif len(rows):
            aps[c] = 0.0
    return aps


def precision_curves(
    scores: FloatArray,
    classes: IntArray,
    true: BoolArray,
    objects: IntArray,
    *,
    points: int = 101,
) -> Float64Array:
    """Compute the best precision at or beyond recalls 0 to 1 in even steps.

    Its first four arguments are those of `average_precisions`.

    Args:
        points: P, the number of recalls.

    Returns:
        ``(C, P)`` in 0..1; 0 beyond the highest recall reached, NaN for a class
        without objects.
    """
    recalls = np.arange(points) / (points - 1)
    curves = np.full((len(objects), points), np.nan)
    for c, rows in enumerate(rows_by_class(scores, classes, len(objects))):
        if objects[c]:
            best = _best_precision(true[rows])
            reached = np.arange(1, len(best) + 1) / objects[c]
            place = np.searchsorted(reached, recalls, side="left")
            curves[c] = np.append(best, 0.0)[place]
    return curves


def rows_by_class(
    scores: FloatArray, classes: IntArray, num_classes: int
) -> Iterator[IntArray]:
    """Yield the rows of class 0, 1, ... C-1, best score first, ties in their order."""
    order = np.lexsort((-scores, classes))
    bounds = np.searchsorted(classes[order], np.arange(num_classes + 1))
    for c in range(num_classes):
        yield order[bounds[c] : bounds[c + 1]]


def mean_of_known(values: Float64Array) -> float:
    """Average the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _best_precision(true: BoolArray) -> Float64Array:
    """Return the best precision at or beyond each true detection of ``(D_c,)``."""
    # Precision only peaks at true detections, so the others need no value.
    hits = np.flatnonzero(true)
    precision = np.arange(1, len(hits) + 1) / (hits + 1)
    best: Float64Array = np.maximum.accumulate(precision[::-1])[::-1]
    return best
