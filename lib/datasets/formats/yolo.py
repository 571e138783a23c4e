"""Read annotations in YOLO layout: one text file of labels per image.

Labels are fractions of the image's width and height; here they become pixel edges of
the image as stored.
"""

import os
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from ..index.index_writer import RawDataset, RawImages, pack
from ..index.packed_masks import MaskBytes
from ..loading.orientation import orientation_of
from ..records import BOXES, Dataset, Drops, FloatArray, RawObjects, Wanted, few
from .coco_masks import parse_polygons
from .split_files import AnnotationFiles, SplitFiles
from .values import refuse
from .written_keypoints import clean_keypoints
from .yolo_folder import Pair, YoloFolder, list_pairs, open_yolo
from .yolo_labels import Row, parse_labels
from .yolo_settings import Pose


def read_yolo(
    folder: Path, split: str, *, name: str, wanted: Wanted = BOXES
) -> Dataset:
    """Read one split of a folder in YOLO layout.

    An image without a label file has no objects, and is counted, because misplaced
    labels look the same. The box of a polygon is the one around it. Evaluation follows
    VOC's rules.

    Args:
        folder: folder with data.yaml, or with images and labels.
        split: train, val or test.

    Raises:
        ValueError: settings, a list, an image or a label file is missing, empty or
            malformed; a class has no name; no image has labels; or EXIF rotates an
            image, because its labels then may refer to either orientation.
    """
    drops = Drops()
    yolo = open_yolo(folder)
    pairs = list_pairs(yolo, split, drops)
    missing = [p.image for p in pairs if not os.path.isfile(yolo.root / p.image)]
    if missing:
        raise ValueError(
            f"{', '.join(map(str, yolo.splits[split]))}: {len(missing)} of "
            f"{len(pairs)} images of the split {split} are not there: {few(missing)}; "
            "restore the files or remove their lines"
        )
    unused = unused_labels(yolo, split, pairs)
    source = _Source(folder, yolo.root, split, yolo, pairs, unused, wanted)
    settings = ("yolo", yolo.root, split, list(yolo.names), yolo.pose, *wanted)
    return source.read(name, settings, drops, yolo.names.values())


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


def image_ids(names: Sequence[str]) -> list[str]:
    """Name images by their stems, or by their paths without suffix if stems repeat.

    Result files are named after images, so no name may lead out of a folder.
    """
    paths = [os.path.splitext(name)[0] for name in names]
    stems = [os.path.basename(path) for path in paths]
    if max(Counter(stems).values(), default=0) > 1:
        return [path.lstrip("/").replace("../", "_/") for path in paths]
    return stems


