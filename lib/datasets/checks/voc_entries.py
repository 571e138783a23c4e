"""Reading a folder in VOC layout without stopping at its faults."""

import xml.etree.ElementTree as ET
from concurrent.futures import Executor

from ..formats.values import read_lines
from ..formats.voc import annotation_files, image_files, listed_stems
from ..formats.voc_annotation import is_difficult, parse_xml, stated_length
from .entries import Defect, Entry, Source, Written

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc_entries(
    source: Source, *, pool: Executor
) -> tuple[list[Entry], list[Defect]]:
    """Read the lists of a folder and the annotations of all their images.

    Where the annotations tell the classes, those in no list are read too, since a
    training run reads them for that.
    """
    folder = source.folder
    defects: list[Defect] = []
    listed = _lists(source, defects)
    if source.classes is None:
        annotated = annotation_files(folder / "Annotations")
        for stem in sorted(set(annotated) - set(listed)):
            listed[stem] = []
    images = image_files(folder / "JPEGImages")
    entries = []
    for stem, splits in listed.items():
        path = images.get(stem, folder / "JPEGImages" / f"{stem}.jpg")
        annotation = folder / "Annotations" / f"{stem}.xml"
        entries.append(Entry(stem, path, annotation, source, tuple(splits)))
    for entry, found in zip(entries, pool.map(_read, entries), strict=True):
        defects += found
        if not entry.splits:
            defects.append(
                Defect("unlisted image", entry.annotation, "in no list", entry)
            )
    return entries, defects


def _lists(source: Source, defects: list[Defect]) -> dict[str, list[str]]:
    """Give the splits of each listed stem, in the order of the lists."""
    listed: dict[str, list[str]] = {}
    for split in source.splits:
        path = source.folder / "ImageSets" / "Main" / f"{split}.txt"
        try:
            lines = read_lines(path)
        except (OSError, UnicodeDecodeError) as error:
            defects.append(Defect("malformed annotation", path, str(error)))
            continue
        for number, stem in listed_stems(lines):
            splits = listed.setdefault(stem, [])
            if split in splits:
                detail = f"line {number}: {stem} once more"
                defects.append(Defect("repeated entry", path, detail))
            else:
                splits.append(split)
    return listed


def _read(entry: Entry) -> list[Defect]:
    """Fill an entry from its annotation file; returns what is wrong with that."""

    def fault(detail: str, place: int | None = None) -> Defect:
        return Defect("malformed annotation", entry.annotation, detail, entry, place)

    try:
        root = parse_xml(entry.annotation.read_bytes())
    except FileNotFoundError:
        detail = f"listed in {', '.join(entry.splits)}"
        return [Defect("missing annotation", entry.annotation, detail, entry)]
    except (ET.ParseError, OSError, ValueError, LookupError) as error:
        return [fault(str(error))]
    if root.tag != "annotation":
        return [fault(f"root element <{root.tag}>, expected <annotation>")]
    entry.width, entry.height, entry.depth = (
        stated_length(root, key) for key in ("width", "height", "depth")
    )
    defects = []
    for place, node in enumerate(root.findall("object")):
        name = (node.findtext("name") or "").strip()
        corners = [node.findtext(f"bndbox/{key}") or "" for key in _CORNERS]
        try:
            x1, y1, x2, y2 = map(float, corners)
        except ValueError:
            detail = f"object {place + 1}: corners {', '.join(map(repr, corners))}"
            defects.append(fault(detail, place))
            continue
        if not name:
            defects.append(fault(f"object {place + 1}: no <name>", place))
            continue
        box = (x1 - 1, y1 - 1, x2, y2)
        entry.objects.append(Written(place, name, box, is_difficult(node)))
    return defects
