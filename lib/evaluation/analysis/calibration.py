"""Calibration: are scores probabilities (Guo et al. 2017, section 2)?"""

from dataclasses import dataclass

import numpy as np

from ...datasets.records import IntArray
from .matches import Matches
from .overlaps import Float64Array


@dataclass(frozen=True, slots=True)
class Calibration:
    """The reliability diagram of B bins of equal width over scores 0..1.

    Attributes:
        edges: ``(B + 1,)`` scores.
        counts: ``(B,)`` number of detections.
        scores: ``(B,)`` mean score of the detections; NaN if there are none.
        precisions: ``(B,)`` share of true detections; NaN if there are none.
        ece: expected calibration error, the mean of |score - precision| over the
            detections, bin by bin; NaN without detections.
    """

    edges: Float64Array
    counts: IntArray
    scores: Float64Array
    precisions: Float64Array
    ece: float


def calibration(matches: Matches, *, bins: int = 10) -> Calibration:
    """Compare the scores of all counted detections with how often they are true.

    Args:
        matches: judged detections; scores outside 0..1 count in the first or last
            bin.
        bins: number of bins; each covers scores above its lower edge, up to its upper.

    Raises:
        ValueError: ``bins`` is less than 1.
    """
    if bins < 1:
        raise ValueError(f"expected one bin or more, found {bins}")
    kept = ~matches.ignored
    scores = matches.found.scores[kept].astype(np.float64)
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, scores, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    sums = np.bincount(place, scores, minlength=bins)
    hits = np.bincount(place, matches.true[kept], minlength=bins)
    some = np.where(counts, counts, np.nan)
    total = len(scores)
    ece = float(np.abs(sums - hits).sum() / total) if total else float("nan")
    return Calibration(edges, counts, sums / some, hits / some, ece)
