"""Each error has its kind, and each kind its cost (TIDE)."""

import math
from dataclasses import replace

import numpy as np
import pytest
from box_oracles import slow_iou
from faster_rcnn.evaluation.analysis.error_costs import KINDS, split_errors
from faster_rcnn.evaluation.analysis.matches import match_detections

OBJECT = [0, 0, 100, 100]
FAR = [300, 300, 400, 400]
# Side by side with OBJECT, so that IoU is shared / (200 - shared) in hundredths.
NEAR = [0, 0, 100, 80]  # IoU 0.8
LOOSE = [50, 0, 150, 100]  # IoU 1/3
BARELY = [0, 0, 100, 5]  # IoU 0.05


def split(dataset, records, entries, **options):
    return split_errors(match_detections(dataset(records), entries), **options)


@pytest.mark.parametrize(
    ("box", "label", "kind"),
    [
        (LOOSE, 1, "localisation"),
        (NEAR, 2, "classification"),
        (LOOSE, 2, "both"),
        (BARELY, 1, "background"),
        (BARELY, 2, "background"),
        (FAR, 1, "background"),
    ],
)
def test_kinds_by_hand(record, dataset, found, box, label, kind):
    errors = split(
        dataset, [record("a", [OBJECT], [1])], [found("a", [box], [0.5], [label])]
    )
    assert KINDS[errors.kinds[0]] == kind
    reached = kind in ("localisation", "classification")
    assert errors.missed.tolist() == [not reached]
    assert errors.counts[KINDS.index(kind), label] == 1
    assert errors.counts.sum() == 2 - reached
    assert errors.ap == 0
    # Putting it right, or no longer looking for the object, is all there is to gain.
    assert errors.lost[kind] == (1 if reached else 0)
    assert errors.lost_false_positives == 0


def test_duplicate_by_hand(record, dataset, found):
    """True at 0.9, duplicate at 0.8, true at 0.7: AP (1 + 2/3) / 2, then 1."""
    records = [record("a", [OBJECT], [1]), record("b", [OBJECT], [1])]
    entries = [found("a", [OBJECT, NEAR], [0.9, 0.8]), found("b", [OBJECT], [0.7])]
    errors = split(dataset, records, entries)
    assert [KINDS[k] for k in errors.kinds if k >= 0] == ["duplicate"]
    assert errors.kinds.tolist() == [-1, KINDS.index("duplicate"), -1]
    assert errors.ap == pytest.approx(5 / 6)
    assert errors.lost["duplicate"] == pytest.approx(1 / 6)
    assert errors.lost_false_positives == pytest.approx(1 / 6)
    assert errors.lost_false_negatives == 0
    assert sum(errors.lost.values()) == pytest.approx(1 / 6)


def test_only_the_surest_error_is_put_right(record, dataset, found):
    """Two loose boxes on one object: one becomes true, the other is taken out."""
    records = [record("a", [OBJECT], [1])]
    entries = [found("a", [LOOSE, [50, 0, 150, 99]], [0.9, 0.8])]
    errors = split(dataset, records, entries)
    assert errors.counts[KINDS.index("localisation"), 1] == 2
    assert errors.lost["localisation"] == 1


def test_an_error_at_a_taken_object_is_only_taken_out(record, dataset, found):
    """The loose box scores above the true one: AP 1/2 becomes 1, not more."""
    errors = split(
        dataset,
        [record("a", [OBJECT], [1])],
        [found("a", [LOOSE, OBJECT], [0.9, 0.8])],
    )
    assert errors.ap == 0.5
    assert errors.lost["localisation"] == 0.5


def test_missed(record, dataset, found):
    """One of two objects found: AP 1/2; without the other it would be 1."""
    records = [record("a", [OBJECT, FAR], [1, 1])]
    errors = split(dataset, records, [found("a", [OBJECT], [0.9])])
    assert errors.missed.tolist() == [False, True]
    assert errors.ap == errors.lost["missed"] == errors.lost_false_negatives == 0.5


def test_difficult_objects_are_neither_missed_nor_confused(record, dataset, found):
    records = [record("a", [OBJECT, FAR], [1, 1], difficult=[False, True])]
    entries = [found("a", [OBJECT, FAR, FAR], [0.9, 0.8, 0.7], [1, 1, 2])]
    errors = split(dataset, records, entries)
    assert not errors.missed.any()
    assert errors.kinds.tolist() == [-1, -1, KINDS.index("background")]


def test_nothing_found_is_all_missed(record, dataset, found):
    errors = split(dataset, [record("a", [OBJECT], [1])], [found("a")])
    assert errors.ap == 0 and errors.lost["missed"] == errors.lost_false_negatives == 1


def test_nothing_to_find(record, dataset, found):
    errors = split(dataset, [record("a")], [found("a", [OBJECT], [0.5])])
    assert math.isnan(errors.ap) and math.isnan(errors.lost["background"])
    assert errors.counts.sum() == 1


def test_bad_background(dataset):
    with pytest.raises(ValueError, match=r"background IoU in \[0, 0.5\), found 0.5"):
        split(dataset, [], [], background=0.5)


