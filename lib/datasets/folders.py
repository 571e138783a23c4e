"""Recognise the layout of a user's folder, and read its splits.

VOC     Annotations/*.xml, ImageSets/Main/*.txt, JPEGImages/
COCO    annotations/instances_*.json and folders of images
YOLO    data.yaml, or images/<split>/ and labels/<split>/
labelme <split>/*.json, each beside its image
"""

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal, NamedTuple

from ..utils.errors import MissingDataError
from .foreign import foreign_format
from .formats.coco import read_coco
from .formats.labelme import is_labelme, labelme_splits, read_labelme
from .formats.voc import VOC_CLASSES, image_lists, read_voc
from .formats.yolo import read_yolo
from .formats.yolo_folder import YoloFolder, is_yolo, list_pairs, open_yolo
from .records import BOXES, Dataset, Drops, Wanted
from .splitting import SPLITS, parse_shares
from .tidy_folders import tidy_folder

Split = Literal["train", "trainval", "val", "test"]
"""Purpose of a set: training, training in a run that does not validate, choosing the
best checkpoint, or testing."""
Layout = Literal["voc", "coco", "yolo", "labelme"]

_PURPOSE: dict[Split, str] = {
    "train": "training set",
    "trainval": "training set",
    "val": "validation set",
    "test": "test set",
}

logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """A folder whose layout was recognised."""

    layout: Layout  # layout of its files
    folder: Path  # the folder with this layout; inside the given one for a VOCdevkit
    # the published classes for a VOCdevkit; None to read them from the data
    classes: tuple[str, ...] | None = None


class FolderFormat(NamedTuple):
    """How folders in one layout are recognised and read."""

    # returns the file or folder that shows that a folder has the layout; None if the
    # folder does not have it
    sign: Callable[[Path], str | None]
    splits: Callable[[Path], Collection[str]]  # returns the names of a folder's splits
    # reads the set for a split of a folder, given the name of the data set and what is
    # wanted besides boxes
    read: Callable[[Found, Split, str, Wanted], Dataset]


def recognise(folder: Path) -> Found:
    """Recognise the layout of a folder.

    Raises:
        ValueError: the folder has none of the layouts, or more than one.
    """
    signs = {layout: each.sign(folder) for layout, each in FORMATS.items()}
    found = {layout: sign for layout, sign in signs.items() if sign}
    if len(found) > 1:
        layouts = " and ".join(f"{s} ({n.upper()} layout)" for n, s in found.items())
        raise ValueError(
            f"{folder}: expected one layout, found {layouts}; move all but one out, or "
            "link the files of one layout into a folder of their own"
        )
    for layout in found:
        there = set(FORMATS[layout].splits(folder))
        if {"train", "trainval"} & there and {"val", "test"} & there:
            return Found(layout, folder)
    if links := tidy_folder(folder):
        (layout,) = (name for name, each in FORMATS.items() if each.sign(links))
        return Found(layout, links)
    for layout in found:
        return Found(layout, folder)
    for year in ("VOC2007", "VOC2012"):
        inside = devkit_folder(folder) / year
        if inside.is_dir():
            return Found("voc", inside, VOC_CLASSES)
    names = sorted(entry.name for entry in folder.iterdir())
    seen = foreign_format(folder) or (
        f"{', '.join(names[:8]) or 'an empty folder'}; see docs/own_data.md"
    )
    raise ValueError(
        f"{folder}: expected Annotations/ and ImageSets/ (VOC layout), a VOCdevkit, "
        "annotations/*.json (COCO layout), data.yaml or labels/ (YOLO layout), or "
        f"train/*.json (labelme), found {seen}"
    )


def read_folder(
    folder: Path, split: Split, *, name: str, wanted: Wanted = BOXES
) -> Dataset:
    """Read the set for a split of a user's folder.

    A test falls back to the validation set if there is no test set. trainval, which
    includes val, is only used by a run that does not validate, and only if there is
    another set to test on.

    Raises:
        ValueError: see `recognise`; or there is no suitable set, or it is invalid.
        MissingDataError: the images are missing.
    """
    found = recognise(folder)
    return FORMATS[found.layout].read(found, split, name, wanted)


def has_validation(folder: Path) -> bool:
    """Return whether a folder has a validation set besides its training set.

    Raises:
        ValueError: see `recognise`; or the folder's settings are malformed.
    """
    layout, folder, _ = recognise(folder)
    return {"train", "val"} <= set(FORMATS[layout].splits(folder))


