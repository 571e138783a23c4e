"""All checks of a data set, one after the other, and what they found."""

import os
from collections import Counter
from collections.abc import Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ...layer_utils.anchors import Centre, Rounding
from .annotations import check_boxes, check_classes, known_classes
from .coco_entries import read_coco_entries
from .coverage import (
    POOR,
    Array,
    Objects,
    best_overlaps,
    network_objects,
    suggest_scales,
)
from .duplicates import check_duplicates
from .entries import KINDS, REFUSED, Defect, Entry, Source
from .image_files import check_files, inspect_files
from .voc_entries import read_voc_entries
from .yolo_entries import read_yolo_entries

Verdict = Literal["fine", "will train, but look", "cannot train"]


class Training(NamedTuple):
    """Messages of the checks that training makes before its first update.

    Attributes:
        refusals: errors that prevent training.
        concerns: warnings.
    """

    refusals: Sequence[str] = ()
    concerns: Sequence[str] = ()


NO_TRAINING = Training()
"""Where no run is asked."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The numbers of a configuration that decide how anchors meet objects.

    Attributes:
        name: of the recipe, for people.
        short_side: target of the shorter side in pixels.
        long_side: cap of the longer side in pixels.
        strides: input pixels per cell, of each level.
        ratios: of the anchors, heights divided by widths.
        scales: of the anchors of each level, in units of its stride.
        offset: 1 for legacy boxes, 0 for continuous ones.
        border: pixels by which a training anchor may leave the image.
        centre: as of `base_anchors`.
        rounding: as of `base_anchors`.
        use_ignored: whether difficult objects are trained on.
    """

    name: str
    short_side: int
    long_side: int
    strides: tuple[int, ...]
    ratios: tuple[float, ...]
    scales: tuple[tuple[float, ...], ...]
    offset: float
    border: float
    centre: Centre
    rounding: Rounding
    use_ignored: bool

    @property
    def sides(self) -> list[float]:
        """Of the anchors in pixels, rising."""
        levels = zip(self.strides, self.scales, strict=True)
        return sorted({stride * scale for stride, scales in levels for scale in scales})


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How anchors meet the objects that are trained on.

    Attributes:
        recipe: whose anchors.
        objects: G objects in pixels of the network input.
        sides: ``(G,)`` square roots of their areas.
        overlaps: ``(G,)`` best IoU of each with a usable anchor.
        free_overlaps: ``(G,)`` the same if anchors might leave the image.
        suggested: scales proposed, in units of the stride.
        suggested_overlaps: ``(G,)`` best IoU under those.
    """

    recipe: Recipe
    objects: Objects
    sides: Array
    overlaps: Array
    free_overlaps: Array
    suggested: tuple[float, ...]
    suggested_overlaps: Array

    @property
    def poor(self) -> int:
        """How many objects have no anchor of IoU 0.5."""
        return int((self.overlaps < POOR).sum())

    @property
    def suggested_poor(self) -> int:
        """The same under the scales proposed."""
        return int((self.suggested_overlaps < POOR).sum())

    @property
    def at_border(self) -> int:
        """How many have none only because anchors may not leave the image."""
        return int(((self.overlaps < POOR) & (self.free_overlaps >= POOR)).sum())

    @property
    def small(self) -> tuple[int, float]:
        """How many are too small for the smallest scale, and a scale for them."""
        recipe = self.recipe
        own = self.sides[self.sides < recipe.sides[0] / 2**0.5]
        if not len(own):
            return 0, 0.0
        power = np.round(np.log2(max(np.median(own), 1.0) / recipe.strides[0]))
        return len(own), float(2.0**power)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Results of all checks of a data set.

    Attributes:
        name: name of the data set.
        sources: its folders and files.
        entries: its images.
        classes: known class names, sorted.
        defects: defects found, most serious kinds first.
        coverage: how well anchors cover the objects.
    """

    name: str
    sources: Sequence[Source]
    entries: Sequence[Entry]
    classes: Sequence[str]
    defects: Sequence[Defect]
    coverage: Coverage

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
        """How many defects there are of each kind that was found."""
        counts = Counter(defect.kind for defect in self.defects)
        return {kind: counts[kind] for kind in KINDS if counts[kind]}

    @property
    def splits(self) -> dict[str, int]:
        """How many images each split has."""
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
    """Read all files of a data set and check them.

    Args:
        name: of the data set.
        sources: as of `find_sources`.
        recipe: whose anchors are measured.
        jobs: files that are read at once; None for as many as there are cores.
        training: what a training run says of the data set.
    """
    entries: list[Entry] = []
    place = sources[0].annotation_file or sources[0].folder
    said = [(REFUSED, text) for text in training.refusals]
    said += [("training warns", text) for text in training.concerns]
    defects = [Defect(k, place, text.removeprefix(f"{place}: ")) for k, text in said]
    categories = {}
    # Decoders and digests release the interpreter, so threads do.
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        for source in sources:
            if source.layout == "coco":
                found, faults, categories[source] = read_coco_entries(source)
            elif source.layout == "yolo":
                found, faults, categories[source] = read_yolo_entries(source, pool=pool)
            else:
                found, faults = read_voc_entries(source, pool=pool)
            entries += found
            defects += faults
        inspect_files(entries, pool=pool)
    defects += _empty_splits(sources, entries, {defect.file for defect in defects})
    classes = known_classes(entries, categories)
    defects += check_files(entries)
    defects += check_duplicates(entries)
    defects += check_boxes(entries)
    defects += check_classes(entries, classes)
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
    """Find splits without any image, but for those whose file is reported already."""
    filled = {(entry.source, split) for entry in entries for split in entry.splits}
    defects = []
    for source in sources:
        for split in source.splits:
            file = source.annotation_file or source.folder
            if source.layout == "voc":
                file = file / "ImageSets" / "Main" / f"{split}.txt"
            if (source, split) not in filled and file not in reported:
                defects.append(Defect("empty split", file, f"no image in {split}"))
    return defects


def measure_coverage(entries: Sequence[Entry], recipe: Recipe) -> Coverage:
    """Match the objects with the anchors of a recipe, and with proposed ones."""
    objects = network_objects(
        entries,
        short_side=recipe.short_side,
        long_side=recipe.long_side,
        offset=recipe.offset,
        use_ignored=recipe.use_ignored,
    )
    sides = objects.sides(recipe.offset)
    # A pyramid's levels are its scales.
    single = len(recipe.strides) == 1
    suggested = suggest_scales(sides, stride=recipe.strides[0]) if single else ()

    def overlaps(scales: Sequence[Sequence[float]], border: float) -> Array:
        levels = [
            best_overlaps(
                objects.boxes,
                objects.sizes,
                stride=stride,
                ratios=recipe.ratios,
                scales=own,
                offset=recipe.offset,
                border=border,
                centre=recipe.centre,
                rounding=recipe.rounding,
            )
            for stride, own in zip(recipe.strides, scales, strict=True)
        ]
        return np.asarray(np.stack(levels).max(axis=0), np.float64)

    return Coverage(
        recipe=recipe,
        objects=objects,
        sides=sides,
        overlaps=overlaps(recipe.scales, recipe.border),
        free_overlaps=overlaps(recipe.scales, -1),
        suggested=suggested,
        suggested_overlaps=(
            overlaps([suggested], recipe.border) if suggested else np.zeros(0)
        ),
    )
