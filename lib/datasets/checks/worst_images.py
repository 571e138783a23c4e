"""Draw the images with the most serious defects, with their boxes."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ...utils.drawing import class_color, draw_boxes, jpeg_text, shrunk
from ..loading.channels import read_shown
from ..loading.images import ImageError
from ..loading.orientation import upright
from .coverage import POOR
from .entries import KINDS, Defect, Entry
from .run_checks import Report

_SIDE = 480
_RED = (230, 0, 0)


class Shown(NamedTuple):
    """One image of the page."""

    title: str  # the image file's name
    remarks: list[str]  # its defects
    jpeg: str  # the file in base64
    width: int  # pixels
    height: int  # pixels


def worst_pictures(report: Report, *, most: int) -> Iterator[Shown]:
    """Draw images, the worst first.

    Images with defects come first, one of each kind in turn, the most serious kind
    leading; then those whose objects the anchors cover worst.
    """
    by_entry: dict[Entry, list[Defect]] = defaultdict(list)
    turns: Counter[str] = Counter()
    ranks: dict[Entry, tuple[int, int]] = {}
    order = list(KINDS)
    for defect in report.defects:
        entry = defect.entry
        if entry is None or entry.facts.problem or defect.kind == "unlisted image":
            continue
        by_entry[entry].append(defect)
        if entry not in ranks:
            ranks[entry] = (turns[defect.kind], order.index(defect.kind))
            turns[defect.kind] += 1
    faulty = sorted(ranks, key=lambda entry: ranks[entry])
    overlaps: dict[Entry, dict[int, float]] = defaultdict(dict)
    objects = report.coverage.objects
    for entry, place, overlap in zip(
        objects.entries, objects.places, report.coverage.overlaps, strict=True
    ):
        overlaps[entry][place] = float(overlap)
    poor = [e for e in overlaps if min(overlaps[e].values()) < POOR]
    poor.sort(key=lambda entry: min(overlaps[entry].values()))
    chosen = [*faulty, *(e for e in poor if e not in ranks and not e.facts.problem)]
    number = {name: i for i, name in enumerate(report.classes, start=1)}
    for entry in chosen[:most]:
        try:
            yield _draw(entry, by_entry[entry], overlaps[entry], number)
        except ImageError:
            continue  # removed since


def _draw(
    entry: Entry,
    defects: Sequence[Defect],
    overlaps: dict[int, float],
    number: dict[str, int],
) -> Shown:
    pixels = read_shown(entry.path)
    if entry.turned:
        pixels = upright(pixels, entry.facts.orientation)
    small = shrunk(pixels, _SIDE)
    scale = max(small.shape) / max(pixels.shape)
    faults = {d.place: d.kind for d in reversed(defects) if d.place is not None}
    # Faulty boxes first, because the first boxes are drawn on top.
    written = sorted(entry.objects, key=lambda w: w.place not in faults)
    labels, colors = [], []
    for one in written:
        overlap = overlaps.get(one.place, 1.0)
        weak = f" {overlap:.2f}" if overlap < POOR else ""
        labels.append(f"{one.name}{weak}" if weak or one.place in faults else "")
        faulty = one.place in faults
        colors.append(_RED if faulty else class_color(number.get(one.name, 0)))
    boxes = np.array([one.box for one in written], np.float64).reshape(-1, 4) * scale
    picture = draw_boxes(small, boxes, labels=labels, colors=colors)
    remarks = [f"{defect.kind}: {defect.detail}" for defect in defects[:6]]
    if len(defects) > 6:
        remarks.append(f"and {len(defects) - 6} more")
    weak_ones = [overlap for overlap in overlaps.values() if overlap < POOR]
    if weak_ones:
        remarks.append(
            f"{len(weak_ones)} of {len(overlaps)} objects below IoU {POOR}, the least "
            f"{min(weak_ones):.2f}"
        )
    height, width = picture.shape[:2]
    data = jpeg_text(picture, 80)
    return Shown(entry.path.name, remarks, data, width, height)
