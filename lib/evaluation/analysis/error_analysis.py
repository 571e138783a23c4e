"""The complete error analysis of detections, in one object."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...datasets.records import Dataset, IntArray
from ..image_detections import ImageDetections
from ..results_summary import number
from ..voc_matching import Float64Array
from .bootstrap import Interval, bootstrap_aps, interval, mean_aps
from .breakdown import Group, ap_by_ratio, ap_by_size
from .error_costs import KINDS, ErrorSplit, split_errors
from .matches import Matches, match_detections
from .score_analysis import (
    Calibration,
    Thresholds,
    best_thresholds,
    calibration,
    confusion_matrix,
)


@dataclass(frozen=True, slots=True)
class ErrorAnalysis:
    """Errors of detections. AP is at IoU ``matches.foreground``, as an area in 0..1.

    Attributes:
        thresholds: best score threshold of each class.
        confusion: ``(C, C)`` at those thresholds; rows are the objects' classes.
        mean_interval: interval of the mean AP that contains 95 % of the draws.
        class_intervals: the same for each of the C classes' AP; NaN for the background.
        draws: ``(B, C)`` AP of each class in each draw.
    """

    matches: Matches
    errors: ErrorSplit
    thresholds: Thresholds
    confusion: IntArray
    calibration: Calibration
    by_size: list[Group]
    by_ratio: list[Group]
    mean_interval: Interval
    class_intervals: list[Interval]
    draws: Float64Array

    def to_json(self) -> dict[str, object]:
        """Return plain values for ``json.dumps``; None for NaN and infinity."""
        thresholds, calibrated = self.thresholds, self.calibration
        names = self.matches.classes
        return {
            "iou_threshold": self.matches.foreground,
            "mAP": number(self.errors.ap),
            "mAP_interval": _numbers(self.mean_interval),
            "lost_AP": {
                **{kind: number(lost) for kind, lost in self.errors.lost.items()},
                "false_positives": number(self.errors.lost_false_positives),
                "false_negatives": number(self.errors.lost_false_negatives),
            },
            "calibration": {
                "ece": number(calibrated.ece),
                "edges": _numbers(calibrated.edges),
                "counts": calibrated.counts.tolist(),
                "scores": _numbers(calibrated.scores),
                "precisions": _numbers(calibrated.precisions),
            },
            "by_size": [_group(group) for group in self.by_size],
            "by_ratio": [_group(group) for group in self.by_ratio],
            "confusion": [
                {"object": names[c], "detection": names[k], "count": int(count)}
                for (c, k), count in np.ndenumerate(self.confusion)
                if count
            ],
            "per_class": {
                names[c]: {
                    "AP_interval": _numbers(self.class_intervals[c]),
                    "best_score": number(thresholds.scores[c]),
                    "best_F1": number(thresholds.f1[c]),
                    "precision": number(thresholds.precision[c]),
                    "recall": number(thresholds.recall[c]),
                    "errors": dict(
                        zip(KINDS, self.errors.counts[:, c].tolist(), strict=True)
                    ),
                }
                for c in range(1, len(names))
            },
        }


def analyse_errors(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    *,
    foreground: float = 0.5,
    background: float = 0.1,
    bins: int = 10,
    resamples: int = 1000,
    seed: int = 0,
) -> ErrorAnalysis:
    """Analyse the errors of detections.

    Args:
        foreground: IoU that a hit must exceed.
        background: IoU up to which a detection counts as background.
        bins: number of bins of the reliability diagram.

    Raises:
        ValueError: a number is out of range, or detections do not match the data set.
    """
    matches = match_detections(dataset, detections, foreground=foreground)
    thresholds = best_thresholds(matches)
    draws = bootstrap_aps(matches, resamples=resamples, seed=seed)
    return ErrorAnalysis(
        matches=matches,
        errors=split_errors(matches, background=background),
        thresholds=thresholds,
        confusion=confusion_matrix(matches, thresholds=thresholds.scores),
        calibration=calibration(matches, bins=bins),
        by_size=ap_by_size(matches),
        by_ratio=ap_by_ratio(matches),
        mean_interval=interval(mean_aps(draws)),
        class_intervals=[interval(draws[:, c]) for c in range(len(matches.classes))],
        draws=draws,
    )


def _numbers(values: Sequence[float] | np.typing.NDArray[np.float64]) -> list[object]:
    return [number(float(value)) for value in values]


def _group(group: Group) -> dict[str, object]:
    return {
        "from": group.low,
        "below": number(group.high),
        "objects": group.objects,
        "AP": number(group.ap),
    }
