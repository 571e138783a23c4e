"""Reading annotations in the layout of PASCAL VOC.

    <folder>/Annotations/<stem>.xml
    <folder>/ImageSets/Main/<split>.txt     one stem per line
    <folder>/JPEGImages/<stem>.jpg          or another image suffix

Corners in the files are 1-based whole pixels, both included; here they become pixel
edges, (xmin - 1, ymin - 1, xmax, ymax).
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .images import IMAGE_SUFFIXES, image_size
from .records import (
    BACKGROUND,
    Dataset,
    Drops,
    RawImage,
    RawObjects,
    build_records,
    did_you_mean,
    few,
)

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
    *("sheep", "sofa", "train", "tvmonitor"),
)

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _Object(NamedTuple):
    name: str
    corners: tuple[float, ...]  # as written
    difficult: bool


class _Annotation(NamedTuple):
    width: int  # 0 where the file does not tell
    height: int
    objects: list[_Object]


def read_voc(
    folder: Path, split: str, *, name: str, classes: Sequence[str] | None = None
) -> Dataset:
    """Read one image list of a folder in VOC layout.

    Nested `<part>` boxes are not objects. Difficult objects and images without objects
    are kept. An image's size is the one in its XML file, or in the image's header where
    the file tells none.

    Args:
        folder: holds Annotations, ImageSets and JPEGImages.
        split: the list's name without .txt.
        name: of the data set returned.
        classes: names without the background; None takes every name that occurs in the
            folder's annotations, sorted, so that all its lists agree.

    Raises:
        ValueError: a list, image or annotation is missing, empty or malformed, or
            names a class that is not among `classes`.
    """
    drops = Drops()
    stems = _read_list(folder, split, drops)
    paths = _find_images(folder, split, stems)
    annotations = _read_annotations(folder, split, stems, every=classes is None)
    if classes is None:
        classes = sorted({o.name for a in annotations.values() for o in a.objects})
        if not classes:
            raise ValueError(
                f"{folder / 'Annotations'}: expected at least one <object>, found none "
                "in any file; annotate the images"
            )
    images = []
    for stem in stems:
        width, height, _ = annotations[stem]
        if min(width, height) < 1:
            width, height = image_size(paths[stem])
        source = folder / "Annotations" / f"{stem}.xml"
        images.append(RawImage(stem, paths[stem], width, height, source))
    objects = _columns(images, annotations, classes)
    records = build_records(images, objects, drops, closing=1.0)
    return Dataset(
        name=name,
        layout="voc",
        classes=(BACKGROUND, *classes),
        records=records,
        drops=drops.log(name),
        annotation_file=None,
        category_ids=tuple(range(len(classes) + 1)),
    )


def image_lists(folder: Path) -> list[str]:
    """Name the image lists of a folder in VOC layout, sorted, without .txt."""
    return sorted(path.stem for path in (folder / "ImageSets" / "Main").glob("*.txt"))


def _list_file(folder: Path, split: str) -> Path:
    return folder / "ImageSets" / "Main" / f"{split}.txt"


def _read_list(folder: Path, split: str, drops: Drops) -> list[str]:
    """Read the stems of a list; VOC also has lists with a flag in a second column."""
    path = _list_file(folder, split)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        there = ", ".join(image_lists(folder)) or "no list at all"
        raise ValueError(
            f"{path}: expected an image list, not found (there: {there}); write the "
            "file names of the split's images into it, one per line, without suffix"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: expected an image list in UTF-8, cannot read it ({error}); "
            "save it as plain text"
        ) from error
    stems: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        columns = line.rsplit(maxsplit=1)
        if len(columns) == 2 and columns[1] in ("-1", "0", "1"):
            columns.pop()
        stem = " ".join(columns)
        if stem in stems:
            drops.add("repeated line in a list", f"{path} line {number}: {stem}")
        elif stem:
            stems[stem] = None
    if not stems:
        raise ValueError(f"{path}: expected image names, found none; fill the list")
    return list(stems)


def _find_images(folder: Path, split: str, stems: Sequence[str]) -> dict[str, Path]:
    """Find the image file of each stem with one look at the folder."""
    folder = folder / "JPEGImages"
    rank = {suffix: place for place, suffix in enumerate(IMAGE_SUFFIXES)}
    found: dict[str, Path] = {}
    if folder.is_dir():
        # The preferred suffix comes last and stays.
        files = [f for f in folder.iterdir() if f.suffix.lower() in rank]
        for file in sorted(files, key=lambda f: (-rank[f.suffix.lower()], f.name)):
            found[file.stem] = file
    missing = [stem for stem in stems if stem not in found]
    if missing:
        raise ValueError(
            f"{_list_file(folder.parent, split)}: {len(missing)} of {len(stems)} "
            f"images are not in {folder}: {few(missing)}; restore the files or take "
            "their lines out of the list (names are written without suffix)"
        )
    return found


def _read_annotations(
    folder: Path, split: str, stems: Sequence[str], *, every: bool
) -> dict[str, _Annotation]:
    """Parse the annotations of the stems, or of the whole folder, by stem."""
    folder = folder / "Annotations"
    found = {f.stem: f for f in folder.glob("*.xml")}
    missing = [stem for stem in stems if stem not in found]
    if missing:
        raise ValueError(
            f"{_list_file(folder.parent, split)}: {len(missing)} of {len(stems)} "
            f"images have no .xml file in {folder}: {few(missing)}; an image without "
            "objects needs a file without <object>"
        )
    wanted = sorted(found) if every else stems
    return {stem: _parse(found[stem]) for stem in wanted}


def _parse(path: Path) -> _Annotation:
    """Parse one annotation file."""
    try:
        root = ET.fromstring(path.read_bytes())
    except ET.ParseError as error:
        raise ValueError(
            f"{path}: expected well-formed XML, found a fault at line "
            f"{error.position[0]} ({error}); correct the file"
        ) from error
    except (OSError, ValueError, LookupError) as error:
        raise ValueError(
            f"{path}: expected an XML file, cannot read it ({error}); restore the file"
        ) from error
    if root.tag != "annotation":
        raise ValueError(
            f"{path}: expected the root element <annotation>, found <{root.tag}>; "
            "replace the file by one in VOC layout"
        )
    objects = []
    # Direct children only: the boxes of nested <part> elements are no objects.
    for place, node in enumerate(root.findall("object"), start=1):
        name = _text(node, "name", path, place)
        corners = tuple(_number(node, f"bndbox/{key}", path, place) for key in _CORNERS)
        difficult = (node.findtext("difficult") or "").strip()
        objects.append(_Object(name, corners, difficult not in ("", "0")))
    return _Annotation(_length(root, "width"), _length(root, "height"), objects)


def _text(node: ET.Element, key: str, path: Path, place: int) -> str:
    text = (node.findtext(key) or "").strip()
    if not text:
        raise ValueError(
            f"{path}: object {place}: expected <{key}>, found none or an empty one; "
            "add it"
        )
    return text


def _number(node: ET.Element, key: str, path: Path, place: int) -> float:
    text = _text(node, key, path, place)
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"{path}: object {place}: expected a number in <{key}>, found {text!r}; "
            "correct it"
        ) from None


def _length(root: ET.Element, key: str) -> int:
    """Read the image's width or height; 0 where it is missing or no whole number."""
    text = (root.findtext(f"size/{key}") or "").strip()
    return int(text) if text.isdecimal() else 0


