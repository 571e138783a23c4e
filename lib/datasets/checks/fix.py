"""Write a corrected copy of a data set, according to the actions of `KINDS`.

The source is only read, and nothing is written outside the copy's folder. Faults that
cannot be corrected without guessing are left out: the whole image for a fault of the
image, else the object. By default, only duplicates of the same bytes are left out.
"""

import json
import os
import shutil
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from ...utils.drawing import save_image
from ...utils.untrusted.json_files import read_json
from ..formats.values import whole_number
from ..loading.images import read_image
from ..loading.orientation import upright
from .annotations import misspelt_names
from .cleaned_folder import CleanedFolder
from .entries import (
    KINDS,
    SPLITS,
    Action,
    Entry,
    Likeness,
    Source,
    Written,
    are_apart,
)
from .run_checks import Report

LIKENESSES: tuple[Likeness, ...] = get_args(Likeness)
"""Kinds of likeness, the closest first."""

Box = tuple[float, float, float, float]


def write_cleaned(
    report: Report, folder: Path, *, alike: Likeness = "bytes"
) -> dict[str, int]:
    """Write a copy without defects, all or nothing; return its images by split.

    Args:
        alike: the weakest likeness to another image for which an image is left out.

    Raises:
        ValueError: see `expect_mendable`; or a name leads out of the data set.
        OSError: a file cannot be read or written.
    """
    expect_mendable(report.sources, folder)
    corrections = _Corrections(report, alike)
    kept = [e for e in report.entries if e.splits and "image" not in corrections.of(e)]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=folder.parent, prefix=f".{folder.name}-"
    ) as temporary:
        copy = CleanedFolder(Path(temporary) / "fresh")
        for source in report.sources:
            own = [entry for entry in kept if entry.source is source]
            if source.layout == "voc":
                # A VOCdevkit stays one, so that the copy gets the published classes.
                within = len(report.sources) > 1 or source.classes
                home = source.folder.resolve().name if within else ""
                _write_voc(copy, home, source, own, corrections)
            else:
                _write_coco(copy, source, own, corrections)
        if folder.exists():
            folder.rmdir()  # empty
        os.replace(copy.folder, folder)
    return dict(Counter(split for entry in kept for split in _kept_splits(entry)))


def expect_mendable(sources: Sequence[Source], folder: Path) -> None:
    """Check that a cleaned copy can be written.

    Raises:
        ValueError: a source has neither VOC nor COCO layout, or `folder` is not empty,
            or lies inside a source or contains one.
    """
    for source in sources:
        if source.layout not in ("voc", "coco"):
            other = {"yolo": "YOLO's", "labelme": "labelme's"}[source.layout]
            raise ValueError(
                f"{source.folder}: expected VOC or COCO layout for a cleaned copy, "
                f"found {other}, which cannot be written; mend the files that the "
                "report names, and check again"
            )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{folder}: expected an empty or missing folder for the cleaned copy, "
            "found files in it; name another folder"
        )
    target = folder.resolve()
    for source in sources:
        annotations = source.annotation_file
        home = annotations.parent.parent if annotations else source.folder
        place = home.resolve()
        if target in (place, *place.parents) or place in target.parents:
            raise ValueError(
                f"{folder}: expected a place outside the source {home} for the cleaned "
                "copy; name another folder"
            )


class _Corrections:
    """The actions for each image and object, and the correct names of classes.

    Attributes:
        names: correct name of each misspelt class.
        changed: images with actions for themselves or for their objects.
    """

    def __init__(self, report: Report, alike: Likeness) -> None:
        self.names = misspelt_names(report.entries)
        self._actions: dict[tuple[Entry, int | None], set[Action]] = defaultdict(set)
        close_enough = LIKENESSES[: LIKENESSES.index(alike) + 1]
        for defect in report.defects:
            entry, action = defect.entry, KINDS[defect.kind].action
            if entry is None or action == "none":
                continue
            if defect.kind == "leakage between splits" and are_apart(
                entry.splits, entry.splits
            ):
                continue  # it stays in one split, see _kept_splits
            if defect.likeness and defect.likeness not in close_enough:
                continue
            if action == "object" and defect.place is None:
                action = "image"
            self._actions[entry, defect.place].add(action)
        self.changed = {entry for entry, _ in self._actions}

    def of(self, entry: Entry) -> set[Action]:
        """Return the actions for an image itself."""
        return self._actions.get((entry, None), set())

    def of_object(
        self, entry: Entry, place: int, written: Written | None
    ) -> tuple[str, Box, set[Action]] | None:
        """Return the name, box and actions of an object; None if it is left out."""
        actions = self._actions.get((entry, place), set())
        if written is None or "object" in actions:
            return None
        name, box = written.name, written.box
        if "rename" in actions:
            name = self.names[name]
        if "clip" in actions:
            (x1, y1, x2, y2), (width, height) = box, entry.size
            box = (max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height))
        return name, box, actions

    def write_image(self, entry: Entry, path: Path) -> None:
        """Copy an image, or write its pixels again, upright, as RGB."""
        if "pixels" not in self.of(entry):
            shutil.copyfile(entry.path, path)
            return
        pixels = read_image(entry.path)
        if entry.turned:
            pixels = upright(pixels, entry.facts.orientation)
        save_image(path, pixels)


