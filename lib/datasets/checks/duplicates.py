"""Find images that occur twice, within a split or in two splits.

Equal bytes are found by digest. An image that was stored again, smaller or at another
quality, has nearly the same 8 x 8 difference hash and thumbnail; so have the frames of
a fixed camera. Such a pair counts as one image only if its objects are equal and no
cell of a finer thumbnail differs; any other is a near-duplicate.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ..likeness import Look, alike
from ..loading.channels import read_shown
from .entries import KINDS, SPLITS, Defect, Entry, Likeness, are_apart

_GREY_LEVELS = 24
"""Largest difference of a cell of 72 x 64 after storing an image again: 19 at half the
size and JPEG quality 30. A ball of 16 pixels in a frame of 320 x 240 makes it 73."""
_PIXELS = 1.5
"""Largest shift of an edge when boxes are rounded at another size."""

_PHRASES: dict[Likeness, str] = {
    "bytes": "same bytes as",
    "picture": "same picture as",
    "similar": "much like",
}
"""Phrase for each likeness, the closest first."""


def check_duplicates(entries: Sequence[Entry]) -> list[Defect]:
    """Find leakage and duplicates; report each entry once, with its closest duplicate.

    Of two splits, the later one in `SPLITS` keeps the image; within a split, the first
    image is kept. A near-duplicate within a split is reported only if the other image
    is kept, so that a video does not shrink to its last frame.
    """
    found: dict[int, Defect] = {}
    listed = [i for i, entry in enumerate(entries) if entry.splits]
    for i in listed:
        if apart := are_apart(entries[i].splits, entries[i].splits):
            detail = f"listed in {apart[0]} and {apart[1]}"
            kind = "leakage between splits"
            found[i] = Defect(kind, entries[i].path, detail, entries[i])
    own_leaks = set(found)
    readable = [i for i in listed if not entries[i].facts.problem]
    doubles = _doubles(entries, readable)
    passed: set[int] = set()
    for i in sorted(readable, key=lambda i: (-_rank(entries[i]), i)):
        if i not in own_leaks:
            choices = [
                defect
                for j, likeness in doubles[i]
                if j in passed
                for defect in [_double(entries[i], entries[j], likeness)]
                if defect.kind != "near-duplicate image" or j not in found
            ]
            if choices:
                found[i] = min(choices, key=_grave)
        passed.add(i)
    return [found[i] for i in sorted(found)]


def _doubles(
    entries: Sequence[Entry], readable: Sequence[int]
) -> dict[int, list[tuple[int, Likeness]]]:
    """Return the duplicates of each image, and how they are alike."""
    doubles: dict[int, list[tuple[int, Likeness]]] = defaultdict(list)
    pairs: list[tuple[int, int, Likeness]] = []
    pairs += [(i, j, "bytes") for i, j in _same_bytes(entries, readable)]
    for i, j in _same_look(entries, readable):
        ours, theirs = entries[i], entries[j]
        same = _same_objects(ours, theirs) and _same_picture(ours.path, theirs.path)
        pairs.append((i, j, "picture" if same else "similar"))
    for i, j, likeness in pairs:
        doubles[i].append((j, likeness))
        doubles[j].append((i, likeness))
    return doubles


def _double(ours: Entry, theirs: Entry, likeness: Likeness) -> Defect:
    """Describe an image whose duplicate is kept."""
    apart = are_apart(ours.splits, theirs.splits)
    if likeness == "similar":
        kind = "near-duplicate across splits" if apart else "near-duplicate image"
    else:
        kind = "leakage between splits" if apart else "duplicate image"
    sides = f" ({apart[0]} and {apart[1]})" if apart else f" ({ours.splits[0]})"
    detail = f"{_PHRASES[likeness]} {theirs.path}{sides}"
    if likeness == "bytes" and not _same_objects(ours, theirs):
        detail += ", with other objects"
    return Defect(kind, ours.path, detail, ours, likeness=likeness)


def _grave(defect: Defect) -> tuple[int, int]:
    assert defect.likeness is not None
    return list(KINDS).index(defect.kind), list(_PHRASES).index(defect.likeness)


def _rank(entry: Entry) -> int:
    return max(SPLITS.index(split) for split in entry.splits)


def _same_objects(ours: Entry, theirs: Entry) -> bool:
    """Return whether both have the same objects, relative to their image sizes."""
    sizes = [*ours.size, *theirs.size]
    if len(ours.objects) != len(theirs.objects) or min(sizes) < 1:
        return False
    if not ours.objects:
        return True
    names = [np.array([w.name for w in e.objects]) for e in (ours, theirs)]
    shares = [
        np.array([w.box for w in e.objects]) / (e.size * 2) for e in (ours, theirs)
    ]
    with np.errstate(invalid="ignore"):  # of an infinite edge
        apart = np.abs(shares[0][:, None] - shares[1]).max(axis=2)  # (G, G)
    same = (apart <= _PIXELS / min(sizes)) & (names[0][:, None] == names[1])
    return bool(same.any(axis=0).all() and same.any(axis=1).all())


def _same_picture(ours: Path, theirs: Path) -> bool:
    cells = _cells(ours).astype(np.int16) - _cells(theirs)
    return bool(np.abs(cells).max() <= _GREY_LEVELS)


@lru_cache(maxsize=256)
def _cells(path: Path) -> npt.NDArray[np.uint8]:
    small = cv2.resize(read_shown(path), (72, 64), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def _same_bytes(
    entries: Sequence[Entry], chosen: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Pair each file with the first of the same bytes in each choice of splits."""
    groups: dict[bytes, dict[tuple[str, ...], int]] = {}
    for i in chosen:
        firsts = groups.setdefault(entries[i].facts.digest, {})
        firsts.setdefault(entries[i].splits, i)
    for i in chosen:
        for j in groups[entries[i].facts.digest].values():
            if i != j:
                yield min(i, j), max(i, j)


def _same_look(
    entries: Sequence[Entry], chosen: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Pair files that look the same although their bytes differ; see `alike`."""
    facts = [entries[i].facts for i in chosen]
    for i, j in alike([Look(f.gradient_hash, f.thumbnail) for f in facts]):
        if facts[i].digest != facts[j].digest:
            yield chosen[i], chosen[j]
