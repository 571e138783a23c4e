"""The average precision that each kind of error costs (Bolya et al., TIDE, 2020)."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...datasets.records import BoolArray, IntArray
from ..voc_matching import Float64Array, first_claims
from .matches import Matches
from .precision import average_precisions

KINDS = (
    "classification",
    "localisation",
    "both",
    "duplicate",
    "background",
    "missed",
)
"""In the order of the paper's section 2.2. All but the last are false detections."""

_CLS, _LOC, _BOTH, _DUP, _BKG, _MISSED = range(len(KINDS))


@dataclass(frozen=True, slots=True)
class ErrorSplit:
    """Errors by kind, and the gain from fixing each kind alone.

    Attributes:
        kinds: ``(D,)`` int8 index into ``KINDS`` of each false detection, else -1.
        missed: ``(G,)`` objects without a true, localisation or classification
            detection.
        counts: ``(6, C)`` errors by kind and class; a false detection counts for its
            predicted class, a missed object for its own.
        ap: mean AP without any fix, at one IoU, area under the curve, in 0..1.
        lost: kind to the mean AP that fixing it alone would gain.
        lost_false_positives: gain from removing all false detections.
        lost_false_negatives: gain from removing all objects that were not found.
    """

    kinds: npt.NDArray[np.int8]
    missed: BoolArray
    counts: IntArray
    ap: float
    lost: dict[str, float]
    lost_false_positives: float
    lost_false_negatives: float


class _Judged(NamedTuple):
    """Judged detections, from which average precision is computed."""

    keep: BoolArray  # (D,) detections that count
    classes: IntArray  # (D,)
    true: BoolArray  # (D,)
    objects: IntArray  # (C,) objects that count


def split_errors(matches: Matches, *, background: float = 0.1) -> ErrorSplit:
    """Classify each error, and compute the cost of each kind.

    A false detection has the first kind that applies:

    1. localisation: of the right class, IoU from ``background`` to foreground;
    2. classification: IoU above foreground with an object of another class;
    3. duplicate: IoU above foreground with an object of its class that is taken;
    4. background: IoU of ``background`` or less with every object;
    5. both: the rest, near an object of another class.

    An object is missed if it has no true, localisation or classification detection.
    Fixing 1 or 2 makes the best-scored error at each free object true and removes the
    other errors of the kind; fixing 3 to 5 removes the errors; fixing missed objects
    removes the objects.

    Deviation: by VOC's rule a detection matches one object only, where the authors'
    code lets it take the next best free object; and an object that both a localisation
    and a classification error could match is given to each in turn.

    Args:
        background: IoU in [0, foreground).

    Raises:
        ValueError: ``background`` is out of range.
    """
    if not 0 <= background < matches.foreground:
        raise ValueError(
            f"expected a background IoU in [0, {matches.foreground}), found "
            f"{background}"
        )
    kinds = _kinds(matches, background)
    objects, hit = matches.objects, matches.hit_by >= 0
    reached = hit.copy()
    for kind, nearest in _targets(matches):
        reached[nearest[kinds == kind]] = True
    missed = ~reached & ~objects.ignored
    size = len(matches.classes)
    counts = [
        np.bincount(matches.found.classes[kinds == kind], minlength=size)
        for kind in range(_MISSED)
    ]
    counts.append(matches.count_objects(missed))

    unfixed = _Judged(
        ~matches.ignored, matches.found.classes, matches.true, matches.count_objects()
    )
    fixed = [
        unfixed._replace(keep=unfixed.keep & (kinds != kind)) for kind in range(_MISSED)
    ]
    for kind, nearest in _targets(matches):
        fixed[kind] = _corrected(matches, unfixed, kinds == kind, nearest, hit)
    fixed += [
        unfixed._replace(objects=unfixed.objects - counts[_MISSED]),
        unfixed._replace(keep=unfixed.keep & matches.true),
        unfixed._replace(objects=matches.count_objects(hit)),
    ]
    ap = _mean_ap(matches, unfixed)
    *lost, false_positives, false_negatives = (
        _mean_ap(matches, each) - ap for each in fixed
    )
    return ErrorSplit(
        kinds=kinds,
        missed=missed,
        counts=np.stack(counts),
        ap=ap,
        lost=dict(zip(KINDS, lost, strict=True)),
        lost_false_positives=false_positives,
        lost_false_negatives=false_negatives,
    )


def _kinds(matches: Matches, background: float) -> npt.NDArray[np.int8]:
    own, other = matches.counted_overlap, matches.other_overlap
    near = matches.overlap > matches.foreground
    tests = (
        (_LOC, ~near & (own >= background) & (own > 0)),
        (_CLS, other > matches.foreground),
        (_DUP, near),
        (_BKG, np.maximum(own, other) <= background),
    )
    kinds = np.full(len(own), -1, np.int8)
    kinds[matches.false] = _BOTH
    left = matches.false
    for kind, fits in tests:
        kinds[left & fits] = kind
        left = left & ~fits
    return kinds


def _targets(matches: Matches) -> tuple[tuple[int, IntArray], ...]:
    """Return the kinds that a fix makes true, with the object that each would match."""
    return (_CLS, matches.other_nearest), (_LOC, matches.counted_nearest)


def _corrected(
    matches: Matches,
    unfixed: _Judged,
    wrong: BoolArray,
    nearest: IntArray,
    hit: BoolArray,
) -> _Judged:
    """Make the best-scored error at each free object true, and remove the others."""
    free = wrong.copy()
    free[wrong] = ~hit[nearest[wrong]]
    chosen = first_claims(nearest, matches.by_score(free))
    true, keep, classes = unfixed.true.copy(), unfixed.keep & ~wrong, unfixed.classes
    true[chosen] = keep[chosen] = True
    classes = classes.copy()
    classes[chosen] = matches.objects.classes[nearest[chosen]]
    return _Judged(keep, classes, true, unfixed.objects)


def _mean_ap(matches: Matches, judged: _Judged) -> float:
    keep = judged.keep
    aps: Float64Array = average_precisions(
        matches.found.scores[keep],
        judged.classes[keep],
        judged.true[keep],
        judged.objects,
    )
    # All fixes average over the same classes: a class left without objects counts as 1.
    with_objects = matches.count_objects() > 0
    if not with_objects.any():
        return float("nan")
    return float(np.nan_to_num(aps[with_objects], nan=1.0).mean())
