"""The score that best separates true from false detections, by class."""

from dataclasses import dataclass

import numpy as np

from .matches import Matches
from .overlaps import Float64Array
from .precision import rows_by_class


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The best operating point of each class; row 0, the background's, is NaN.

    Attributes:
        scores: ``(C,)`` detections with this score or more are shown; infinite if it
            is best to show none.
        f1: ``(C,)`` harmonic mean of precision and recall at it; NaN for a class
            without objects.
        precision: ``(C,)`` precision at it; NaN if none is shown.
        recall: ``(C,)`` recall at it; NaN for a class without objects.
    """

    scores: Float64Array
    f1: Float64Array
    precision: Float64Array
    recall: Float64Array


def best_thresholds(matches: Matches) -> Thresholds:
    """Find the score of each class with the highest F1; the highest score if tied."""
    size = len(matches.classes)
    scores = np.full(size, np.nan)
    f1, precision, recall = scores.copy(), scores.copy(), scores.copy()
    scores[1:] = np.inf
    objects = matches.count_objects()
    kept = np.flatnonzero(~matches.ignored)
    found = matches.found
    groups = rows_by_class(found.scores[kept], found.classes[kept], size)
    for c, rows in enumerate(groups):
        if not objects[c]:
            continue
        own = found.scores[kept[rows]]
        hits = np.cumsum(matches.true[kept[rows]])
        shown = np.arange(1, len(rows) + 1)
        # 2 P R / (P + R) with P = hits / shown and R = hits / objects
        values = 2 * hits / (shown + objects[c])
        values[:-1][own[1:] == own[:-1]] = 0  # equal scores are shown together
        f1[c] = recall[c] = 0.0
        if len(rows) and hits[-1]:
            best = int(np.argmax(values))
            scores[c], f1[c] = own[best], values[best]
            precision[c] = hits[best] / shown[best]
            recall[c] = hits[best] / objects[c]
    return Thresholds(scores, f1, precision, recall)
