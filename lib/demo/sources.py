"""Sources that a command line names for the detector, each with a result name."""

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Literal, NamedTuple

from ..datasets.loading.images import IMAGE_SUFFIXES
from ..datasets.records import did_you_mean
from ..utils.files import shorten_name

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
_NAME_BYTES = 255 - len(".partial") - len(".jsonl")
"""Longest name of a result, to which one or both of these may be added."""
_WRITTEN_AS_THEY_ARE = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

Kind = Literal["picture", "video", "camera"]


class Item(NamedTuple):
    """An image, video or camera.

    Attributes:
        source: the file's absolute path, or the camera's number as text.
        output: relative path of the picture or video to write, no two alike.
    """

    kind: Kind
    source: str
    output: str


def read_list(stream: IO[bytes]) -> list[str]:
    """Parse a list of paths, separated by zero bytes if any, else by lines."""
    data = stream.read()
    parts = data.split(b"\0") if b"\0" in data else data.splitlines()
    return [os.fsdecode(part) for part in parts if part.strip()]


def find_items(
    words: Sequence[str], *, listed: Iterable[str] = (), output: Path
) -> list[Item]:
    """Find the files that a command line names, each once, in the order given.

    Args:
        words: files, folders (searched with all below them), globs (``**`` for any
            folders), a camera's number, or ``-`` for the paths of ``listed``.
        listed: paths and folders, such as the lines of stdin. A missing file is an item
            too, and is reported at the end with other bad files.
        output: folder of the results, which is not searched.

    Raises:
        ValueError: there is no such file, nothing in a folder, no match of a glob, or
            a result would overwrite its source.
    """
    items: dict[str, Item] = {}
    taken: set[str] = set()
    output = output.resolve()
    for word in words:
        if word.isdecimal() and not Path(word).exists():
            number = str(int(word))
            items[number] = Item("camera", number, f"camera-{number}.mp4")
            continue
        for path, name in _pairs(word, listed, output):
            source = os.path.abspath(path)
            if source not in items:
                kind: Kind = "video" if _suffix(path) in VIDEO_SUFFIXES else "picture"
                name = _result_name(kind, name)
                items[source] = Item(kind, source, unused_name(name, taken))
    sources = {os.path.realpath(item.source) for item in items.values()}
    for item in items.values():
        place = os.path.realpath(output / item.output)
        if place in sources:
            raise ValueError(
                f"{place} would be overwritten by a result; give --output a folder "
                "without the sources"
            )
    return list(items.values())


def _pairs(word: str, listed: Iterable[str], output: Path) -> list[tuple[Path, Path]]:
    """Find the files that a word names, and their paths below their common folder."""
    path = Path(word).expanduser()
    if word == "-":
        paths: list[Path] = []
        for path in (Path(line).expanduser() for line in listed):
            paths += _in_folder(path, output) if path.is_dir() else [path]
        if not paths:
            raise ValueError(
                "-: expected paths on stdin, separated by newlines or zero bytes; "
                "found none; try: find FOLDER -name '*.jpg' | frcnn demo CHECKPOINT -"
            )
        return _below_common(paths)
    if path.is_dir():
        return [(file, file.relative_to(path)) for file in _in_folder(path, output)]
    if path.exists():
        return [(path, Path(path.name))]
    if glob.has_magic(word):
        matches = [Path(match) for match in glob.glob(str(path), recursive=True)]
        files = [match for match in matches if match.is_file() and _is_known(match)]
        if not files:
            raise ValueError(
                f"{word}: expected a pattern of pictures or videos, found "
                f"{len(matches)} files and folders that match, none of them such; put "
                "it in quotes, use ** for folders below, or name the folder"
            )
        return _below_common(sorted(files))
    try:
        hint = did_you_mean(path.name, os.listdir(path.parent))
    except OSError:
        hint = f" (there is no folder {path.parent})"
    raise ValueError(
        f"{word}: no such file or folder{hint}; give pictures, videos, "
        "folders, patterns in quotes, the number of a camera, or - for a list on stdin"
    )


def _in_folder(folder: Path, output: Path) -> list[Path]:
    """Find pictures and videos in a folder and its sub-folders, except hidden ones."""
    inside = output != folder.resolve() and output.is_relative_to(folder.resolve())
    files, others = [], 0
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and not (inside and (here / name).resolve() == output)
        )
        for name in sorted(names):
            if name.startswith(".") or not _is_known(here / name):
                others += 1
            else:
                files.append(here / name)
    if not files:
        found = f"{others} other files" if others else "no files"
        raise ValueError(
            f"{folder}: expected pictures ({' '.join(IMAGE_SUFFIXES)}) or videos "
            f"({' '.join(VIDEO_SUFFIXES)}), found {found}; name another "
            "folder, or files of other endings one by one"
        )
    return files


def _below_common(paths: list[Path]) -> list[tuple[Path, Path]]:
    """Return files with their paths below their common folder."""
    absolute = [os.path.abspath(path) for path in paths]
    try:
        common = os.path.commonpath([os.path.dirname(path) for path in absolute])
    except ValueError:  # several drives of Windows
        return [(path, Path(path.name)) for path in paths]
    return [
        (path, Path(os.path.relpath(whole, common)))
        for path, whole in zip(paths, absolute, strict=True)
    ]


def unused_name(name: Path, taken: set[str]) -> str:
    """Return a path like ``name`` that is not in ``taken``, and add it.

    Args:
        name: the preferred name; shortened if no suffix could be added.
        taken: names in lower case, because some file systems ignore case.
    """
    found, number = _marked(name, ""), 1
    while found.as_posix().lower() in taken:
        number += 1
        found = _marked(name, f"-{number}")
    taken.add(found.as_posix().lower())
    return found.as_posix()


def _marked(name: Path, mark: str) -> Path:
    """Add a mark after the stem, which is shortened if the name gets too long."""
    end = mark + name.suffix
    return name.with_name(shorten_name(name.stem, _NAME_BYTES - len(end)) + end)


def _result_name(kind: Kind, name: Path) -> Path:
    if kind == "video":
        return name.with_suffix(".mp4")
    if _suffix(name) in _WRITTEN_AS_THEY_ARE:
        return name
    return name.with_name(f"{name.name}.png")


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _is_known(path: Path) -> bool:
    return _suffix(path) in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
