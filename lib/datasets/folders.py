"""Recognise the layout of a user's folder, and the files of its splits.

VOC     Annotations/*.xml, ImageSets/Main/*.txt, JPEGImages/
COCO    annotations/instances_*.json and folders of images
YOLO    data.yaml, or images/<split>/ and labels/<split>/
"""

import logging
from pathlib import Path
from typing import Literal, NamedTuple

from ..utils.errors import MissingDataError
from .foreign import foreign_format
from .formats.voc import VOC_CLASSES, image_lists
from .formats.yolo_folder import YoloFolder, is_yolo, list_pairs, open_yolo
from .records import Drops

Split = Literal["train", "trainval", "val", "test"]
"""Purpose of a set: training, training in a run that does not validate, choosing the
best checkpoint, or testing."""
Layout = Literal["voc", "coco", "yolo"]

logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """A folder whose layout was recognised.

    Attributes:
        layout: layout of its files.
        folder: the folder with this layout; inside the given one for a VOCdevkit.
        classes: the published classes for a VOCdevkit; None to read them from the data.
    """

    layout: Layout
    folder: Path
    classes: tuple[str, ...] | None = None


def recognise(folder: Path) -> Found:
    """Recognise the layout of a folder.

    Raises:
        ValueError: the folder has none of the layouts, or more than one.
    """
    # By exact name: on case-insensitive file systems annotations matches Annotations.
    there = sorted(entry.name for entry in folder.iterdir())
    signs: dict[Layout, str | None] = {
        "coco": "annotations/*.json" if coco_files_of(folder) else None,
        "voc": "Annotations/" if "Annotations" in there else None,
        "yolo": is_yolo(folder),
    }
    found = {layout: sign for layout, sign in signs.items() if sign}
    if len(found) > 1:
        layouts = " and ".join(f"{s} ({n.upper()} layout)" for n, s in found.items())
        raise ValueError(
            f"{folder}: expected one layout, found {layouts}; move all but one out, or "
            "link the files of one layout into a folder of their own"
        )
    for layout in found:
        return Found(layout, folder)
    for year in ("VOC2007", "VOC2012"):
        inside = devkit_folder(folder) / year
        if inside.is_dir():
            return Found("voc", inside, VOC_CLASSES)
    seen = foreign_format(folder) or (
        f"{', '.join(there[:8]) or 'an empty folder'}; see docs/own_data.md"
    )
    raise ValueError(
        f"{folder}: expected Annotations/ and ImageSets/ (VOC layout), a VOCdevkit, "
        "annotations/*.json (COCO layout), or data.yaml or labels/ (YOLO layout), "
        f"found {seen}"
    )


def devkit_folder(root: Path) -> Path:
    """Return the folder that contains, or will contain, VOC2007 and VOC2012."""
    years = [root / "VOC2007", root / "VOC2012"]
    return root if any(year.is_dir() for year in years) else root / "VOCdevkit"


def coco_folder(root: Path) -> Path:
    """Return the folder that contains, or will contain, COCO's annotations."""
    return root if coco_files_of(root) else root / "coco"


def coco_files_of(folder: Path) -> list[str]:
    """List the JSON files of a folder in COCO layout, sorted."""
    found = (folder / "annotations").glob("*.json")
    return sorted(path.name for path in found if path.name[0] != ".")


def has_validation(folder: Path) -> bool:
    """Return whether a folder has a validation set besides its training set.

    Raises:
        ValueError: see `recognise`; or the folder's settings are malformed.
    """
    layout, folder, _ = recognise(folder)
    if layout == "coco":
        return bool(_instances(folder, "val"))
    if layout == "yolo":
        return "val" in open_yolo(folder).splits
    return {"train", "val"} <= set(image_lists(folder))


def voc_split(folder: Path, split: Split) -> str:
    """Choose the image list.

    A test falls back to val. trainval, which includes val, is only used by a run that
    does not validate, and only if there is another list to test on.

    Raises:
        ValueError: there is no suitable list.
    """
    there = image_lists(folder)
    choices: dict[Split, tuple[str, ...]] = {
        "train": ("train", "trainval") if "test" in there else ("train",),
        "trainval": ("trainval", "train") if "test" in there else ("train",),
        "val": ("val",),
        "test": ("test", "val"),
    }
    for choice in choices[split]:
        if choice in there:
            return choice
    wanted = "val.txt" if split == "val" else _VOC_LISTS
    raise ValueError(
        f"{folder / 'ImageSets' / 'Main'}: expected {wanted} for the "
        f"{_PURPOSE[split]}, found {', '.join(f'{t}.txt' for t in there) or 'no list'};"
        " write image names, one per line, into the missing one"
    )


def yolo_split(folder: Path, split: Split) -> str:
    """Choose the split. A test falls back to val if test has no labels.

    Raises:
        ValueError: there is no suitable split.
    """
    yolo = open_yolo(folder)
    choices = _usual_choices(split)
    for choice in choices:
        falls_back = choice != choices[-1] and choices[-1] in yolo.splits
        if choice in yolo.splits and not (falls_back and _is_unlabelled(yolo, choice)):
            return choice
    raise ValueError(
        f"{yolo.settings or folder}: expected a split {' or '.join(choices)} for the "
        f"{_PURPOSE[split]}, found {', '.join(yolo.splits) or 'none'}; name its images "
        f"in data.yaml, or put them into images/{choices[0]}"
    )


def _is_unlabelled(yolo: YoloFolder, split: str) -> bool:
    """Return whether a split lacks labels or images, like a published test set."""
    try:
        pairs = list_pairs(yolo, split, Drops())
        if any((yolo.root / pair.label).is_file() for pair in pairs):
            return False
        fault = f"{yolo.root}: the split {split} has no labels"
    except ValueError as error:
        fault = str(error)
    logger.warning("no test on the split %s: %s", split, fault)
    return True


def coco_annotations(folder: Path, split: Split) -> Path:
    """Choose the instances file, the last of several years; a test falls back to val.

    Raises:
        ValueError: there is no suitable file.
    """
    choices = _usual_choices(split)
    for choice in choices:
        if chosen := _instances(folder, choice):
            return folder / "annotations" / chosen[-1]
    wanted = " or ".join(f"instances_{choice}*.json" for choice in choices)
    raise ValueError(
        f"{folder / 'annotations'}: expected {wanted} for the {_PURPOSE[split]}, found "
        f"{', '.join(coco_files_of(folder))}; rename or add the file"
    )


def _instances(folder: Path, kind: str) -> list[str]:
    return [f for f in coco_files_of(folder) if f.startswith(f"instances_{kind}")]


_VOC_LISTS = (
    "trainval.txt or train.txt together with test.txt, or train.txt with val.txt"
)


def _usual_choices(split: Split) -> tuple[str, ...]:
    if split == "test":
        return "test", "val"
    return ("train" if split == "trainval" else split,)


_PURPOSE: dict[Split, str] = {
    "train": "training set",
    "trainval": "training set",
    "val": "validation set",
    "test": "test set",
}


def coco_images(annotations: Path, images: str = "") -> Path:
    """Find the image folder that belongs to an annotation file.

    Args:
        annotations: the annotation file.
        images: name of the folder; "" for the name in instances_<name>.json.

    Raises:
        MissingDataError: the folder does not exist.
    """
    folder = annotations.parent.parent
    images = images or annotations.stem.removeprefix("instances_")
    places = [folder / images, folder / "images" / images, folder / "images"]
    for place in places:
        if place.is_dir():
            return place
    raise MissingDataError(
        f"{annotations}: expected its images in {' or '.join(map(str, places))}, found "
        "no such folder; unpack them there"
    )
