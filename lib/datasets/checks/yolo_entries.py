"""Read a folder in YOLO layout without stopping at its faults."""

from concurrent.futures import Executor
from functools import partial

import numpy as np

from ..formats.yolo import image_ids, packed_polygon, unused_labels
from ..formats.yolo_folder import YoloFolder, list_pairs, open_yolo
from ..formats.yolo_labels import parse_labels
from ..loading.images import ImageError, image_size
from ..records import Drops
from .entries import Defect, Entry, ReadSource, Source, Written, collect


def read_yolo_entries(source: Source, pool: Executor) -> ReadSource:
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
    for found in pool.map(partial(_read, yolo=yolo), entries):
        defects += found
    # Single images may be without labels, a whole split may not.
    for split in dict.fromkeys(split for entry in entries for split in entry.splits):
        own_entries = [entry for entry in entries if split in entry.splits]
        if not any(entry.annotation.exists() for entry in own_entries):
            first = own_entries[0]
            detail = f"and none for the other images of {split}"
            defects.append(
                Defect("missing annotation", first.annotation, detail, first)
            )
    keypoints = yolo.pose.keypoints if yolo.pose else None
    return ReadSource(entries, defects, list(yolo.names.values()), keypoints)


def _read(entry: Entry, yolo: YoloFolder) -> list[Defect]:
    """Fill an entry from its label file; return the faults of that file."""
    defects: list[Defect] = []
    fault = collect(entry, defects)
    try:
        rows = parse_labels(entry.annotation.read_bytes(), fault, yolo.pose)
    except FileNotFoundError:
        return []  # without objects
    except OSError as error:
        fault(str(error), None)
        return defects
    try:
        width, height = image_size(entry.path)
    except ImageError:
        return defects  # another check reports the image
    for row in rows:
        x1, y1, x2, y2 = row.box
        box = (x1 * width, y1 * height, x2 * width, y2 * height)
        name = yolo.names.get(row.class_id, str(row.class_id))
        mask, faults = packed_polygon(row, (width, height))
        keypoints = np.array(row.keypoints, np.float32).reshape(-1, 3)
        keypoints[:, :2] *= (width, height)
        entry.objects.append(
            Written(
                row.place,
                name,
                box,
                ignored=False,
                mask=mask,
                mask_faults=tuple(faults),
                keypoints=keypoints if len(keypoints) else None,
            )
        )
    return defects
