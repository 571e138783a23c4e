"""Likely errors of the labels: what a trained detector is sure of and they contradict.

missing  a detection that lies on no object
wrong    a detection that lies on an object of another class
loose    a detection that an object of its class overlaps, but not well

Each has a doubt from 0 to 1: the detection's score times its precision, the share of
the detections of its class with at least its score that are true. The precision tells a
class whose objects often lack labels, or that the detector often takes other things
for, from one where a contradiction is rare. ("ObjectLab", Tkachenko et al. 2023, ranks
the same three kinds.) The kinds take turns, since their doubts do not compare.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ..voc_matching import Float64Array, first_claims
from .matches import Matches
from .precision import rows_by_class

Kind = Literal["missing", "wrong", "loose"]
KINDS: tuple[Kind, ...] = get_args(Kind)

APART = 0.3
"""IoU up to which a detection and an object are two objects, in a crowd too."""
TIGHT = 0.8
"""IoU from which a box fits."""


@dataclass(frozen=True, slots=True)
class LabelError:
    """A likely error.

    Attributes:
        kind: one of `KINDS`.
        doubt: 0..1, how likely it is an error.
        detection: row of the detection that contradicts.
        object: row of the object; -1 if it is missing.
    """

    kind: Kind
    doubt: float
    detection: int
    object: int


def find_label_errors(matches: Matches, *, most: int = 200) -> list[LabelError]:
    """Rank the likely errors of the labels, the most likely first.

    Objects that do not count (difficult, crowds) are never wrong or loose, and what
    overlaps them is not missing.
    """
    sure = precision_at_scores(matches) * matches.found.scores
    own, near = matches.counted_overlap, matches.counted_nearest
    other, beside = matches.other_overlap, matches.other_nearest
    hit_by = matches.hit_by
    hit, free = np.append(hit_by, -1), np.append(hit_by < 0, False)
    apart = np.maximum(matches.overlap, other) <= APART
    # Of a wrong object, a detection of its own class speaks for the label.
    rival = np.where(hit[beside] >= 0, sure[hit[beside]], 0.0)
    best = np.zeros(len(sure), np.bool_)  # of the detections of an object
    best[first_claims(near, matches.by_score(near >= 0))] = True
    doubts: dict[Kind, Float64Array] = {
        "missing": np.where(apart & ~(free[near] & (own > 0.1)), sure, 0),
        "wrong": np.where((other > 0.5) & (own < 0.5), sure - rival, 0),
        "loose": np.where(
            (matches.true | (free[near] & best)) & (own > 0.1) & (own < TIGHT),
            sure * (1 - own),
            0,
        ),
    }
    errors = [
        LabelError(kind, float(doubt[row]), int(row), int(of[row]))
        for (kind, doubt), of in zip(
            doubts.items(), (np.full(len(sure), -1), beside, near), strict=True
        )
        for row in np.flatnonzero(doubt > 0)
    ]
    errors.sort(key=lambda error: -error.doubt)
    turns = Counter[Kind]()
    places = []
    for error in errors:
        places.append(turns[error.kind])
        turns[error.kind] += 1
    order = np.argsort(places, kind="stable")[:most]
    return [errors[place] for place in order]


def precision_at_scores(matches: Matches) -> Float64Array:
    """``(D,)`` share of true ones of its class's detections that score as much.

    Each detection counts as true itself.
    """
    shares = np.zeros(len(matches.found.scores))
    counted = np.flatnonzero(~matches.ignored)
    scores, classes, true = matches.counted()
    for rows in rows_by_class(scores, classes, len(matches.classes)):
        hits = np.cumsum(true[rows]) + ~true[rows]
        shares[counted[rows]] = hits / np.arange(1, len(rows) + 1)
    return shares
