"""labelme's JSON files beside their pictures, without a folder for each split."""

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

from ...utils.untrusted.json_files import read_json
from ..formats.longest_tail import longest_tail
from ..origins import write_derived
from ..splitting import split_in
from .export import Export, Splitter, chosen_splits, files_with, link, subfolders


class _Item(NamedTuple):
    annotation: Path
    image: Path


def find_labelme_folders(folder: Path) -> Export | None:
    """Recognise labelme's JSON files with their pictures."""
    sets: dict[str, list[_Item]] = {}
    for place in [folder, *subfolders(folder)]:
        found = files_with([place], "*.json", '"imagePath"', limit=None)
        items = [item for path in found if (item := _item(path, folder))]
        if items:
            sets.setdefault(split_in(place.name) if place != folder else "", items)
    if not sets:
        return None
    everything = [item for items in sets.values() for item in items]
    pictures = [item.image for item in everything]

    def write(view: Path, splitter: Splitter) -> None:
        for split, items in chosen_splits(sets, splitter, pictures).items():
            for item in items:
                content = {**_read(item.annotation), "imagePath": item.image.name}
                content.pop("imageData", None)  # the picture once more
                link(view / split / item.image.name, item.image)
                place = view / split / item.annotation.name
                write_derived(place, json.dumps(content), item.annotation)

    files = [path for item in everything for path in item]
    return Export("labelme's JSON", files, len(sets) > 1, write)


def _item(path: Path, folder: Path) -> _Item | None:
    """Pair a file with its picture; None if it is not there."""
    named = _image_path(path, path.stat().st_mtime_ns)
    for place in (path.parent, folder, folder / "images"):
        tail = longest_tail(place, named)
        if tail is not None and (place / tail).is_file():
            return _Item(path, place / tail)
    return None


@functools.cache
def _image_path(path: Path, _: int) -> str:
    """Return imagePath; a file, which may hold its whole picture, is read once."""
    return str(_read(path).get("imagePath")).replace("\\", "/")


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path, expected="labelme's JSON", remedy="save it again")
    return content if isinstance(content, dict) else {}
