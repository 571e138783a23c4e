"""The worst detections and misses, with the boxes of their images.

A false detection is the worse the surer it was; a missed object the larger it is. The
classes take turns, so that none fills the gallery alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...datasets.records import BoolArray, IntArray
from ..analysis.error_analysis import ErrorAnalysis
from ..analysis.error_costs import KINDS
from ..analysis.matches import Matches
from ..analysis.overlaps import Float64Array
from ..voc_matching import paired_iou

Role = Literal["truth", "true", "false", "ignored", "missed"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A box on a picture.

    Attributes:
        box: x1, y1, x2, y2, pixels of the original image.
        role: an object, one that was missed, or a detection that was judged.
        text: what to say about it.
    """

    box: tuple[float, float, float, float]
    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """A picture of the gallery.

    Attributes:
        image: index into ``dataset.records``.
        category: class name that it is filed under.
        kind: of the error, one of ``KINDS``.
        mark: the box that it is about.
    """

    image: int
    category: str
    kind: str
    mark: Mark


def worst_items(analysis: ErrorAnalysis, *, most: int) -> list[Item]:
    """Choose the worst false detections and misses of every class.

    A false detection is looked for at any score, a miss is an object without a true
    detection of at least its class's best score.

    Args:
        analysis: of the detections.
        most: number of items, half of them false detections if there are enough.
    """
    matches = analysis.matches
    false = np.flatnonzero(matches.false)
    false = false[np.argsort(-matches.found.scores[false], kind="stable")]
    missed = np.flatnonzero(missed_objects(analysis))
    sides = matches.objects.areas[missed]
    missed = missed[np.argsort(-sides, kind="stable")]
    detections = _in_turns(false, matches.found.classes[false], most)
    objects = _in_turns(missed, matches.objects.classes[missed], most)
    half = most // 2
    of_false = max(half, most - len(objects))
    detections = detections[:of_false]
    objects = objects[: most - len(detections)]
    return [
        *(_false_item(analysis, row) for row in detections),
        *(_missed_item(analysis, row) for row in objects),
    ]


def missed_objects(analysis: ErrorAnalysis) -> BoolArray:
    """``(G,)`` objects that count but have no true detection that is shown."""
    matches = analysis.matches
    hit = matches.hit_by
    seen = hit >= 0
    seen[seen] = shown_detections(analysis)[hit[seen]]
    return ~seen & ~matches.objects.ignored


def shown_detections(analysis: ErrorAnalysis) -> BoolArray:
    """``(D,)`` detections of at least the best score of their class."""
    found = analysis.matches.found
    return found.scores >= analysis.thresholds.scores[found.classes]


def image_marks(analysis: ErrorAnalysis, image: int) -> Iterator[Mark]:
    """Yield the boxes of an image: its objects, then the detections shown."""
    matches = analysis.matches
    objects, found = matches.objects, matches.found
    missed = missed_objects_of(analysis, image)
    start, end = np.searchsorted(objects.images, [image, image + 1])
    for row in range(start, end):
        yield _object_mark(matches, row, row in missed)
    start, end = np.searchsorted(found.images, [image, image + 1])
    for row in range(start, end):
        if found.scores[row] >= analysis.thresholds.scores[found.classes[row]]:
            yield _detection_mark(analysis, row)


def missed_objects_of(analysis: ErrorAnalysis, image: int) -> set[int]:
    """Rows of the image's objects without a true detection that is shown."""
    matches = analysis.matches
    found, objects = matches.found, matches.objects
    start, end = np.searchsorted(found.images, [image, image + 1])
    least = analysis.thresholds.scores[found.classes[start:end]]
    seen = matches.true[start:end] & (found.scores[start:end] >= least)
    taken = set(matches.nearest[start:end][seen].tolist())
    first, last = np.searchsorted(objects.images, [image, image + 1])
    counted = np.flatnonzero(~objects.ignored[first:last]) + first
    return set(counted.tolist()) - taken