@dataclass(frozen=True)
class _Source(SplitFiles):
    """The files of a split, and what is read of them."""

    yolo: YoloFolder  # the folder
    pairs: Sequence[Pair]  # images and label files
    unused: Sequence[str]  # label files in the same folders that belong to no image
    wanted: Wanted  # what is read besides boxes

    @property
    def files(self) -> AnnotationFiles:
        """The label files, and the names that the index depends on."""
        root = self.yolo.root
        paths = [root / pair.label for pair in self.pairs]
        return AnnotationFiles(root, paths, [self.pairs, self.unused], "labels")

    def pack(self, content: str, file: BinaryIO, scratch: Path | None) -> None:
        """Parse the files, whose hash was `content`, and write their index."""
        yolo, pairs, drops = self.yolo, self.pairs, Drops()
        labels: list[list[Row]] = []
        missing = []
        for pair, data in zip(pairs, self.files.read(content), strict=True):
            path = yolo.root / pair.label
            labels.append(parse_labels(data or b"", refuse(path), yolo.pose))
            _expect_names(path, labels[-1], yolo.names)
            if data is None:
                missing.append(pair)
        if len(missing) == len(pairs):
            raise ValueError(
                f"{yolo.root}: expected label files for the split {self.split}, found "
                f"none for its {len(pairs)} images, the first would be "
                f"{yolo.root / missing[0].label}; put them there (an image without "
                "objects may have an empty one)"
            )
        if missing:
            kind = "image without a label file, taken to have no objects"
            drops.add(kind, str(yolo.root / missing[0].image), len(missing))
        if self.unused:
            first = str(yolo.root / self.unused[0])
            drops.add("label file without an image", first, len(self.unused))
        _expect_upright(yolo, pairs)
        images = RawImages(yolo.root, lambda row: yolo.root / pairs[row].label)
        names = [pair.image for pair in pairs]
        for image_id, name in zip(image_ids(names), names, strict=True):
            images.add(image_id, name, 0, 0)
        images.measure()
        class_of = {class_id: c for c, class_id in enumerate(yolo.names, start=1)}
        owners = np.repeat(np.arange(len(labels)), [len(rows) for rows in labels])
        rows = [row for own in labels for row in own]
        shares = np.array([row.box for row in rows], np.float64).reshape(-1, 4)
        sizes = np.array(images.sizes, np.float64).reshape(-1, 2)[owners]
        masks = MaskBytes(scratch)

        def example(row: int) -> str:
            return f"line {rows[row].place + 1} of {images.source(int(owners[row]))}"

        pose = yolo.pose if self.wanted.keypoints else None
        objects = RawObjects(
            image=owners,
            boxes=shares * np.concatenate([sizes, sizes], axis=1),
            classes=np.array([class_of[row.class_id] for row in rows], np.int64),
            masks=masks.add(_packed_masks(rows, sizes, example, drops))
            if self.wanted.masks
            else None,
            keypoints=_keypoints(rows, sizes, pose, example, drops) if pose else None,
        )
        raw = RawDataset(images, [objects], masks, pose and pose.keypoints)
        pack(file, raw, drops, scratch=scratch)


def _packed_masks(
    rows: Sequence[Row],
    sizes: npt.NDArray[np.float64],
    example: Callable[[int], str],
    drops: Drops,
) -> list[bytes]:
    """Pack the polygons, in pixel edges."""
    packed = []
    for number, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        mask, faults = packed_polygon(row, size)
        packed.append(mask)
        for kind in faults:
            drops.add(kind, example(number))
    return packed


def packed_polygon(row: Row, size: npt.ArrayLike) -> tuple[bytes, list[str]]:
    """Pack a row's polygon in an image of a width and height; also return faults."""
    faults: list[str] = []
    scaled = np.array(row.polygon).reshape(-1, 2) * size
    parts = [array("f", scaled.ravel().tolist())] if row.polygon else []
    return parse_polygons(parts, faults.append), faults


def _keypoints(
    rows: Sequence[Row],
    sizes: npt.NDArray[np.float64],
    pose: Pose,
    example: Callable[[int], str],
    drops: Drops,
) -> FloatArray:
    """Return the keypoints in continuous pixels."""
    nothing = ((0.0, 0.0, 0.0),) * len(pose.keypoints.names)
    values = np.array([row.keypoints or nothing for row in rows], np.float64)
    values = values.reshape(len(rows), -1, 3)
    values[..., :2] *= sizes[:, None]
    return clean_keypoints(values, example, drops)


def _expect_names(path: Path, rows: Sequence[Row], names: Mapping[int, str]) -> None:
    """Raise ValueError if a class id has no name."""
    for row in rows:
        if row.class_id not in names:
            first, last = min(names), max(names)
            expected = f"one of {', '.join(map(str, names))}"
            if len(names) == last - first + 1:
                expected = f"{first} to {last}" if len(names) > 1 else str(first)
            raise ValueError(
                f"{path}: line {row.place + 1}: unknown class id {row.class_id}, "
                f"expected {expected}; correct it, or add the name of that class"
            )


def _expect_upright(yolo: YoloFolder, pairs: Sequence[Pair]) -> None:
    """Raise ValueError if EXIF rotates an image.

    Labelling tools show it rotated, training reads it as stored, and labels contain no
    size by which to distinguish the two.
    """
    turned = [p.image for p in pairs if orientation_of(yolo.root / p.image) != 1]
    if turned:
        raise ValueError(
            f"{yolo.root}: expected upright images, found {len(turned)} of "
            f"{len(pairs)} that EXIF turns: {few(turned)}; write their pixels as "
            "viewers show them (mogrify -auto-orient) if the labels were drawn so, "
            "else remove the tag"
        )