def slow_ap(judged, objects):
    """Area under the monotone curve of (score, true) pairs."""
    judged = sorted(judged, key=lambda pair: -pair[0])
    curve, hits = [], 0
    for count, (_, true) in enumerate(judged, start=1):
        hits += true
        curve.append((true, hits / count))
    area = sum(
        max(p for _, p in curve[i:]) for i, (true, _) in enumerate(curve) if true
    )
    return area / objects if objects else (0.0 if judged else 1.0)


def slow_split(dataset, detections, low, high):
    """Kinds and gains, one detection and one object at a time."""
    objects, found = [], []
    for record, entry in zip(dataset.records, detections, strict=True):
        skip = record.difficult | record.crowd
        mine = [
            {"box": b, "class": c, "skip": s, "hit": False, "near": False}
            for b, c, s in zip(
                record.boxes.tolist(), record.classes.tolist(), skip, strict=True
            )
        ]
        objects += mine
        found += [
            {"box": b, "score": s, "class": c, "objects": mine}
            for b, s, c in zip(
                entry.boxes.tolist(),
                entry.scores.tolist(),
                entry.classes.tolist(),
                strict=True,
            )
        ]
    for d in sorted(found, key=lambda d: -d["score"]):
        own = [o for o in d["objects"] if o["class"] == d["class"]]
        best = max(own, key=lambda o: slow_iou(d["box"], o["box"], 0), default=None)
        hit = best is not None and slow_iou(d["box"], best["box"], 0) > high
        d["kind"] = "skip" if hit and best["skip"] else "false"
        if hit and not best["skip"]:
            d["kind"], d["at"] = ("duplicate" if best["hit"] else "true"), best
            best["hit"] = True
    for d in found:
        if d["kind"] not in ("false", "duplicate"):
            continue
        counted = [o for o in d["objects"] if not o["skip"]]
        own = [o for o in counted if o["class"] == d["class"]]
        others = [o for o in counted if o["class"] != d["class"]]
        best_own = max(own, key=lambda o: slow_iou(d["box"], o["box"], 0), default=None)
        best_other = max(
            others, key=lambda o: slow_iou(d["box"], o["box"], 0), default=None
        )
        a = slow_iou(d["box"], best_own["box"], 0) if best_own else 0
        b = slow_iou(d["box"], best_other["box"], 0) if best_other else 0
        if d["kind"] == "false" and low <= a <= high:
            d["kind"], d["at"] = "localisation", best_own
        elif b > high:
            d["kind"], d["at"] = "classification", best_other
        elif d["kind"] == "false":
            d["kind"] = "background" if max(a, b) <= low else "both"
        if d["kind"] in ("localisation", "classification"):
            d["at"]["near"] = True
    counted = [o for o in objects if not o["skip"]]
    for o in counted:
        o["missed"] = not o["hit"] and not o["near"]

    def mean(fix):
        total = 0
        classes = {o["class"] for o in counted}
        for c in classes:
            judged, fixed = [], set()
            for d in sorted(found, key=lambda d: -d["score"]):
                if d["kind"] == "true" and d["class"] == c:
                    judged.append((d["score"], True))
                elif d["kind"] in ("true", "skip") or fix == "all false":
                    continue
                elif d["kind"] != fix:
                    if d["class"] == c:
                        judged.append((d["score"], False))
                elif "at" in d and d["at"]["class"] == c and not d["at"]["hit"]:
                    if id(d["at"]) not in fixed:
                        judged.append((d["score"], True))
                    fixed.add(id(d["at"]))
            gone = {"missed": "missed", "all missed": "hit"}.get(fix)
            left = [
                o
                for o in counted
                if o["class"] == c and (gone is None or o[gone] == (gone == "hit"))
            ]
            total += slow_ap(judged, len(left))
        return total / len(classes)

    kinds = [d["kind"] for d in found]
    base = mean(None)
    gains = {kind: mean(kind) - base for kind in (*KINDS, "all false", "all missed")}
    return kinds, base, gains, sum(o["missed"] for o in counted)


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.5), (0.2, 0.7)])
def test_agrees_with_the_loop(random_scene, low, high):
    dataset, detections = random_scene
    # Every fifth detection takes a cat for a dog, or a dog for a cat.
    detections = [
        replace(
            d,
            classes=np.where(
                np.arange(len(d.classes)) % 5 == 1, 3 - d.classes, d.classes
            ),
        )
        for d in detections
    ]
    kinds, base, gains, missed = slow_split(dataset, detections, low, high)
    matches = match_detections(dataset, detections, foreground=high)
    errors = split_errors(matches, background=low)
    named = [KINDS[k] if k >= 0 else None for k in errors.kinds]
    assert named == [k if k in KINDS else None for k in kinds]
    assert set(kinds) >= {"localisation", "classification", "duplicate", "background"}
    assert errors.ap == pytest.approx(base)
    for kind in KINDS:
        assert errors.lost[kind] == pytest.approx(gains[kind]), kind
    assert errors.lost_false_positives == pytest.approx(gains["all false"])
    assert errors.lost_false_negatives == pytest.approx(gains["all missed"])
    assert errors.missed.sum() == missed == errors.counts[-1].sum()
    assert errors.counts[:-1].sum() == np.count_nonzero(matches.false)
