"""Run all checks of a data set, and report their results."""

import os
from collections import Counter
from collections.abc import Callable, Sequence, Set
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from ..folders import Layout
from ..formats.voc import list_file
from ..origins import own_file, own_files
from .annotations import check_boxes, check_classes, known_classes
from .coco_entries import read_coco_entries
from .coverage import Coverage, Recipe, measure_coverage
from .duplicates import check_duplicates
from .entries import KINDS, REFUSED, Defect, Entry, ReadSource, Source
from .image_files import check_files, inspect_files
from .labelme_entries import read_labelme_entries
from .voc_entries import read_voc_entries
from .written_instances import check_keypoints, check_masks
from .yolo_entries import read_yolo_entries

Verdict = Literal["fine", "will train, but look", "cannot train"]


class Training(NamedTuple):
    """Messages of the checks that training makes before its first update."""

    refusals: Sequence[str] = ()  # errors that prevent training
    concerns: Sequence[str] = ()  # warnings


NO_TRAINING = Training()

_READERS: dict[Layout, Callable[[Source, Executor], ReadSource]] = {
    "voc": read_voc_entries,
    "coco": read_coco_entries,
    "yolo": read_yolo_entries,
    "labelme": read_labelme_entries,
}
"""The reader of each layout."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Results of all checks of a data set."""

    name: str  # name of the data set
    sources: Sequence[Source]  # its folders and files
    entries: Sequence[Entry]  # its images
    classes: Sequence[str]  # known class names, sorted
    defects: Sequence[Defect]  # defects found, most serious kinds first
    coverage: Coverage  # how well anchors cover the objects

    @property
    def verdict(self) -> Verdict:
        """Return whether training is possible, and whether to fix problems first."""
        kinds = {defect.kind for defect in self.defects}
        if REFUSED in kinds:
            return "cannot train"
        look = any(KINDS[kind].look for kind in kinds)
        return "will train, but look" if look else "fine"

    @property
    def kinds(self) -> dict[str, int]:
        """Return the number of defects of each kind found."""
        counts = Counter(defect.kind for defect in self.defects)
        return {kind: counts[kind] for kind in KINDS if counts[kind]}

    @property
    def splits(self) -> dict[str, int]:
        """Return the number of images of each split."""
        counts = Counter(s for entry in self.entries for s in entry.splits)
        return {s: counts[s] for source in self.sources for s in source.splits}


def check_dataset(
    name: str,
    sources: Sequence[Source],
    recipe: Recipe,
    *,
    jobs: int | None = None,
    training: Training = NO_TRAINING,
) -> Report:
    """Read all files of a data set, ``jobs`` (or cores) at once, and check them."""
    entries: list[Entry] = []
    place = sources[0].annotation_file or sources[0].folder
    said = [(REFUSED, text) for text in training.refusals]
    said += [("training warns", text) for text in training.concerns]
    defects = [Defect(k, place, text.removeprefix(f"{place}: ")) for k, text in said]
    categories = {}
    keypoints = {}
    # Threads suffice: decoders and digests release the interpreter.
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        for source in sources:
            found = _READERS[source.layout](source, pool)
            entries += found.entries
            defects += found.defects
            if found.classes is not None:
                categories[source] = found.classes
            if found.keypoints is not None:
                keypoints[source] = found.keypoints
        inspect_files(entries, pool=pool)
    defects += _empty_splits(sources, entries, {defect.file for defect in defects})
    classes = known_classes(entries, categories)
    defects += check_files(entries)
    defects += check_duplicates(entries)
    defects += check_boxes(entries)
    defects += check_classes(entries, classes)
    defects += check_masks(entries)
    defects += check_keypoints(entries, keypoints)
    defects = [
        replace(d, file=own_file(d.file), detail=own_files(d.detail)) for d in defects
    ]
    order = {kind: place for place, kind in enumerate(KINDS)}
    defects.sort(key=lambda defect: order[defect.kind])
    return Report(
        name=name,
        sources=sources,
        entries=entries,
        classes=classes,
        defects=defects,
        coverage=measure_coverage(entries, recipe),
    )


def _empty_splits(
    sources: Sequence[Source], entries: Sequence[Entry], reported: Set[Path]
) -> list[Defect]:
    """Find splits without images, except those whose file is reported already."""
    filled = {(entry.source, split) for entry in entries for split in entry.splits}
    defects = []
    for source in sources:
        for split in source.splits:
            file = source.annotation_file or source.folder
            if source.layout == "voc":
                file = list_file(file, split)
            if (source, split) not in filled and file not in reported:
                defects.append(Defect("empty split", file, f"no image in {split}"))
    return defects