def image_gains(before: ErrorAnalysis, after: ErrorAnalysis) -> IntArray:
    """``(I,)`` how many more right and fewer wrong detections each image shows."""
    gains = np.zeros(after.matches.images, np.int64)
    for analysis, sign in ((before, -1), (after, 1)):
        matches, shown = analysis.matches, shown_detections(analysis)
        worth = sign * (matches.true.astype(np.int64) - matches.false)
        np.add.at(gains, matches.found.images[shown], worth[shown])
    return gains


def _in_turns(rows: IntArray, classes: IntArray, most: int) -> list[int]:
    """The first row of every class, then the second of every class, and so on."""
    order = np.argsort(classes, kind="stable")
    starts = np.searchsorted(classes[order], classes[order], side="left")
    turns = np.empty(len(rows), np.int64)
    turns[order] = np.arange(len(rows)) - starts
    chosen = np.argsort(turns, kind="stable")[:most]
    result: list[int] = rows[chosen].tolist()
    return result


def _false_item(analysis: ErrorAnalysis, row: int) -> Item:
    found = analysis.matches.found
    return Item(
        int(found.images[row]),
        analysis.matches.classes[found.classes[row]],
        KINDS[analysis.errors.kinds[row]],
        _detection_mark(analysis, row),
    )


def _missed_item(analysis: ErrorAnalysis, row: int) -> Item:
    matches = analysis.matches
    image = int(matches.objects.images[row])
    mark = _object_mark(matches, row, True)
    near = _nearest_detection(matches, row)
    if near:
        mark = Mark(mark.box, mark.role, f"{mark.text}; {near}")
    return Item(image, matches.classes[matches.objects.classes[row]], "missed", mark)


def _object_mark(matches: Matches, row: int, missed: bool) -> Mark:
    objects = matches.objects
    name = matches.classes[objects.classes[row]]
    if objects.ignored[row]:
        return Mark(_box(objects.boxes[row]), "ignored", f"{name}, does not count")
    role: Role = "missed" if missed else "truth"
    return Mark(
        _box(objects.boxes[row]), role, f"{name}, {'missed' if missed else 'object'}"
    )


def _detection_mark(analysis: ErrorAnalysis, row: int) -> Mark:
    matches = analysis.matches
    found, names = matches.found, matches.classes
    text = f"{names[found.classes[row]]} {found.scores[row]:.2f}"
    role: Role = "true"
    if matches.true[row] or matches.ignored[row]:
        role = "true" if matches.true[row] else "ignored"
        text += ", true" if matches.true[row] else ", on an object that does not count"
        text += f", IoU {matches.overlap[row]:.2f}"
        return Mark(_box(found.boxes[row]), role, text)
    own, other = matches.counted_overlap[row], matches.other_overlap[row]
    text += f", {KINDS[analysis.errors.kinds[row]]}"
    if max(own, other) > 0:
        nearest = matches.counted_nearest if own >= other else matches.other_nearest
        near = names[matches.objects.classes[nearest[row]]]
        text += f", IoU {max(own, other):.2f} with {near}"
    else:
        text += ", overlaps no object"
    return Mark(_box(found.boxes[row]), "false", text)


def _nearest_detection(matches: Matches, row: int) -> str:
    """Say which detection, of any class and score, overlaps an object most."""
    found, objects = matches.found, matches.objects
    start, end = np.searchsorted(
        found.images, [objects.images[row]] * 2 + np.array([0, 1])
    )
    if start == end:
        return ""
    boxes: Float64Array = found.boxes[start:end].astype(np.float64)
    overlaps = paired_iou(boxes, np.broadcast_to(objects.boxes[row], boxes.shape))
    best = int(np.argmax(overlaps))
    if overlaps[best] <= 0:
        return "no detection overlaps it"
    name = matches.classes[found.classes[start + best]]
    score = found.scores[start + best]
    return f"nearest is {name} {score:.2f}, IoU {overlaps[best]:.2f}"


def _box(box: Sequence[float] | Float64Array) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (round(float(v), 1) for v in box)
    return x1, y1, x2, y2
