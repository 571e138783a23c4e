"""Read a folder in VOC layout without stopping at its faults."""

from collections.abc import Sequence
from concurrent.futures import Executor

from ..formats.values import read_lines
from ..formats.voc import annotation_files, image_files, list_file, listed_stems
from ..formats.voc_annotation import parse_annotation
from ..formats.voc_masks import read_masks
from ..loading.images import ImageError, image_size
from .entries import Defect, Entry, ReadSource, Source, Written, collect


def read_voc_entries(source: Source, pool: Executor) -> ReadSource:
    """Read the lists of a folder and the annotations of all their images.

    If the classes come from the annotations, images in no list are read too, because
    a training run reads them for that.
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
    return ReadSource(entries, defects)


def _lists(source: Source, defects: list[Defect]) -> dict[str, list[str]]:
    """Return the splits of each listed stem, in the order of the lists."""
    listed: dict[str, list[str]] = {}
    for split in source.splits:
        path = list_file(source.folder, split)
        try:
            lines = read_lines(path, "an image list")
        except (OSError, ValueError) as error:
            detail = str(error).removeprefix(f"{path}: ")
            defects.append(Defect("malformed annotation", path, detail))
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
    """Fill an entry from its annotation file; return the faults of that file."""
    defects: list[Defect] = []
    fault = collect(entry, defects)
    try:
        found = parse_annotation(entry.annotation.read_bytes(), fault)
    except FileNotFoundError:
        detail = f"listed in {', '.join(entry.splits)}"
        return [Defect("missing annotation", entry.annotation, detail, entry)]
    except OSError as error:
        fault(str(error), None)
        return defects
    entry.width, entry.height, entry.depth = found.width, found.height, found.depth
    masks = _masks(entry, [each.box for each in found.objects], defects)
    for each, mask in zip(found.objects, masks, strict=True):
        entry.objects.append(Written(*each, mask=mask))
    return defects


def _masks(
    entry: Entry,
    boxes: Sequence[tuple[float, float, float, float]],
    defects: list[Defect],
) -> list[bytes]:
    """Return the packed mask of each object of an image; add the faults of the file."""
    path = entry.source.folder / "SegmentationObject" / f"{entry.image_id}.png"
    faults: list[str] = []
    masks = [b""] * len(boxes)
    if path.is_file():
        try:
            size = image_size(entry.path)
            masks = read_masks(path.read_bytes(), size, boxes, faults.append)
        except ImageError:
            pass  # another check reports the image
        except (OSError, ValueError) as error:
            faults.append(str(error))
    defects += (Defect("malformed mask", path, fault, entry) for fault in faults)
    return masks
