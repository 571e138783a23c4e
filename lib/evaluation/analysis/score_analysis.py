"""Scores as decisions and as probabilities: thresholds, confusion, calibration."""

from dataclasses import dataclass

import numpy as np

from ...datasets.records import IntArray
from ..voc_matching import Float64Array, first_claims
from .matches import Matches
from .precision import rows_by_class


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The best operating point of each class; row 0, the background's, is NaN.

    Attributes:
        scores: ``(C,)`` lowest score of the detections to show; infinite if it is best
            to show none.
        f1: ``(C,)`` harmonic mean of precision and recall at that score; NaN for a
            class without objects.
        precision: ``(C,)`` precision at that score; NaN if no detection is shown.
        recall: ``(C,)`` recall at that score; NaN for a class without objects.
    """

    scores: Float64Array
    f1: Float64Array
    precision: Float64Array
    recall: Float64Array


def best_thresholds(matches: Matches) -> Thresholds:
    """Find the score of each class with the highest F1; the highest score if tied."""
    size, objects = len(matches.classes), matches.count_objects()
    best = Thresholds(*np.full((4, size), np.nan))
    best.scores[1:] = np.inf
    scores, classes, true = matches.counted()
    for c, rows in enumerate(rows_by_class(scores, classes, size)):
        if not objects[c]:
            continue
        own, hits = scores[rows], np.cumsum(true[rows])
        shown = np.arange(1, len(rows) + 1)
        # 2 P R / (P + R) with P = hits / shown and R = hits / objects
        f1 = 2 * hits / (shown + objects[c])
        f1[:-1][own[1:] == own[:-1]] = 0  # equal scores are shown together
        best.f1[c] = best.recall[c] = 0.0
        if len(rows) and hits[-1]:
            row = int(np.argmax(f1))
            best.scores[c], best.f1[c] = own[row], f1[row]
            best.precision[c] = hits[row] / shown[row]
            best.recall[c] = hits[row] / objects[c]
    return best


def confusion_matrix(matches: Matches, *, thresholds: Float64Array) -> IntArray:
    """Count as which class each object is detected, among the detections shown.

    1. True positives are entered on the diagonal.
    2. A false positive that overlaps an object of another class by more than the
       foreground IoU is entered as that object's confusion, if the object has no true
       positive: one per object, the best score first.
    3. The rest are detections on background (row 0) and objects that are not detected
       (column 0).

    So row c adds up to the objects of class c, column c to the detections shown.

    Args:
        thresholds: ``(C,)`` lowest score that is shown, by class.

    Returns:
        ``(C, C)`` counts: rows are the objects' classes, columns the detections'.
    """
    found, objects, size = matches.found, matches.objects, len(matches.classes)
    shown = found.scores >= thresholds[found.classes]
    true = np.flatnonzero(matches.true & shown)
    taken = np.zeros(len(objects.classes), np.bool_)
    taken[matches.nearest[true]] = True
    other = matches.other_nearest
    confused = matches.false & shown & (matches.other_overlap > matches.foreground)
    confused[confused] = ~taken[other[confused]]
    claims = first_claims(other, matches.by_score(confused))
    matrix = np.zeros((size, size), np.int64)
    np.add.at(matrix, (found.classes[true], found.classes[true]), 1)
    np.add.at(matrix, (objects.classes[other[claims]], found.classes[claims]), 1)
    columns = np.bincount(found.classes[shown & ~matches.ignored], minlength=size)
    matrix[0] = columns - matrix.sum(axis=0)
    matrix[1:, 0] = matches.count_objects()[1:] - matrix[1:].sum(axis=1)
    matrix[0, 0] = 0
    return matrix


@dataclass(frozen=True, slots=True)
class Calibration:
    """The reliability diagram of B bins of equal width over scores 0..1.

    Attributes:
        edges: ``(B + 1,)`` scores.
        counts: ``(B,)`` number of detections.
        scores: ``(B,)`` mean score of the detections; NaN if there are none.
        precisions: ``(B,)`` share of true positives; NaN if there are no detections.
        ece: expected calibration error, the mean of |score - precision| over the
            detections, bin by bin; NaN without detections.
    """

    edges: Float64Array
    counts: IntArray
    scores: Float64Array
    precisions: Float64Array
    ece: float


def calibration(matches: Matches, *, bins: int = 10) -> Calibration:
    """Compare scores with precision (Guo et al. 2017, section 2).

    Args:
        matches: judged detections; scores outside 0..1 count in the first or last
            bin.
        bins: number of bins; each covers scores above its lower edge, up to its upper.

    Raises:
        ValueError: ``bins`` is less than 1.
    """
    if bins < 1:
        raise ValueError(f"expected one bin or more, found {bins}")
    scores, _, true = matches.counted()
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges, scores.astype(np.float64), side="left") - 1
    place = np.clip(place, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    sums = np.bincount(place, scores, minlength=bins)
    hits = np.bincount(place, true, minlength=bins)
    some, total = np.where(counts, counts, np.nan), len(scores)
    ece = float(np.abs(sums - hits).sum() / total) if total else float("nan")
    return Calibration(edges, counts, sums / some, hits / some, ece)
