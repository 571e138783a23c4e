"""Read labelme's annotations: a JSON file beside each image, a folder per split.

    <folder>/train/a.json, a.jpg ...
    <folder>/val/b.json, b.jpg ...

Points are continuous pixels of the image, so polygons need no change.
"""

import json
import math
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..index.index_format import Index
from ..index.index_writer import RawDataset, RawImages, pack
from ..index.packed_masks import MaskBytes
from ..records import BOXES, Dataset, Drops, RawObjects, Wanted, few
from .coco_masks import parse_polygons
from .longest_tail import longest_tail
from .split_files import AnnotationFiles, SplitFiles
from .values import SPLIT_NAMES, Fault, refuse
from .yolo import image_ids

_BYTES = 1 << 16
_EXAMINED = 20
_CORNERS = 64
"""Corners of the polygon that stands for a circle."""


class Shape(NamedTuple):
    """An object: one shape, or all shapes of a label and group."""

    place: int  # number of its first shape in the file, from 0
    name: str  # class name
    parts: "tuple[array[float], ...]"  # polygons of x and y in turn

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Return the pixel edges around it."""
        points = np.concatenate([np.zeros(0), *self.parts]).reshape(-1, 2)
        (x1, y1), (x2, y2) = points.min(0).tolist(), points.max(0).tolist()
        return x1, y1, x2, y2


class LabelmeFile(NamedTuple):
    """Content of a file; a size that is not stated is 0."""

    image: str = ""  # path of the image relative to the file
    width: int = 0  # in pixels
    height: int = 0  # in pixels
    shapes: tuple[Shape, ...] = ()  # its objects
    skipped: tuple[str, ...] = ()  # the types of shapes that have no area


def labelme_splits(folder: Path) -> dict[str, Path]:
    """Return the folder of each split that holds labelme's files."""
    places = (
        (split, folder / name) for split, names in SPLIT_NAMES.items() for name in names
    )
    found: dict[str, Path] = {}
    for split, place in places:
        if split not in found and any(
            map(_is_labelme, labelme_files(place)[:_EXAMINED])
        ):
            found[split] = place
    return found


def is_labelme(folder: Path) -> str | None:
    """Return the sign by which a folder holds labelme's files; None if it does not."""
    for place in labelme_splits(folder).values():
        return f"{place.name}/*.json"
    return None


def labelme_files(folder: Path) -> list[Path]:
    """List the JSON files of a split, sorted, without hidden ones."""
    return sorted(path for path in folder.glob("*.json") if path.name[0] != ".")


