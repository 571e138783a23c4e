"""Read annotations in YOLO layout: one text file of labels per image.

Labels are fractions of the image's width and height; here they become pixel edges of
the image as stored. `yolo_folder.py` finds the files, `yolo_labels.py` reads one.
"""

import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ..index import index_files
from ..index.index_writer import RawImages, pack
from ..index.indexed_records import Part, Records
from ..records import BACKGROUND, Dataset, Drops, RawObjects, few
from .yolo_folder import Pair, YoloFolder, list_pairs, open_yolo
from .yolo_labels import Row, parse_labels

_ORIENTATION = 274  # EXIF's tag


def read_yolo(folder: Path, split: str, *, name: str) -> Dataset:
    """Read one split of a folder in YOLO layout.

    An image without a label file has no objects, and is counted, because misplaced
    labels look the same. A polygon is replaced by its bounding box. Evaluation follows
    VOC's rules.

    Args:
        folder: folder with data.yaml, or with images and labels.
        split: train, val or test.
        name: name of the returned data set.

    Raises:
        ValueError: settings, a list, an image or a label file is missing, empty or
            malformed; a class has no name; no image has labels; or EXIF rotates an
            image, because its labels then may refer to either orientation.
    """
    drops = Drops()
    yolo = open_yolo(folder)
    pairs = list_pairs(yolo, split, drops)
    _expect_images(yolo, split, pairs)
    source = _Source(yolo, split, pairs, unused_labels(yolo, split, pairs))
    folders = index_files.index_folders(folder)
    # The name of an index in memory does not matter; the files are read only once.
    content = _content(source) if folders else ""
    settings = index_files.settings_key("yolo", yolo.root, split, list(yolo.names))
    index = index_files.load_index(
        folders,
        split,
        index_files.index_key(settings, content),
        functools.partial(_pack, source, content),
        check=lambda found: index_files.same_sizes(found, yolo.root),
    )
    for kind, (count, example) in index.facts["drops"].items():
        drops.add(kind, example, count)
    return Dataset(
        name=name,
        layout="voc",
        classes=(BACKGROUND, *yolo.names.values()),
        records=Records([Part(index, yolo.root)]),
        drops=drops.log(name),
        annotation_file=None,
        category_ids=tuple(range(len(yolo.names) + 1)),
    )


@dataclass(frozen=True)
class _Source:
    """Inputs of an index.

    Attributes:
        yolo: the folder.
        split: name of the split.
        pairs: images and label files.
        unused: label files in the same folders that belong to no image.
    """

    yolo: YoloFolder
    split: str
    pairs: Sequence[Pair]
    unused: Sequence[str]


def _expect_images(yolo: YoloFolder, split: str, pairs: Sequence[Pair]) -> None:
    missing = [p.image for p in pairs if not os.path.isfile(yolo.root / p.image)]
    if missing:
        raise ValueError(
            f"{', '.join(map(str, yolo.splits[split]))}: {len(missing)} of "
            f"{len(pairs)} images of the split {split} are not there: {few(missing)}; "
            "restore the files or remove their lines"
        )


def unused_labels(yolo: YoloFolder, split: str, pairs: Sequence[Pair]) -> list[str]:
    """List the label files without an image, if a split consists of whole folders."""
    if not all(place.is_dir() for place in yolo.splits[split]):
        return []
    own = {pair.label for pair in pairs}
    found = []
    for folder in sorted({os.path.dirname(label) for label in own}):
        place = yolo.root / folder
        for file in sorted(os.listdir(place)) if place.is_dir() else ():
            label = os.path.join(folder, file)
            named = file.endswith(".txt") and not file.startswith(".")
            if named and file != "classes.txt" and label not in own:
                found.append(label)
    return found


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(
            f"{path}: expected labels, cannot read the file ({error}); restore it"
        ) from error


def _names_hash(source: _Source) -> Any:
    text = json.dumps([source.pairs, source.unused])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass"))


def _hash(data: bytes | None) -> bytes:
    return b"-" if data is None else hashlib.sha256(data).digest()


