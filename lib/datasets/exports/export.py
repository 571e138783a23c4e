"""What all recognised exports have in common.

An export is read through a folder of links in one of the three layouts (VOC, COCO,
YOLO), which is written once: see `tidy_folders`. Its finder recognises it and says how
to write that folder.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..loading.images import IMAGE_SUFFIXES

Splitter = Callable[[Sequence[Path]], list[str]]
"""Function that assigns each of some images to train, val or test."""

_FILES = 200
"""Number of files of a pattern that are examined."""
_BYTES = 1 << 16


class Export(NamedTuple):
    """A folder whose export was recognised."""

    name: str  # the tool and its format, for the log
    # files of annotations and images; if one of them changes, the links are written
    # again
    files: Sequence[Path]
    is_split: bool  # whether the export has splits of its own
    # writes a folder of links in one of the layouts; splits the images by the given
    # function if the export has no splits of its own
    write: Callable[[Path, Splitter], None]


_T = TypeVar("_T")


def chosen_splits(
    sets: Mapping[str, Sequence[_T]], splitter: Splitter, images: Sequence[Path]
) -> dict[str, list[_T]]:
    """Return the items of each split; split them if there is only one set."""
    if len(sets) > 1:
        return {split: list(items) for split, items in sets.items()}
    (items,) = sets.values()
    chosen: dict[str, list[_T]] = {}
    for item, split in zip(items, splitter(images), strict=True):
        chosen.setdefault(split, []).append(item)
    return chosen


def visible(paths: Iterable[Path]) -> list[Path]:
    """Sort paths, and leave out hidden ones such as macOS's ._x.xml beside x.xml."""
    return sorted(path for path in paths if path.name[0] != ".")


def images_in(folder: Path) -> dict[str, Path]:
    """Return the image files of a folder by their names."""
    files = visible(folder.iterdir()) if folder.is_dir() else []
    return {f.name: f for f in files if f.suffix.lower() in IMAGE_SUFFIXES}


def files_with(
    folders: Iterable[Path], pattern: str, *inside: str, limit: int | None = _FILES
) -> Iterator[Path]:
    """Yield files whose first bytes contain one of some texts.

    Args:
        folders: folders to search, without their subfolders.
        inside: the texts; "" for any file.
        limit: files of a folder that are examined; if None, all.
    """
    for folder in folders:
        for path in itertools.islice(visible(folder.glob(pattern)), limit):
            start = _start_of(path) if any(inside) else ""
            if any(text in start for text in inside):
                yield path


def _start_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones."""
    return [path for path in visible(folder.iterdir()) if path.is_dir()]


def link(path: Path, target: Path) -> None:
    """Make ``path`` a link to a file or folder, and make its parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target.resolve())