def choose_split(folder: Path, text: str) -> None:
    """Split a folder without splits of its own by shares such as 0.8/0.1/0.1.

    Raises:
        ValueError: the text is malformed, or the folder has splits of its own.
    """
    if tidy_folder(folder, shares=parse_shares(text)) is None:
        raise ValueError(
            f"{folder}: expected images without a split for data.split {text}, found "
            "none; leave out data.split"
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


_KINDS = ("instances_", "person_keypoints_")
"""How the names of COCO's files of objects begin."""


def instances_files(folder: Path, split: str, *, keypoints: bool = False) -> list[str]:
    """List the files of a split's objects, of several years the last one last.

    Objects with keypoints are in files of their own, person_keypoints_*; either kind is
    taken if the other is missing.
    """
    files = coco_files_of(folder)
    for kind in _KINDS[::-1] if keypoints else _KINDS:
        if found := [file for file in files if file.startswith(kind + split)]:
            return found
    return []


def split_of(annotations: Path) -> str:
    """Return the split, with its year, in the name of an annotation file."""
    name = annotations.stem
    for kind in _KINDS:
        name = name.removeprefix(kind)
    return name


def coco_images(annotations: Path, images: str = "") -> Path:
    """Find the image folder that belongs to an annotation file.

    Args:
        images: name of the folder; "" for the name in instances_<name>.json or
            person_keypoints_<name>.json.

    Raises:
        MissingDataError: the folder does not exist.
    """
    folder = annotations.parent.parent
    images = images or split_of(annotations)
    places = [folder / images, folder / "images" / images, folder / "images"]
    for place in places:
        if place.is_dir():
            return place
    raise MissingDataError(
        f"{annotations}: expected its images in {' or '.join(map(str, places))}, found "
        "no such folder; unpack them there"
    )


def _choices(split: Split) -> tuple[str, ...]:
    """Return the names of a split, the preferred one first."""
    if split == "test":
        return "test", "val"
    return ("train" if split == "trainval" else split,)


def _read_coco(found: Found, split: Split, name: str, wanted: Wanted) -> Dataset:
    choices = _choices(split)
    for choice in choices:
        files = instances_files(found.folder, choice, keypoints=wanted.keypoints)
        if files:
            annotations = found.folder / "annotations" / files[-1]
            images = coco_images(annotations)
            return read_coco(annotations, images, name=name, wanted=wanted)
    missing = " or ".join(f"instances_{choice}*.json" for choice in choices)
    raise ValueError(
        f"{found.folder / 'annotations'}: expected {missing} for the "
        f"{_PURPOSE[split]}, found {', '.join(coco_files_of(found.folder))}; rename "
        "or add the file"
    )


def _is_voc(folder: Path) -> str | None:
    # By exact name: on case-insensitive file systems annotations matches Annotations.
    names = {entry.name for entry in folder.iterdir()}
    return "Annotations/" if "Annotations" in names else None


def _read_voc(found: Found, split: Split, name: str, wanted: Wanted) -> Dataset:
    there = image_lists(found.folder)
    choices = _choices(split)
    if "test" in there and split in ("train", "trainval"):
        choices = (split, "trainval" if split == "train" else "train")
    for choice in choices:
        if choice in there:
            return read_voc(
                found.folder, choice, name=name, classes=found.classes, wanted=wanted
            )
    together = "trainval.txt or train.txt together with test.txt"
    missing = "val.txt" if split == "val" else f"{together}, or train.txt with val.txt"
    raise ValueError(
        f"{found.folder / 'ImageSets' / 'Main'}: expected {missing} for the "
        f"{_PURPOSE[split]}, found {', '.join(f'{t}.txt' for t in there) or 'no list'};"
        " write image names, one per line, into the missing one"
    )


def _read_yolo(found: Found, split: Split, name: str, wanted: Wanted) -> Dataset:
    yolo = open_yolo(found.folder)
    choices = _choices(split)
    for choice in choices:
        falls_back = choice != choices[-1] and choices[-1] in yolo.splits
        if choice in yolo.splits and not (falls_back and _is_unlabelled(yolo, choice)):
            return read_yolo(found.folder, choice, name=name, wanted=wanted)
    raise ValueError(
        f"{yolo.settings or found.folder}: expected a split {' or '.join(choices)} for "
        f"the {_PURPOSE[split]}, found {', '.join(yolo.splits) or 'none'}; name its "
        f"images in data.yaml, or put them into images/{choices[0]}"
    )


def _read_labelme(found: Found, split: Split, name: str, wanted: Wanted) -> Dataset:
    there = labelme_splits(found.folder)
    choices = _choices(split)
    for choice in choices:
        if choice in there:
            return read_labelme(found.folder, choice, name=name, wanted=wanted)
    raise ValueError(
        f"{found.folder}: expected a folder {' or '.join(choices)} for the "
        f"{_PURPOSE[split]}, found {', '.join(p.name for p in there.values())}; move "
        "its images and their JSON files there"
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


FORMATS: dict[Layout, FolderFormat] = {
    "coco": FolderFormat(
        lambda folder: "annotations/*.json" if coco_files_of(folder) else None,
        lambda folder: [s for s in SPLITS if instances_files(folder, s)],
        _read_coco,
    ),
    "voc": FolderFormat(
        _is_voc,
        image_lists,
        _read_voc,
    ),
    "yolo": FolderFormat(
        is_yolo, lambda folder: open_yolo(folder).splits.keys(), _read_yolo
    ),
    "labelme": FolderFormat(
        is_labelme, lambda folder: labelme_splits(folder).keys(), _read_labelme
    ),
}
"""The layouts of folders; a new format is one more row."""
