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
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from ...utils.drawing import save_image
from ...utils.untrusted.json_files import read_json
from ..loading.images import read_image
from .annotations import misspelt_names
from .cleaned_folder import CleanedFolder
from .entries import (
    KINDS,
    SPLITS,
    Action,
    Defect,
    Entry,
    Likeness,
    Source,
    are_apart,
)
from .image_files import upright
from .run_checks import Report

Mends = dict[Entry, dict[int | None, set[Action]]]
LIKENESSES: tuple[Likeness, ...] = get_args(Likeness)
"""Kinds of likeness, the closest first."""


def write_cleaned(
    report: Report, folder: Path, *, alike: Likeness = "bytes"
) -> dict[str, int]:
    """Write a copy of the data set without its defects, all of it or nothing.

    Args:
        report: results of the checks.
        folder: folder of the copy; must be missing or empty.
        alike: the weakest likeness to another image for which an image is left out.

    Returns:
        Number of images of the copy, by split.

    Raises:
        ValueError: see `expect_mendable`; or a name leads out of the data set.
        OSError: a file cannot be read or written.
    """
    expect_mendable(report.sources, folder)
    mends = _mends(report.defects, alike)
    names = misspelt_names(report.entries)
    kept = [e for e in report.entries if e.splits and "image" not in mends[e][None]]
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
                _write_voc(copy, home, source, own, mends, names)
            else:
                _write_coco(copy, source, own, mends, names)
        if folder.exists():
            folder.rmdir()  # empty
        os.replace(copy.folder, folder)
    counts: dict[str, int] = {}
    for entry in kept:
        for split in _kept_splits(entry):
            counts[split] = counts.get(split, 0) + 1
    return counts


def expect_mendable(sources: Sequence[Source], folder: Path) -> None:
    """Check that a cleaned copy can be written.

    Raises:
        ValueError: a source has YOLO layout, or `folder` is not empty, or lies inside a
            source or contains one.
    """
    for source in sources:
        if source.layout == "yolo":
            raise ValueError(
                f"{source.folder}: expected VOC or COCO layout for a cleaned copy, "
                "found YOLO's, which cannot be written; mend the files that the report "
                "names, and check again"
            )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{folder}: expected no such folder, or an empty one, for the cleaned copy;"
            " found something in it; name another"
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


def _mends(defects: Sequence[Defect], alike: Likeness) -> Mends:
    """Collect the actions by image and object; None stands for the image itself."""
    close_enough = LIKENESSES[: LIKENESSES.index(alike) + 1]
    mends: Mends = defaultdict(lambda: defaultdict(set))
    for defect in defects:
        if defect.entry is None:
            continue
        action = KINDS[defect.kind].action
        own_leak = are_apart(defect.entry.splits, defect.entry.splits) is not None
        if defect.kind == "leakage between splits" and own_leak:
            continue  # it stays in one split, see _kept_splits
        if defect.likeness and defect.likeness not in close_enough:
            continue
        if action == "object" and defect.place is None:
            action = "image"
        mends[defect.entry][defect.place].add(action)
    return mends


def _kept_splits(entry: Entry) -> list[str]:
    """Return the splits of an image, without those apart from the last of `SPLITS`."""
    top = max(entry.splits, key=SPLITS.index)
    return [split for split in entry.splits if not are_apart([split], [top])]


def _write_image(entry: Entry, path: Path, actions: set[Action]) -> None:
    if "pixels" not in actions:
        shutil.copyfile(entry.path, path)
        return
    pixels = read_image(entry.path)
    if entry.turned:
        pixels = upright(pixels, entry.facts.orientation)
    save_image(path, pixels)


def _inside(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> list[float]:
    width, height = size
    x1, y1, x2, y2 = box
    return [max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)]


