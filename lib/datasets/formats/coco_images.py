"""Find the images of a file in COCO layout by their names in the file."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..records import few
from .longest_tail import longest_tail


def find_images(folder: Path, names: Sequence[str]) -> list[str | None]:
    """Return the images' names as stored in their folder; None for missing ones.

    Of a name that does not exist, or that leads out of the folder by ``..``, the
    longest end that exists is taken, see `longest_tail`. It must not be another image's
    too; an end without any folder must not even be the end of another name.
    """
    # A single listing of the folder serves all names without a folder of their own.
    there = set(os.listdir(folder)) if folder.is_dir() else set()

    def is_there(name: str) -> bool:
        return name in there or ("/" in name and (folder / name).is_file())

    found = [
        name if is_there(name) and not os.path.normpath(name).startswith("..") else None
        for name in names
    ]
    missing = [row for row, name in enumerate(found) if name is None]
    for row in missing:
        found[row] = longest_tail(folder, names[row], is_there)
    counts = Counter(found)
    ends = Counter(name.replace("\\", "/").rpartition("/")[2] for name in names)
    for row in missing:
        if max(counts[found[row]], ends[found[row] or ""]) > 1:
            found[row] = None
    return found


def expect_images(path: Path, folder: Path, names: Sequence[str]) -> list[str]:
    """Return the images' names as stored in their folder.

    Raises:
        ValueError: some images are missing.
    """
    found = find_images(folder, names)
    missing = [name for name, place in zip(names, found, strict=True) if place is None]
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} of {len(names)} images are not in {folder}: "
            f"{few(missing)}; unpack the images there"
        )
    return [name for name in found if name is not None]
