"""Reading a folder in YOLO layout without stopping at its faults."""

from collections.abc import Mapping
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from ..formats.yolo import image_ids, unused_labels
from ..formats.yolo_folder import YoloFolder, list_pairs, open_yolo
from ..formats.yolo_labels import parse_row
from ..loading.images import ImageError, image_size
from ..records import Drops
from .entries import Defect, Entry, Source, Written


def read_yolo_entries(
    source: Source, *, pool: Executor
) -> tuple[list[Entry], list[Defect], list[str]]:
    """Read the images and labels of a folder's splits, and its class names.

    Raises:
        ValueError: the settings are malformed, or a split has no images.
    """
    yolo = open_yolo(source.folder)
    defects: list[Defect] = []
    splits: dict[tuple[str, str], list[str]] = {}
    unused: set[str] = set()
    for split in source.splits:
        repeated = Drops()
        pairs = list_pairs(yolo, split, repeated)
        unused.update(unused_labels(yolo, split, pairs))
        for pair in pairs:
            splits.setdefault(pair, []).append(split)
        for _, example in repeated.found().values():
            file = yolo.settings or yolo.root
            defects.append(Defect("repeated entry", file, f"{example}, once more"))
    for label in sorted(unused - {label for _, label in splits}):
        detail = "no image of that name"
        defects.append(Defect("annotation without image", yolo.root / label, detail))
    names = image_ids([image for image, _ in splits])
    entries = [
        Entry(name, yolo.root / image, yolo.root / label, source, tuple(own))
        for name, ((image, label), own) in zip(names, splits.items(), strict=True)
    ]
    for found in pool.map(partial(_read, names=yolo.names), entries):
        defects += found
    defects += _missing(yolo, entries)
    return entries, defects, list(yolo.names.values())


def _missing(yolo: YoloFolder, entries: list[Entry]) -> list[Defect]:
    """A split without any labels; single images may be without."""
    defects = []
    for split in dict.fromkeys(split for entry in entries for split in entry.splits):
        own = [entry for entry in entries if split in entry.splits]
        if not any(entry.annotation.exists() for entry in own):
            detail = f"and none for the other images of {split}"
            first = own[0].annotation
            defects.append(Defect("missing annotation", first, detail, own[0]))
    return defects


def _read(entry: Entry, names: Mapping[int, str]) -> list[Defect]:
    """Fill an entry from its label file; returns what is wrong with that."""

    def fault(detail: str, place: int | None = None) -> Defect:
        return Defect("malformed annotation", entry.annotation, detail, entry, place)

    try:
        lines = entry.annotation.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return []  # without objects
    except (OSError, UnicodeDecodeError) as error:
        return [fault(str(error))]
    size = _size(entry.path)
    defects = []
    for place, line in enumerate(lines):
        if not line or line.isspace():
            continue
        try:
            row = parse_row(place + 1, line)
        except ValueError as error:
            defects.append(fault(f"line {place + 1}: {error}", place))
            continue
        if size is not None:
            width, height = size
            x1, y1, x2, y2 = row.box
            box = (x1 * width, y1 * height, x2 * width, y2 * height)
            name = names.get(row.class_id, str(row.class_id))
            entry.objects.append(Written(place, name, box, ignored=False))
    return defects


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels, None where the file cannot tell; it is reported."""
    try:
        return image_size(path)
    except ImageError:
        return None
