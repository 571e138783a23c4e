"""Find the images of a file in COCO layout by their names in the file."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..records import few


def find_images(folder: Path, names: Sequence[str]) -> list[str | None]:
    """Return the images' names as stored in their folder; None for missing ones.

    A name that does not exist is tried with slashes for backslashes, as Windows writes
    them; then without the folder's own name, as if it started one folder above; then
    without any folders, which exporters add from where the images were. The last is
    only tried if no other name has the same ending.

    Args:
        folder: folder of the images.
        names: names as in the file.
    """
    # A single listing of the folder serves all names without a folder of their own.
    there = set(os.listdir(folder)) if folder.is_dir() else set()

    def is_there(name: str) -> bool:
        return name in there or ("/" in name and (folder / name).is_file())

    found = [name if is_there(name) else None for name in names]
    if None not in found:
        return found
    slashed = [name.replace("\\", "/") for name in names]
    bases = [name.rpartition("/")[2] for name in slashed]
    ends = Counter(bases)
    for row, place in enumerate(found):
        if place is None:
            choices = [slashed[row], slashed[row].removeprefix(f"{folder.name}/")]
            choices += [bases[row]] if ends[bases[row]] == 1 else []
            found[row] = next(filter(is_there, choices), None)
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