def _content(source: _Source) -> str:
    """Return the hash of everything that goes into the index."""
    digest = _names_hash(source)
    for pair in source.pairs:
        digest.update(_hash(_read(source.yolo.root / pair.label)))
    return str(digest.hexdigest())


def _pack(source: _Source, content: str, file: BinaryIO, scratch: Path | None) -> None:
    """Parse the files, whose hash was `content`, and write their index."""
    yolo, pairs = source.yolo, source.pairs
    digest, drops = _names_hash(source), Drops()
    labels: list[list[Row]] = []
    missing = []
    for pair in pairs:
        path = yolo.root / pair.label
        data = _read(path)
        digest.update(_hash(data))
        labels.append([] if data is None else parse_labels(path, data, yolo.names))
        if data is None:
            missing.append(pair)
    if content and digest.hexdigest() != content:
        raise ValueError(
            f"{yolo.root}: expected finished labels, but one changed while they were "
            "read; start again when they are complete"
        )
    if len(missing) == len(pairs):
        raise ValueError(
            f"{yolo.root}: expected label files for the split {source.split}, found "
            f"none for its {len(pairs)} images, the first would be "
            f"{yolo.root / missing[0].label}; put them there (an image without objects "
            "may have an empty one)"
        )
    if missing:
        kind = "image without a label file, taken to have no objects"
        drops.add(kind, str(yolo.root / missing[0].image), len(missing))
    if source.unused:
        first = str(yolo.root / source.unused[0])
        drops.add("label file without an image", first, len(source.unused))
    _expect_upright(yolo, pairs)
    images = RawImages(yolo.root, lambda row: yolo.root / pairs[row].label)
    for image_id, pair in zip(image_ids([p.image for p in pairs]), pairs, strict=True):
        images.add(image_id, pair.image, 0, 0)
    images.measure()
    objects = [_columns(yolo, images, labels)]
    pack(file, images, objects, drops, closing=0.0, facts={}, scratch=scratch)


def _expect_upright(yolo: YoloFolder, pairs: Sequence[Pair]) -> None:
    """Raise ValueError if EXIF rotates an image.

    Labelling tools show it rotated, training reads it as stored, and labels contain no
    size by which to distinguish the two.
    """
    turned = [p.image for p in pairs if _orientation(yolo.root / p.image) != 1]
    if turned:
        raise ValueError(
            f"{yolo.root}: expected upright images, found {len(turned)} of "
            f"{len(pairs)} that EXIF turns: {few(turned)}; write their pixels as "
            "viewers show them (mogrify -auto-orient) if the labels were drawn so, "
            "else remove the tag"
        )


def _orientation(path: Path) -> int:
    try:
        with Image.open(path) as image:
            return int(image.getexif().get(_ORIENTATION, 1)) or 1
    except Exception:  # `measure` reports unreadable files; EXIF may raise anything
        return 1


def image_ids(names: Sequence[str]) -> list[str]:
    """Name images by their stems, or by their paths without suffix if stems repeat.

    Result files are named after images, so no name may lead out of a folder.
    """
    paths = [os.path.splitext(name)[0] for name in names]
    stems = [os.path.basename(path) for path in paths]
    if max(Counter(stems).values(), default=0) > 1:
        return [path.lstrip("/").replace("../", "_/") for path in paths]
    return stems


def _columns(
    yolo: YoloFolder, images: RawImages, labels: Sequence[Sequence[Row]]
) -> RawObjects:
    """Convert the images' rows to columns, and fractions to pixel edges."""
    class_of = {number: c for c, number in enumerate(yolo.names, start=1)}
    counts = [len(rows) for rows in labels]
    image = np.repeat(np.arange(len(labels)), counts)
    shares = np.array([row.box for rows in labels for row in rows], np.float64)
    sizes = np.array(images.sizes, np.float64).reshape(-1, 2)[image]
    return RawObjects(
        image=image,
        boxes=shares.reshape(-1, 4) * np.concatenate([sizes, sizes], axis=1),
        classes=np.array([class_of[r.class_id] for rows in labels for r in rows], int),
        difficult=np.zeros(len(image), np.bool_),
        crowd=np.zeros(len(image), np.bool_),
    )