def _kept_splits(entry: Entry) -> list[str]:
    """Return the splits of an image, without those apart from the last of `SPLITS`."""
    top = max(entry.splits, key=SPLITS.index)
    return [split for split in entry.splits if not are_apart([split], [top])]


def _write_voc(
    copy: CleanedFolder,
    home: str,
    source: Source,
    entries: Sequence[Entry],
    corrections: _Corrections,
) -> None:
    for name in ("Annotations", "JPEGImages"):
        copy.place(home, name).mkdir(parents=True)
    for entry in entries:
        image, xml = (entry.image_id + p.suffix for p in (entry.path, entry.annotation))
        corrections.write_image(entry, copy.place(home, "JPEGImages", image))
        target = copy.place(home, "Annotations", xml)
        if entry in corrections.changed:
            _write_xml(target, entry, corrections)
        else:
            shutil.copyfile(entry.annotation, target)
    for split in source.splits:
        stems = [e.image_id for e in entries if split in _kept_splits(e)]
        path = copy.place(home, "ImageSets", "Main", f"{split}.txt")
        path.write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")


def _write_xml(path: Path, entry: Entry, corrections: _Corrections) -> None:
    """Write an annotation in VOC layout with its corrections."""
    tree = ET.parse(entry.annotation)
    root = tree.getroot()
    channels = 3 if "pixels" in corrections.of(entry) else entry.facts.channels
    width, height = entry.size
    for key, value in (("width", width), ("height", height), ("depth", channels)):
        _set(root, f"size/{key}", str(value))
    placed = {written.place: written for written in entry.objects}
    for place, node in enumerate(root.findall("object")):
        corrected = corrections.of_object(entry, place, placed.get(place))
        if corrected is None:
            root.remove(node)
            continue
        name, (x1, y1, x2, y2), actions = corrected
        if "rename" in actions:
            _set(node, "name", name)
        if "clip" in actions:
            corners = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x2, "ymax": y2}
            for key, edge in corners.items():
                _set(node, f"bndbox/{key}", f"{edge:g}")
    tree.write(path, encoding="utf-8")


def _set(node: ET.Element, path: str, text: str) -> None:
    """Set the text of an element below a node; create the element if missing."""
    for key in path.split("/"):
        below = node.find(key)
        node = ET.SubElement(node, key) if below is None else below
    node.text = text


def _write_coco(
    copy: CleanedFolder,
    source: Source,
    entries: Sequence[Entry],
    corrections: _Corrections,
) -> None:
    assert source.annotation_file is not None
    content: dict[str, Any] = read_json(
        source.annotation_file, expected="COCO annotations", remedy="replace it"
    )
    by_id: dict[int | None, Entry] = {int(entry.image_id): entry for entry in entries}
    images = source.folder.relative_to(source.annotation_file.parent.parent)
    rows = {_number(row, "id"): row for row in reversed(content["images"])}
    content["images"] = []
    for number, entry in by_id.items():
        picture = copy.picture(images, source.folder, entry.path)
        corrections.write_image(entry, picture)
        width, height = entry.size
        name = picture.relative_to(copy.folder / images).as_posix()
        row = {**rows[number], "file_name": name, "width": width, "height": height}
        if entry.depth:
            row["depth"] = 3 if "pixels" in corrections.of(entry) else entry.depth
        content["images"].append(row)
    categories = {row["name"]: row["id"] for row in content["categories"]}
    content["categories"] = [
        row for row in content["categories"] if row["name"] not in corrections.names
    ]
    table, content["annotations"] = content["annotations"], []
    placed = {(e, written.place): written for e in entries for written in e.objects}
    for place, row in enumerate(table):
        owner = by_id.get(_number(row, "image_id"))
        if owner is None:
            continue
        corrected = corrections.of_object(owner, place, placed.get((owner, place)))
        if corrected is None:
            continue
        name, (x1, y1, x2, y2), actions = corrected
        if "rename" in actions:
            row["category_id"] = categories[name]
        if "clip" in actions:
            row["bbox"] = [x1, y1, x2 - x1, y2 - y1]
        content["annotations"].append(row)
    target = copy.place("annotations", source.annotation_file.name)
    target.write_text(json.dumps(content), encoding="utf-8")


def _number(row: Any, key: str) -> int | None:
    return whole_number(row.get(key)) if isinstance(row, dict) else None
