"""A folder in YOLO layout: its classes, its splits, and the files of a split.

data.yaml                 names of the classes; train, val, test; path (the root)
classes.txt or obj.names  the names, one per line, if there is no data.yaml
    images/<split>/**         images, and in the same place under
    labels/<split>/**         their labels: <stem>.txt

A split is a folder, a list of files in a .txt, or several of these. If no folder of
the path is called images, labels are beside the images.
"""

import functools
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..loading.images import IMAGE_SUFFIXES
from ..records import Drops
from .longest_tail import longest_tail
from .values import SPLIT_NAMES, read_lines
from .yolo_settings import (
    NAMES_FILES,
    Pose,
    class_names,
    names_file,
    read_pose,
    read_settings,
)

_SETTINGS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")


@dataclass(frozen=True)
class YoloFolder:
    """Description of a YOLO folder."""

    root: Path  # folder that file names are relative to
    settings: Path | None  # path of data.yaml, if there is one
    names: Mapping[int, str]  # class names in the order of class ids
    # for train, val and test, where the images are listed or stored
    splits: Mapping[str, Sequence[Path]]
    pose: Pose | None = None  # the keypoints in the labels; None if they have none


class Pair(NamedTuple):
    """An image and its label file, relative to the root if they are inside it."""

    image: str
    label: str


def is_yolo(folder: Path) -> str | None:
    """Return the sign by which a folder has YOLO layout; None if it has not."""
    for path in settings_files(folder):
        return path.name
    for name in (
        "labels",
        *(f"{name}/labels" for name in itertools.chain(*SPLIT_NAMES.values())),
    ):
        if (folder / name).is_dir():
            return f"{name}/"
    for name in NAMES_FILES:
        if (folder / name).is_file() and not (folder / "annotations").is_dir():
            return name
    return None


def open_yolo(folder: Path) -> YoloFolder:
    """Read a folder's settings and class names, and find its splits.

    If `path` does not exist, as on another machine, the folder itself is the root.

    Raises:
        ValueError: the settings are malformed, or contain no class names.
    """
    found = settings_files(folder)
    if len(found) > 1:
        raise ValueError(
            f"{folder}: expected one file of settings, found "
            f"{' and '.join(path.name for path in found)}; take one out"
        )
    settings = found[0] if found else None
    content = read_settings(settings) if settings else {}
    root = Path(os.path.normpath(folder / str(content.get("path") or "")))
    if not root.is_dir():
        root = folder
    if settings and content.get("names") is not None:
        names = class_names(settings, content["names"], content.get("nc"))
    else:
        names = names_file(folder, settings)
    splits = _splits(settings, content, root)
    pose = read_pose(settings, content) if settings else None
    return YoloFolder(root, settings, names, splits, pose)


def settings_files(folder: Path) -> list[Path]:
    """Return the files of settings: those of the usual names, else those with names."""
    usual = [folder / name for name in _SETTINGS if (folder / name).is_file()]
    if usual:
        return usual
    others = sorted((*folder.glob("*.yaml"), *folder.glob("*.yml")))
    return [path for path in others if path.name[0] != "." and _has_names(path)]


def _has_names(path: Path) -> bool:
    try:
        return isinstance(read_settings(path).get("names"), (list, dict))
    except ValueError:
        return False


def _splits(
    settings: Path | None, content: Mapping[str, Any], root: Path
) -> dict[str, list[Path]]:
    """Find the images of each split: as configured, else in the usual places."""
    configured: dict[str, list[Path]] = {}
    usual: dict[str, list[Path]] = {}
    for split, names in SPLIT_NAMES.items():
        for key in names:
            values = content.get(key) or []
            values = [values] if isinstance(values, str) else values
            if not (isinstance(values, list) and all(type(v) is str for v in values)):
                raise ValueError(
                    f"{settings}: expected under {key} a folder, a file, or a list of "
                    f"them, found {content[key]!r}; correct it"
                )
            if values:
                configured[split] = [_place(root, value) for value in values]
        places = [root / "images" / name for name in names]
        places += [root / name / "images" for name in names]
        places += [root / f"{name}.txt" for name in names]
        there = [place for place in places if place.exists()]
        if there:
            usual[split] = there[:1]
    return configured or usual


