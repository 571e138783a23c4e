"""Result files of the VOC evaluation server: one text file per class.

``comp4_det_test_cat.txt`` has a line ``image score x1 y1 x2 y2`` for each detection, in
1-based pixels, the far corner being the last pixel inside. ``comp3`` means that only
the challenge's own training data was used, ``comp4`` that other data was used too, such
as ImageNet.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..datasets.index.indexed_records import as_records
from ..datasets.records import Dataset, few
from ..utils.files import write_atomic
from .image_detections import FlatDetections, ImageDetections, flatten, group_by_image

# 1-based pixels that contain both corners of the pixel edges.
_TO_PIXELS = np.array([1.0, 1.0, 0.0, 0.0])


def save_voc_files(
    folder: Path,
    detections: Sequence[ImageDetections],
    dataset: Dataset,
    *,
    comp: str = "comp4",
) -> list[Path]:
    """Write a file for each class, also without detections; return them in order.

    Coordinates have three decimals. Scores have all their digits, so that detections
    are read back in the same order.

    Args:
        folder: folder for the files; the server requires the name results/VOC2007/Main.
        dataset: names the images, the classes, and the list of images in file names.
        comp: the competition.

    Raises:
        ValueError: see ``flatten``; or two classes would have the same file.
        OSError: a file cannot be written.
    """
    flat = flatten(dataset, detections)
    # The last word of a set's name, such as test for voc_2007_test.
    images = re.sub(r"[^\w.-]", "-", dataset.name.rpartition("_")[2])
    start = f"{comp}_det_{images}"
    names = [f"{start}{_class_ending(name)}" for name in dataset.classes[1:]]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"{dataset.name}: expected classes of different names, found several for "
            f"the file {twice}; rename the classes"
        )
    image_ids = as_records(dataset.records).image_ids
    boxes = flat.boxes.astype(np.float64) + _TO_PIXELS
    folder.mkdir(parents=True, exist_ok=True)
    for c, name in enumerate(names, start=1):
        own = flat.classes == c
        rows = zip(
            flat.images[own].tolist(),
            flat.scores[own].tolist(),
            boxes[own].tolist(),
            strict=True,
        )
        text = "".join(
            f"{image_ids[image]} {score:.9g} {x1:.3f} {y1:.3f} {x2:.3f} {y2:.3f}\n"
            for image, score, (x1, y1, x2, y2) in rows
        )
        write_atomic(folder / name, text)
    return [folder / name for name in names]


def load_voc_files(
    folder: Path, dataset: Dataset, *, comp: str | None = None
) -> list[ImageDetections]:
    """Read the files of all classes.

    Args:
        comp: the competition; None if the folder has files of only one.

    Returns:
        One entry per image of ``dataset``, in its order, best score first.

    Raises:
        ValueError: a class has no file; files belong to unknown classes, or to several
            competitions or image lists; lines are malformed or name unknown images. The
            message has the count and the first example.
    """
    files = _find_files(folder, dataset, comp)
    images = {name: i for i, name in enumerate(as_records(dataset.records).image_ids)}
    faults: dict[str, list[str]] = {}
    rows: list[tuple[int, int]] = []
    values: list[list[float]] = []
    for c, file in enumerate(files, start=1):
        for number, line in enumerate(_lines(file), start=1):
            words = line.rsplit(maxsplit=5)  # an image's name may have spaces
            if not words:
                continue
            numbers, fault = _numbers(words, images)
            if fault:
                faults.setdefault(fault, []).append(f"{file.name}:{number}: {line!r}")
                continue
            rows.append((images[words[0]], c))
            values.append(numbers)
    if faults:
        found = "; ".join(
            f"{len(where)} {fault} (first {where[0]:.200})"
            for fault, where in faults.items()
        )
        raise ValueError(
            f"{folder}: {found}. Expected lines 'image score x1 y1 x2 y2' about the "
            f"{len(images)} images of {dataset.name}; name the set that the files were "
            "made on"
        )
    indices = np.array(rows, np.int64).reshape(-1, 2)
    columns = np.array(values, np.float64).reshape(-1, 5)
    flat = FlatDetections(
        indices[:, 0],
        (columns[:, 1:] - _TO_PIXELS).astype(np.float32),
        columns[:, 0].astype(np.float32),
        indices[:, 1],
    )
    return group_by_image(dataset, flat, source=folder)


def _class_ending(name: str) -> str:
    """Return the suffix of the name of a class's file."""
    safe = re.sub(r"[^\w .+-]", "-", name)
    return f"_{safe}.txt"


def _find_files(folder: Path, dataset: Dataset, comp: str | None) -> list[Path]:
    """Find the file of each class, in order."""
    names = sorted(path.name for path in folder.glob(f"{comp or '*'}_det_*.txt"))
    endings = [_class_ending(name) for name in dataset.classes[1:]]
    found: dict[str, dict[str, Path]] = {}
    unknown = []
    for name in names:
        known = [ending for ending in endings if name.endswith(ending)]
        if not known:
            unknown.append(name)
            continue
        ending = max(known, key=len)  # the longer of cat and big_cat
        found.setdefault(name.removesuffix(ending), {})[ending] = folder / name
    if unknown:
        raise ValueError(
            f"{folder}: {len(unknown)} of {len(names)} files are of classes that "
            f"{dataset.name} does not have, first {unknown[0]}; it has "
            f"{few(dataset.classes[1:])}; name the set that they were made on"
        )
    if len(found) != 1:
        kinds = few(sorted(found)) or "none"
        raise ValueError(
            f"{folder}: expected files comp4_det_<list>_<class>.txt of one competition "
            f"and image list, found {kinds}; give --comp, or a folder of one kind"
        )
    (files,) = found.values()
    missing = [
        name
        for name, ending in zip(dataset.classes[1:], endings, strict=True)
        if ending not in files
    ]
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} of {len(endings)} classes have no file, first "
            f"{missing[0]!r}; write an empty file for a class without detections, or "
            "name the set that the files were made on"
        )
    return [files[ending] for ending in endings]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file}: expected text, found {error}; write the file again"
        ) from None


def _numbers(words: list[str], images: dict[str, int]) -> tuple[list[float], str]:
    """Parse score and box of a line, and describe its error; "" for a valid line."""
    if len(words) != 6:
        return [], "lines without six words"
    try:
        numbers = [float(word) for word in words[1:]]
    except ValueError:
        return [], "lines whose score or box is no number"
    if not all(map(math.isfinite, numbers)):
        return [], "lines whose score or box is not finite"
    if words[0] not in images:
        return [], "lines of unknown images"
    if numbers[3] < numbers[1] - 2 or numbers[4] < numbers[2] - 2:
        return [], "lines whose box has x2 < x1 or y2 < y1"
    return numbers, ""
