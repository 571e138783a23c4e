"""Check masks and keypoints against boxes, areas and each other."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...utils.run_lengths import decompress
from ..formats.coco_masks import mask_box
from ..index.packed_masks import unpack_mask
from ..records import KeypointNames, RunLengths
from .entries import Defect, Entry, Source, Written

_SLACK = 3.0
"""Pixels by which a mask may reach out of its box, besides a tenth of the box."""

_LEAST_IOU = 0.3
_LEAST_OBJECTS = 20


def check_masks(entries: Sequence[Entry]) -> list[Defect]:
    """Find masks that are invalid, far from their box, or of another area."""
    defects = []
    for entry in entries:
        have = any(written.mask for written in entry.objects)
        faults = entry.box_faults if have else [None] * len(entry.objects)
        for written, box_fault in zip(entry.objects, faults, strict=True):
            found = [("malformed mask", detail) for detail in written.mask_faults]
            if written.mask and not box_fault:
                found += _compared(entry, written)
            elif have and not written.mask and not written.mask_faults:
                found.append(("object without a mask", "others of the image have one"))
            defects += [_defect(entry, written, kind, detail) for kind, detail in found]
    return defects


def _compared(entry: Entry, written: Written) -> list[tuple[str, str]]:
    found = []
    mask, around, box = unpack_mask(written.mask), mask_box(written.mask), written.box
    if isinstance(mask, RunLengths):
        height, width = mask.size
        if all(entry.size) and (width, height) != entry.size:
            detail = f"{width} x {height} in an image of {entry.size[0]} x "
            return [("mask of another size", detail + str(entry.size[1]))]
        area = float(decompress(mask.counts)[1::2].sum())
    else:
        area = sum(_polygon_area(part.astype(np.float64)) for part in mask)
    x1, y1, x2, y2 = around
    outside = max(box[0] - x1, box[1] - y1, x2 - box[2], y2 - box[3])
    side = max(box[2] - box[0], box[3] - box[1])
    if outside > _SLACK + side / 10 or _iou(around, box) < _LEAST_IOU:
        detail = f"mask from {_corners(around)}, box from {_corners(box)}"
        found.append(("mask apart from its box", detail))
    if abs(written.area - area) > 20 + max(written.area, area) / 4:
        detail = f"area {written.area:g}, its mask covers {area:g} pixels"
        found.append(("area of another mask", detail))
    return found


def check_keypoints(
    entries: Sequence[Entry], names: dict[Source, KeypointNames]
) -> list[Defect]:
    """Find keypoints far from their box, and pairs of left and right that are swapped.

    A pair is taken to be swapped if it mostly lies the other way round than the other
    pairs of its object. That shows over a data set, not in one object, whose legs may
    be crossed.
    """
    defects = []
    for entry in entries:
        for written in entry.objects:
            found = [("malformed keypoints", text) for text in written.keypoint_faults]
            if written.keypoints is not None:
                found += _far_keypoints(written, names[entry.source].names)
            defects += [_defect(entry, written, kind, detail) for kind, detail in found]
    for source, own in names.items():
        given = [
            written.keypoints
            for entry in entries
            if entry.source == source
            for written in entry.objects
            if written.keypoints is not None
        ]
        place = source.annotation_file or source.folder
        if given:
            defects += _swapped_pairs(np.stack(given), own, place)
    return defects


def _far_keypoints(written: Written, names: Sequence[str]) -> list[tuple[str, str]]:
    assert written.keypoints is not None
    x1, y1, x2, y2 = written.box
    size = np.maximum(np.array([x2 - x1, y2 - y1]), 1)
    middle = np.array([x1 + x2, y1 + y2]) / 2
    far = (np.abs(written.keypoints[:, :2] - middle) > size).any(axis=1)
    rows = np.flatnonzero(far & (written.keypoints[:, 2] > 0))
    if not len(rows):
        return []
    x, y, _ = written.keypoints[rows[0]]
    detail = f"{names[rows[0]]} at ({x:g}, {y:g}), box from {_corners(written.box)}"
    return [("keypoint apart from its box", detail)]


def _swapped_pairs(
    keypoints: npt.NDArray[np.float32], names: KeypointNames, place: Path
) -> list[Defect]:
    """Find pairs of ``(N, K, 3)`` keypoints that contradict the others."""
    if len(names.flip_pairs) < 3:
        return []
    left, right = np.array(names.flip_pairs).T
    known = (keypoints[:, left, 2] > 0) & (keypoints[:, right, 2] > 0)
    sides = np.sign(keypoints[:, left, 0] - keypoints[:, right, 0]) * known
    others = np.sign(sides.sum(axis=1, keepdims=True) - sides)
    agreed = (sides * others > 0).sum(axis=0)
    against = (sides * others < 0).sum(axis=0)
    return [
        Defect(
            "swapped keypoints",
            place,
            f"{names.names[a]} and {names.names[b]} lie the other way round than the "
            f"other pairs in {against[row]} of {agreed[row] + against[row]} objects",
        )
        for row, (a, b) in enumerate(names.flip_pairs)
        if agreed[row] + against[row] >= _LEAST_OBJECTS
        and against[row] > 2 * agreed[row]
    ]


def _defect(entry: Entry, written: Written, kind: str, detail: str) -> Defect:
    text = f"{written.name} {written.place + 1}: {detail}"
    if entry.source.layout == "coco":
        text = f"{entry.path.name}: {text}"
    return Defect(kind, entry.annotation, text, entry, written.place)


def _corners(box: Sequence[float]) -> str:
    return "({:g}, {:g}) to ({:g}, {:g})".format(*box)


def _polygon_area(points: npt.NDArray[np.float64]) -> float:
    x, y = points.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _iou(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the IoU of two boxes, 1 for boxes without area or position."""
    sides = [min(ours[k + 2], theirs[k + 2]) - max(ours[k], theirs[k]) for k in (0, 1)]
    shared = max(sides[0], 0.0) * max(sides[1], 0.0)
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (ours, theirs))
    return shared / (areas - shared) if areas > shared and math.isfinite(areas) else 1.0