def _is_labelme(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(_BYTES)
    return b'"shapes"' in start or b'"imagePath"' in start


def read_labelme(
    folder: Path, split: str, *, name: str, wanted: Wanted = BOXES
) -> Dataset:
    """Read one split of a folder of labelme's files.

    Polygons, rectangles and circles of one label and group_id are the parts of one
    object. Other shapes have no area and are counted. The classes are all labels of the
    folder, sorted, so that its splits agree. Evaluation follows VOC's rules.

    Args:
        folder: folder that contains the folders of the splits.
        split: train, val or test.

    Raises:
        ValueError: a file is malformed, its image is missing, or no file has a shape.
    """
    source = _Source(folder, folder, split, wanted)
    return source.read(name, ("labelme", folder, split, *wanted), Drops())


@dataclass(frozen=True)
class _Source(SplitFiles):
    """The files of all splits, for the classes."""

    wanted: Wanted

    @property
    def files(self) -> AnnotationFiles:
        """The annotation files."""
        splits = labelme_splits(self.folder).values()
        paths = [path for split in splits for path in labelme_files(split)]
        listed = [str(path.relative_to(self.folder)) for path in paths]
        return AnnotationFiles(self.folder, paths, listed, "labelme's JSON")

    def check(self, index: Index) -> bool:
        """Check that the images are there, and sizes read from them still hold."""
        self._expect_images(index.strings("name"))
        return super().check(index)

    def _expect_images(self, names: Sequence[str]) -> None:
        missing = [name for name in names if not (self.folder / name).is_file()]
        if missing:
            raise ValueError(
                f"{self.folder}: {len(missing)} of {len(names)} images of the split "
                f"{self.split} are not there: {few(missing)}; put each where imagePath "
                "in its JSON says, beside it"
            )

    def pack(self, content: str, file: BinaryIO, scratch: Path | None) -> None:
        """Parse the files, whose hash was `content`, and write their index."""
        source, own = self.files, labelme_splits(self.folder)[self.split]
        names: set[str] = set()
        files: list[tuple[Path, LabelmeFile]] = []
        drops = Drops()
        for path, data in zip(source.paths, source.read(content), strict=True):
            found = parse_labelme(data or b"", refuse(path))
            names.update(shape.name for shape in found.shapes)
            if path.is_relative_to(own):
                files.append((path, found))
                for kind in found.skipped:
                    drops.add("shape without an area", f"a {kind} in {path}")
        if not names:
            raise ValueError(
                f"{self.folder}: expected at least one polygon, rectangle or circle, "
                "found none in any file; annotate the images"
            )
        images = RawImages(self.folder, lambda row: files[row][0])
        relative = [
            image_path(path, found).relative_to(self.folder).as_posix()
            for path, found in files
        ]
        self._expect_images(relative)
        for image_id, place, (_, found) in zip(
            image_ids(relative), relative, files, strict=True
        ):
            images.add(image_id, place, found.width, found.height)
        images.measure()
        objects = [(row, s) for row, (_, f) in enumerate(files) for s in f.shapes]
        classes = sorted(names)
        class_of = {label: number for number, label in enumerate(classes, start=1)}
        masks = MaskBytes(scratch)
        packed = []
        for row, shape in objects:
            faults: list[str] = []
            packed.append(parse_polygons(shape.parts, faults.append))
            for kind in faults:
                drops.add(kind, f"shape {shape.place + 1} of {files[row][0]}")
        columns = RawObjects(
            image=np.array([row for row, _ in objects], np.int64),
            boxes=np.array([s.box for _, s in objects], np.float64).reshape(-1, 4),
            classes=np.array([class_of[s.name] for _, s in objects], np.int64),
            masks=masks.add(packed) if self.wanted.masks else None,
        )
        raw = RawDataset(images, [columns], masks, facts={"classes": classes})
        pack(file, raw, drops, scratch=scratch)


def image_path(path: Path, found: LabelmeFile) -> Path:
    """Return the image of a file: where imagePath says, else by the `longest_tail`."""
    folder = path.parent
    place = folder / found.image
    root = os.path.join(os.path.normpath(folder.parent), "")
    if place.is_file() and os.path.normpath(place).startswith(root):
        return place
    for parent in (folder, folder.parent):
        tail = longest_tail(parent, found.image)
        if tail is not None:
            return parent / tail
    return folder / place.name


def parse_labelme(data: bytes, fault: Fault) -> LabelmeFile:
    """Parse a file; leave out a shape, or all, after its fault is told."""
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        fault(f"expected labelme's JSON, cannot read it ({error}); save it again", None)
        return LabelmeFile()
    keys = {"shapes": list, "imagePath": str}
    for key, kind in keys.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), kind):
            fault(f"expected the key {key!r} of labelme's JSON, found none", None)
            return LabelmeFile()
    objects: dict[Any, Shape] = {}
    skipped = []
    for place, entry in enumerate(content["shapes"]):
        try:
            name, parts = _parse_shape(entry)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            fault(
                f"shape {place + 1}: expected a label and points of two numbers, found "
                f"{entry!r:.80}; correct it",
                place,
            )
            continue
        if parts is None:
            skipped.append(str(entry["shape_type"]))
            continue
        group = entry.get("group_id")
        same = (name, place) if group is None else (name, str(group), "group")
        first = objects.get(same)
        objects[same] = (
            first._replace(parts=(*first.parts, parts))
            if first
            else Shape(place, name, (parts,))
        )
    sizes = [content.get(key) for key in ("imageWidth", "imageHeight")]
    width, height = (size if type(size) is int else 0 for size in sizes)
    image = content["imagePath"].replace("\\", "/")
    shapes = tuple(objects.values())
    return LabelmeFile(image, width, height, shapes, tuple(skipped))


def _parse_shape(entry: Any) -> "tuple[str, array[float] | None]":
    """Return the label and polygon of a shape; None for a shape without an area."""
    kind = entry.get("shape_type") or "polygon"
    name = entry["label"]
    if not isinstance(name, str) or not name.strip():
        raise ValueError
    points = [(float(x), float(y)) for x, y in entry["points"]]
    if not points:
        raise ValueError
    if kind == "polygon":
        corners = points
    elif kind == "rectangle":
        (x1, y1), (x2, y2) = points
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    elif kind == "circle":
        (x, y), on_it = points
        radius = math.dist((x, y), on_it)
        angles = (math.tau * k / _CORNERS for k in range(_CORNERS))
        corners = [
            (x + radius * math.cos(angle), y + radius * math.sin(angle))
            for angle in angles
        ]
    else:
        return name.strip(), None
    return name.strip(), array("f", [number for point in corners for number in point])