def _place(root: Path, value: str) -> Path:
    place = Path(os.path.normpath(root / value))
    if not place.exists() and "\\" in value:  # as Windows writes paths
        value = value.replace("\\", "/")
        place = Path(os.path.normpath(root / value))
    # Exporters write ../train/images for a train/images beside data.yaml, or the path
    # on the machine that wrote it.
    tail = None if place.exists() else longest_tail(root, value)
    return place if tail is None else root / tail


def list_pairs(yolo: YoloFolder, split: str, drops: Drops) -> list[Pair]:
    """List the images of a split, in the order of the lists, folders sorted.

    Raises:
        ValueError: there are none, or two images share a label file.
    """
    names: dict[str, str] = {}  # image by label file
    for place in yolo.splits[split]:
        for path in _images(place, yolo.root, drops):
            name = _relative(path, yolo.root)
            folder, file = os.path.split(name)
            stem = os.path.splitext(file)[0]
            label = os.path.join(_label_folder(folder), f"{stem}.txt")
            if names.get(label) == name:
                drops.add("image listed twice", f"{name} in the split {split}")
            elif label in names:
                raise ValueError(
                    f"{yolo.root / label}: expected the labels of one image, but "
                    f"{names[label]} and {name} share it; rename or remove one"
                )
            names[label] = name
    if not names:
        places = ", ".join(map(str, yolo.splits[split]))
        raise ValueError(
            f"{places}: expected images ({' '.join(IMAGE_SUFFIXES)}) for the split "
            f"{split}, found none; add them"
        )
    return [Pair(name, label) for label, name in names.items()]


def _images(place: Path, root: Path, drops: Drops) -> Iterator[str]:
    if place.is_dir():
        for folder, folders, files in os.walk(place):
            folders.sort()
            for file in sorted(files):
                suffix = os.path.splitext(file)[1].lower()
                # Some systems store a hidden file beside each image.
                if suffix in IMAGE_SUFFIXES and not file.startswith("."):
                    yield os.path.join(folder, file)
    elif place.suffix.lower() in IMAGE_SUFFIXES:
        yield str(place)
    elif place.is_file():
        yield from _listed(place, root)
    else:
        raise ValueError(
            f"{place}: expected a folder of images, or a list of them in a .txt, found "
            "neither; correct the path (in data.yaml, relative to path, or else to the "
            "folder of data.yaml)"
        )


def _listed(path: Path, root: Path) -> list[str]:
    """Read a list of images, relative to the folder that contains the first of them."""
    lines = read_lines(path, "a list of images")
    entries = [line.strip() for line in lines if line.strip()]
    places = (path.parent, root, root.parent)
    homes = [p for p in places if entries and (p / entries[0]).is_file()]
    home = homes[0] if homes else path.parent
    found = [os.path.normpath(os.path.join(home, entry)) for entry in entries]
    for row, place in enumerate(found):
        if not os.path.isfile(place) and (tail := longest_tail(root, entries[row])):
            found[row] = os.path.normpath(os.path.join(root, tail))
    return found


def _relative(path: str, root: Path) -> str:
    start = os.path.join(root, "")
    return path.removeprefix("./" if start == "./" else start)


@functools.lru_cache(maxsize=1024)
def _label_folder(folder: str) -> str:
    """Replace the last "images" in a path by "labels", if there is one."""
    parts = folder.split(os.sep)
    for place in range(len(parts) - 1, -1, -1):
        if parts[place] == "images":
            return os.sep.join([*parts[:place], "labels", *parts[place + 1 :]])
    return folder