def _columns(
    images: Sequence[RawImage],
    annotations: dict[str, _Annotation],
    classes: Sequence[str],
) -> RawObjects:
    """Turn the images' objects into columns, corners into pixel edges."""
    index = {name: number for number, name in enumerate(classes, start=1)}
    image: list[int] = []
    label: list[int] = []
    corners: list[tuple[float, ...]] = []
    difficult: list[bool] = []
    for number, raw in enumerate(images):
        for found in annotations[raw.image_id].objects:
            if found.name not in index:
                raise ValueError(
                    f"{raw.source}: unknown class {found.name!r}"
                    f"{did_you_mean(found.name, classes)}; expected one of "
                    f"{', '.join(classes)}; correct the name, or, for classes of your "
                    f"own, name {raw.source.parent.parent} itself as the data set"
                )
            image.append(number)
            label.append(index[found.name])
            corners.append(found.corners)
            difficult.append(found.difficult)
    first_pixel = np.array([1.0, 1.0, 0.0, 0.0])
    return RawObjects(
        image=np.array(image, np.int64),
        boxes=np.array(corners, np.float64).reshape(-1, 4) - first_pixel,
        classes=np.array(label, np.int64),
        difficult=np.array(difficult, np.bool_),
        crowd=np.zeros(len(image), np.bool_),
    )
