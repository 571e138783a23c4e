"""Read a folder of labelme's files without stopping at its faults."""

from concurrent.futures import Executor

from ..formats.coco_masks import parse_polygons
from ..formats.labelme import image_path, labelme_files, labelme_splits, parse_labelme
from ..formats.yolo import image_ids
from .entries import Defect, Entry, ReadSource, Source, Written, collect


def read_labelme_entries(source: Source, pool: Executor) -> ReadSource:
    """Read the files of a folder's splits."""
    folder = source.folder
    entries = [
        Entry("", path, path, source, (split,))
        for split, place in labelme_splits(folder).items()
        if split in source.splits
        for path in labelme_files(place)
    ]
    defects = [defect for found in pool.map(_read, entries) for defect in found]
    names = image_ids([str(e.path.relative_to(folder)) for e in entries])
    for entry, name in zip(entries, names, strict=True):
        entry.image_id = name
    return ReadSource(entries, defects)


def _read(entry: Entry) -> list[Defect]:
    """Fill an entry from its file; return the faults of that file."""
    defects: list[Defect] = []
    fault = collect(entry, defects)
    try:
        found = parse_labelme(entry.annotation.read_bytes(), fault)
    except OSError as error:
        fault(str(error), None)
        return defects
    entry.path = image_path(entry.annotation, found)
    entry.width, entry.height = found.width, found.height
    for shape in found.shapes:
        faults: list[str] = []
        mask = parse_polygons(shape.parts, faults.append)
        entry.objects.append(
            Written(shape.place, shape.name, shape.box, False, mask, tuple(faults))
        )
    return defects
