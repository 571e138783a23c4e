"""Confusion matrix: which classes are detected as which."""

import numpy as np

from ...datasets.records import IntArray
from .matches import Matches, first_claims
from .overlaps import Float64Array


def confusion_matrix(matches: Matches, *, thresholds: Float64Array) -> IntArray:
    """Count as which class each object is detected, among the detections shown.

    1. True detections are entered on the diagonal.
    2. Other detections that overlap an object of another class by more than the
       foreground IoU are entered as that object's confusion, if it has no true one:
       one per object, the best score first.
    3. The rest are detections on background (row 0) and objects that are not detected
       (column 0).

    So row c adds up to the objects of class c, column c to the detections shown.

    Args:
        matches: judged detections.
        thresholds: ``(C,)`` lowest score that is shown, by class.

    Returns:
        ``(C, C)`` counts: rows are the objects' classes, columns the detections'.
    """
    found, objects = matches.found, matches.objects
    size = len(matches.classes)
    shown = found.scores >= thresholds[found.classes]
    true = np.flatnonzero(matches.true & shown)
    taken = np.zeros(len(objects.classes), np.bool_)
    taken[matches.nearest[true]] = True
    other = matches.other_nearest
    confused = matches.false & shown & (matches.other_overlap > matches.foreground)
    confused[confused] = ~taken[other[confused]]
    claims = first_claims(found.scores, other, confused)
    matrix = np.zeros((size, size), np.int64)
    np.add.at(matrix, (found.classes[true], found.classes[true]), 1)
    np.add.at(matrix, (objects.classes[other[claims]], found.classes[claims]), 1)
    columns = np.bincount(found.classes[shown & ~matches.ignored], minlength=size)
    matrix[0] = columns - matrix.sum(axis=0)
    matrix[1:, 0] = matches.count_objects()[1:] - matrix[1:].sum(axis=1)
    matrix[0, 0] = 0
    return matrix