def _write_voc(
    copy: CleanedFolder,
    home: str,
    source: Source,
    entries: Sequence[Entry],
    mends: Mends,
    names: dict[str, str],
) -> None:
    for name in ("Annotations", "JPEGImages"):
        copy.place(home, name).mkdir(parents=True)
    lists: dict[str, list[str]] = {split: [] for split in source.splits}
    for entry in entries:
        for split in _kept_splits(entry):
            lists[split].append(entry.image_id)
        own = mends[entry]
        image, xml = (entry.image_id + p.suffix for p in (entry.path, entry.annotation))
        _write_image(entry, copy.place(home, "JPEGImages", image), own[None])
        target = copy.place(home, "Annotations", xml)
        if any(actions - {"none"} for actions in own.values()):
            _write_xml(target, entry, own, names)
        else:
            shutil.copyfile(entry.annotation, target)
    for split, stems in lists.items():
        text = "".join(f"{stem}\n" for stem in stems)
        path = copy.place(home, "ImageSets", "Main", f"{split}.txt")
        path.write_text(text, encoding="utf-8")


def _write_xml(
    path: Path,
    entry: Entry,
    own: dict[int | None, set[Action]],
    names: dict[str, str],
) -> None:
    tree = ET.parse(entry.annotation)
    root = tree.getroot()
    size = root.find("size")
    if size is None:
        size = ET.SubElement(root, "size")
    channels = 3 if "pixels" in own[None] else entry.facts.channels
    for key, value in zip(
        ("width", "height", "depth"), (*entry.size, channels), strict=True
    ):
        node = size.find(key)
        node = ET.SubElement(size, key) if node is None else node
        node.text = str(value)
    boxes = {written.place: written.box for written in entry.objects}
    for place, node in enumerate(root.findall("object")):
        actions = own.get(place, set())
        if "object" in actions:
            root.remove(node)
            continue
        if "rename" in actions:
            name = node.find("name")
            assert name is not None
            name.text = names[(name.text or "").strip()]
        if "clip" in actions:
            x1, y1, x2, y2 = _inside(boxes[place], entry.size)
            for key, edge in zip(
                ("xmin", "ymin", "xmax", "ymax"), (x1 + 1, y1 + 1, x2, y2), strict=True
            ):
                corner = node.find(f"bndbox/{key}")
                assert corner is not None
                corner.text = f"{edge:g}"
    tree.write(path, encoding="utf-8")


def _write_coco(
    copy: CleanedFolder,
    source: Source,
    entries: Sequence[Entry],
    mends: Mends,
    names: dict[str, str],
) -> None:
    assert source.annotation_file is not None
    content: dict[str, Any] = read_json(
        source.annotation_file, expected="COCO annotations", remedy="replace it"
    )
    by_id: dict[Any, Entry] = {int(entry.image_id): entry for entry in entries}
    home = source.annotation_file.parent.parent
    images = source.folder.relative_to(home)
    rows = {row.get("id"): row for row in reversed(content["images"]) if row}
    content["images"] = []
    for key, entry in by_id.items():
        picture = copy.picture(images, source.folder, entry.path)
        _write_image(entry, picture, mends[entry][None])
        width, height = entry.size
        name = picture.relative_to(copy.folder / images).as_posix()
        row = {**rows[key], "file_name": name, "width": width, "height": height}
        if entry.depth:
            row["depth"] = 3 if "pixels" in mends[entry][None] else entry.depth
        content["images"].append(row)
    gone = set(names)
    categories = {row["name"]: row["id"] for row in content["categories"]}
    content["categories"] = [c for c in content["categories"] if c["name"] not in gone]
    table, content["annotations"] = content["annotations"], []
    placed = {entry: {w.place: w for w in entry.objects} for entry in entries}
    for place, row in enumerate(table):
        owner = by_id.get(row.get("image_id")) if isinstance(row, dict) else None
        if owner is None or place not in placed[owner]:
            continue
        actions = mends[owner].get(place, set())
        if "object" in actions:
            continue
        if "rename" in actions:
            row["category_id"] = categories[names[placed[owner][place].name]]
        if "clip" in actions:
            x1, y1, x2, y2 = _inside(placed[owner][place].box, owner.size)
            row["bbox"] = [x1, y1, x2 - x1, y2 - y1]
        content["annotations"].append(row)
    target = copy.place("annotations", source.annotation_file.name)
    target.write_text(json.dumps(content), encoding="utf-8")
