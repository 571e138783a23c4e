"""Select the images of the galleries, and the boxes to draw on them.

False detections are ranked by their score, missed objects by their area. The classes
take turns, so that no class fills the gallery alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ...datasets.records import BoolArray, IntArray
from ..analysis.error_analysis import ErrorAnalysis
from ..analysis.error_costs import KINDS
from ..analysis.instance_quality import MaskOverlaps
from ..analysis.matches import Matches
from ..voc_matching import Float64Array, paired_iou

Role = Literal["truth", "true", "false", "ignored", "missed"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A box on an image.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the original image.
        role: kind of box: found object, missed object, or a judged detection.
        text: description of the box.
        object: row of the object; -1 for a detection.
        detection: row of the detection; -1 for an object.
    """

    box: tuple[float, float, float, float]
    role: Role
    text: str
    object: int = -1
    detection: int = -1


@dataclass(frozen=True, slots=True)
class Item:
    """An error shown in the gallery.

    Attributes:
        image: index into ``dataset.records``.
        kind: kind of the error, one of ``KINDS``.
    """

    image: int
    category: str
    kind: str
    mark: Mark


def worst_items(analysis: ErrorAnalysis, *, most: int) -> list[Item]:
    """Select the worst false detections and misses of every class.

    False detections may have any score. An object is missed if no true detection with
    at least the best score of its class matches it.

    Args:
        most: largest number of items, half of them false detections if possible.
    """
    matches = analysis.matches
    found, objects, names = matches.found, matches.objects, matches.classes
    false = matches.by_score(matches.false)
    missed = np.flatnonzero(missed_objects(analysis))
    missed = missed[np.argsort(-objects.areas[missed], kind="stable")]
    errors = _in_turns(false, found.classes[false], most)
    misses = _in_turns(missed, objects.classes[missed], most)
    errors = errors[: max(most // 2, most - len(misses))]
    return [
        *(
            Item(
                int(found.images[row]),
                names[found.classes[row]],
                KINDS[analysis.errors.kinds[row]],
                _detection_mark(analysis, row),
            )
            for row in errors
        ),
        *(_missed_item(matches, row) for row in misses[: most - len(errors)]),
    ]


def worst_masks(
    analysis: ErrorAnalysis, overlaps: MaskOverlaps, *, most: int
) -> list[Item]:
    """Select the true detections whose masks overlap their objects' least."""
    matches = analysis.matches
    found, names = matches.found, matches.classes
    shown = np.flatnonzero(shown_detections(analysis)[overlaps.detections])
    order = shown[np.argsort(overlaps.ious[shown], kind="stable")]
    rows = overlaps.detections[order]
    items = []
    for place in _in_turns(order, found.classes[rows], most):
        row = int(overlaps.detections[place])
        name = names[found.classes[row]]
        head = f"{name} {found.scores[row]:.2f}, mask IoU {overlaps.ious[place]:.2f}"
        mark = replace(_detection_mark(analysis, row), text=head)
        items.append(Item(int(found.images[row]), name, "mask", mark))
    return items


def missed_objects(analysis: ErrorAnalysis) -> BoolArray:
    """``(G,)`` objects that count but have no true detection that is shown."""
    hit = analysis.matches.hit_by
    seen = hit >= 0
    seen[seen] = shown_detections(analysis)[hit[seen]]
    return ~seen & ~analysis.matches.objects.ignored


def shown_detections(analysis: ErrorAnalysis) -> BoolArray:
    """``(D,)`` detections with at least the best score of their class."""
    found = analysis.matches.found
    return found.scores >= analysis.thresholds.scores[found.classes]


def image_marks(analysis: ErrorAnalysis, images: Sequence[int]) -> list[list[Mark]]:
    """Return the boxes of each image: its objects, then the detections shown."""
    matches = analysis.matches
    missed, visible = missed_objects(analysis), shown_detections(analysis)
    return [
        [
            *(
                _object_mark(matches, row, missed=bool(missed[row]))
                for row in _rows_of(matches.objects.images, image)
            ),
            *(
                _detection_mark(analysis, row)
                for row in _rows_of(matches.found.images, image)
                if visible[row]
            ),
        ]
        for image in images
    ]


def image_gains(before: ErrorAnalysis, after: ErrorAnalysis) -> IntArray:
    """``(I,)`` gain of each image: more true and fewer false detections shown."""
    gains = np.zeros(after.matches.images, np.int64)
    for analysis, sign in ((before, -1), (after, 1)):
        matches, visible = analysis.matches, shown_detections(analysis)
        worth = sign * (matches.true.astype(np.int64) - matches.false)
        np.add.at(gains, matches.found.images[visible], worth[visible])
    return gains


def changed_images(
    before: ErrorAnalysis, after: ErrorAnalysis, *, most: int
) -> list[tuple[int, str]]:
    """Select the images that changed most, in order, with a text about the change."""
    gains = image_gains(before, after)
    order = np.argsort(-np.abs(gains), kind="stable")[:most]
    return [
        (int(i), f"{'better' if gains[i] > 0 else 'worse'} by {abs(int(gains[i]))}")
        for i in order
        if gains[i]
    ]


def _rows_of(images: IntArray, image: int) -> range:
    return range(*np.searchsorted(images, [image, image + 1]))


def _in_turns(rows: IntArray, classes: IntArray, most: int) -> list[int]:
    """Take the first row of every class, then the second of every class, and so on."""
    order = np.argsort(classes, kind="stable")
    starts = np.searchsorted(classes[order], classes[order], side="left")
    turns = np.empty(len(rows), np.int64)
    turns[order] = np.arange(len(rows)) - starts
    chosen: list[int] = rows[np.argsort(turns, kind="stable")[:most]].tolist()
    return chosen


def _missed_item(matches: Matches, row: int) -> Item:
    """Describe a missed object and the detection, of any class, nearest to it."""
    found, objects, names = matches.found, matches.objects, matches.classes
    image, mark = int(objects.images[row]), _object_mark(matches, row, missed=True)
    if rows := _rows_of(found.images, image):
        boxes: Float64Array = found.boxes[rows].astype(np.float64)
        overlaps = paired_iou(boxes, np.broadcast_to(objects.boxes[row], boxes.shape))
        best = int(np.argmax(overlaps))
        near = "no detection overlaps it"
        if overlaps[best] > 0:
            name, score = names[found.classes[rows[best]]], found.scores[rows[best]]
            near = f"nearest is {name} {score:.2f}, IoU {overlaps[best]:.2f}"
        mark = replace(mark, text=f"{mark.text}; {near}")
    return Item(image, names[objects.classes[row]], "missed", mark)


def _object_mark(matches: Matches, row: int, *, missed: bool) -> Mark:
    objects = matches.objects
    role: Role = "missed" if missed else "truth"
    text = "missed" if missed else "object"
    if objects.ignored[row]:
        role, text = "ignored", "does not count"
    name = matches.classes[objects.classes[row]]
    return Mark(_box(objects.boxes[row]), role, f"{name}, {text}", object=int(row))


def _detection_mark(analysis: ErrorAnalysis, row: int) -> Mark:
    matches = analysis.matches
    found, names = matches.found, matches.classes
    own, other = matches.counted_overlap[row], matches.other_overlap[row]
    role: Role = "false"
    if matches.true[row]:
        role, text = "true", f"true, IoU {matches.overlap[row]:.2f}"
    elif matches.ignored[row]:
        role = "ignored"
        text = f"on an object that does not count, IoU {matches.overlap[row]:.2f}"
    else:
        where = "overlaps no object"
        if max(own, other) > 0:
            side = matches.counted_nearest if own >= other else matches.other_nearest
            near = names[matches.objects.classes[side[row]]]
            where = f"IoU {max(own, other):.2f} with {near}"
        text = f"{KINDS[analysis.errors.kinds[row]]}, {where}"
    head = f"{names[found.classes[row]]} {found.scores[row]:.2f}"
    return Mark(_box(found.boxes[row]), role, f"{head}, {text}", detection=int(row))


def _box(box: Sequence[float] | Float64Array) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (round(float(v), 1) for v in box)
    return x1, y1, x2, y2
