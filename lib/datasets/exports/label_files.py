"""YOLO's label files in other places than Ultralytics' own: Darknet, Roboflow, CVAT.

Darknet's settings are in obj.data, with lists of images; Roboflow writes labels and
_darknet.labels, the class names, beside the pictures of each split.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..formats.longest_tail import longest_tail
from ..formats.values import read_lines
from ..formats.yolo_folder import YoloFolder, is_yolo, list_pairs, open_yolo
from ..formats.yolo_settings import read_settings
from ..origins import write_derived
from ..records import Drops
from ..splitting import split_in
from .export import (
    Export,
    Splitter,
    chosen_splits,
    images_in,
    link,
    subfolders,
    visible,
)

_NAMES = ("_darknet.labels", "classes.txt", "obj.names", "_classes.txt")


def find_label_files(folder: Path) -> Export | None:
    """Recognise label files with their pictures; see the module's description."""
    sets: dict[str, list[Path]] = {}
    settings: dict[str, Any] = {}
    yolo: YoloFolder | None = None
    names = _names_file([folder, *subfolders(folder)])
    files = visible(folder.glob("*.data"))
    if files:
        sets, names = _darknet(files[0])
    elif is_yolo(folder) and (opened := open_yolo(folder)).splits:
        yolo = opened
        settings = read_settings(yolo.settings) if yolo.settings else {}
        settings["names"] = dict(yolo.names)
        folder = yolo.root
        for split in yolo.splits:
            pairs = list_pairs(yolo, split, Drops())
            sets[split] = [folder / pair.image for pair in pairs]
    elif names is not None:
        for place in subfolders(folder):
            if split_in(place.name) and (own := _labelled(place)):
                sets[split_in(place.name)] = own
        if not sets and (own := _labelled(folder) or _labelled(folder / "images")):
            sets[""] = own
    if not sets or not (names or settings):
        return None
    everything = [path for own in sets.values() for path in own]

    def write(view: Path, splitter: Splitter) -> None:
        # Names start at a link, so that no folder above counts as one of "images".
        link(view / "data", folder)
        lists = {}
        for split, paths in chosen_splits(sets, splitter, everything).items():
            inside = (os.path.relpath(path, folder) for path in paths)
            lines = "".join(f"data/{name}\n" for name in inside)
            (view / f"{split}.txt").write_text(lines, encoding="utf-8")
            lists[split] = f"{split}.txt"
        if names is not None and not settings:
            named = map(str.strip, read_lines(names, "class names"))
            settings["names"] = [name for name in named if name]
        settings.pop("path", None)
        content = {**settings, **lists}
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        origin = yolo.settings if yolo else files[0] if files else names
        write_derived(view / "data.yaml", text, origin or folder)

    listed = [*([names] if names else []), *files, *everything]
    return Export("YOLO's label files", listed, len(sets) > 1, write)


def _names_file(folders: Sequence[Path]) -> Path | None:
    places = (folder / name for folder in folders for name in _NAMES)
    return next((place for place in places if place.is_file()), None)


def _labelled(folder: Path) -> list[Path]:
    """Return a folder's pictures if labels stand beside them, or beside images/."""
    images = list(images_in(folder).values())
    places = [folder, *([folder.parent / "labels"] if folder.name == "images" else [])]
    has_labels = any((p / f"{i.stem}.txt").is_file() for p in places for i in images)
    return images if has_labels else []


def _darknet(settings: Path) -> tuple[dict[str, list[Path]], Path | None]:
    """Read obj.data: the images of each list, and the file of the class names."""
    values = {
        key.strip(): value.strip()
        for key, equals, value in (ln.partition("=") for ln in read_lines(settings))
        if equals
    }
    sets = {}
    for key, value in values.items():
        listed = _place(settings.parent, value)
        if split_in(key) and listed is not None and listed.is_file():
            lines = [line.strip() for line in read_lines(listed) if line.strip()]
            found = [_place(settings.parent, line) for line in lines]
            sets[split_in(key)] = [path for path in found if path is not None]
    return sets, _place(settings.parent, values.get("names", ""))


def _place(folder: Path, name: str) -> Path | None:
    tail = longest_tail(folder, name)
    return None if tail is None else folder / tail
