"""COCO's JSON in other places than COCO's own.

Roboflow writes it into a folder of each split; CVAT, Label Studio and others write one
file, of any name, beside the pictures or beside their folder.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ...utils.untrusted.json_files import read_json
from ..formats.coco_images import find_images
from ..origins import write_derived
from ..splitting import split_in
from .export import Export, Splitter, files_with, images_in, link, subfolders


def find_coco_exports(folder: Path) -> Export | None:
    """Recognise COCO's JSON files, and find their pictures."""
    inside = subfolders(folder)
    per_split = {
        split_in(path.parent.name): path
        for path in _tables(inside)
        if split_in(path.parent.name) and images_in(path.parent)
    }
    if per_split:
        sets = {split: (path, path.parent) for split, path in per_split.items()}
    else:
        places = [folder, *(p for p in inside if p.name.lower() == "annotations")]
        found = list(_tables(places))
        sets = {
            split: (path, _images_of(path, folder))
            for split, path in _by_split(found).items()
        }
    if not sets or not all(_has_images(images) for _, images in sets.values()):
        return None

    def write(view: Path, splitter: Splitter) -> None:
        if len(sets) > 1:
            for split, (path, images) in sets.items():
                link(view / "annotations" / f"instances_{split}.json", path)
                link(view / "images" / split, images)
            return
        ((path, images),) = sets.values()
        _write_subsets(path, images, view, splitter)

    files = [place for pair in sets.values() for place in pair]
    return Export("COCO's JSON", files, len(sets) > 1, write)


def _has_images(folder: Path) -> bool:
    """Return whether there is an image in a folder or below it."""
    if images_in(folder):
        return True
    return folder.is_dir() and any(_has_images(place) for place in subfolders(folder))


def _tables(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield files that seem to have COCO's tables; lists are of other tools."""
    for path in files_with(folders, "*.json", *_SIGNS):
        with path.open("rb") as file:
            if not file.read(64).lstrip().startswith(b"["):
                yield path


_SIGNS = ('"annotations"', '"images"')
"""One of COCO's tables is named near the start of its files."""

_OTHERS = ("captions", "stuff", "panoptic")
"""How the names of COCO's files without objects begin."""


def _by_split(paths: Sequence[Path]) -> dict[str, Path]:
    """Return the file of each split; instances are preferred to persons' keypoints.

    Raises:
        ValueError: a split has two files.
    """
    found: dict[str, Path] = {}

    def rank(path: Path) -> int:
        persons = path.name.startswith("person_keypoints")
        return path.name.startswith("instances") - persons

    for path in sorted(paths, key=rank):
        if path.name.startswith(_OTHERS):
            continue
        earlier = found.get(split_in(path.stem))
        if earlier and not earlier.name.startswith("person_keypoints"):
            raise ValueError(
                f"{path.parent}: expected one file of annotations for each split, "
                f"found {earlier.name} and {path.name}; take one out"
            )
        found[split_in(path.stem)] = path
    return found


def _images_of(path: Path, folder: Path) -> Path:
    """Find the folder of the pictures that belong to a JSON file."""
    name = split_in(path.stem)
    inside = [folder / "images", folder]
    places = [
        place / n
        for place in inside
        for n in (path.stem.removeprefix("instances_"), name, "default")
        if n
    ]
    places += [*inside, path.parent, *subfolders(folder)]
    found = next((place for place in places if images_in(place)), None)
    # Without pictures in any of them, those below belong to it.
    return found or next((place for place in places if place.is_dir()), folder)


def _write_subsets(path: Path, folder: Path, view: Path, splitter: Splitter) -> None:
    """Write a file for each split of a file's images."""
    content: dict[str, Any] = read_json(
        path, expected="COCO annotations", remedy="export the file again"
    )
    images, annotations = (
        [row for row in content.get(key) or [] if isinstance(row, dict)]
        for key in ("images", "annotations")
    )
    names = find_images(folder, [str(row.get("file_name")) for row in images])
    splits = splitter([folder / (name or "missing") for name in names])
    for row, name in zip(images, names, strict=True):
        row["file_name"] = name or row.get("file_name")
    for split in dict.fromkeys(splits):
        own = [row for row, at in zip(images, splits, strict=True) if at == split]
        ids = {str(row.get("id")) for row in own}
        rows = [row for row in annotations if str(row.get("image_id")) in ids]
        place = view / "annotations" / f"instances_{split}.json"
        text = json.dumps({**content, "images": own, "annotations": rows})
        write_derived(place, text, path)
        link(view / "images" / split, folder)
