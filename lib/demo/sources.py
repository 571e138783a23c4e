"""Sources that a command line names for the detector, each with a result name."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
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
        kind: which of them.
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
        listed: paths and folders, such as the lines of stdin. A file that is missing
            is an item all the same: it is told at the end, with the other bad ones.
        output: folder of the results, which is left out where it lies inside one.

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
        found = _pairs(word, listed, output)
        for path, name in found:
            source = os.path.abspath(path)
            if source not in items:
                kind: Kind = "video" if _is_video(path) else "picture"
                output_name = unused_name(_result_name(kind, name), taken)
                items[source] = Item(kind, source, output_name)
    _expect_no_overwriting(items.values(), output)
    return list(items.values())


def _pairs(word: str, listed: Iterable[str], output: Path) -> list[tuple[Path, Path]]:
    """Find the files that a word names, with their paths below their common folder.

    Raises:
        ValueError: as `find_items`.
    """
    if word == "-":
        return _listed_pairs(listed, output)
    path = Path(word).expanduser()
    if path.is_dir():
        return list(_folder_pairs(path, output))
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
    raise ValueError(
        f"{word}: no such file or folder{_nearest(path)}; give pictures, videos, "
        "folders, patterns in quotes, the number of a camera, or - for a list on stdin"
    )


def _listed_pairs(listed: Iterable[str], output: Path) -> list[tuple[Path, Path]]:
    paths: list[Path] = []
    for line in listed:
        path = Path(line).expanduser()
        if path.is_dir():
            paths += [file for file, _ in _folder_pairs(path, output)]
        else:
            paths.append(path)
    if not paths:
        raise ValueError(
            "-: expected paths on stdin, one a line or ended by a zero byte, found "
            "none; try: find FOLDER -name '*.jpg' | frcnn demo CHECKPOINT -"
        )
    return _below_common(paths)


def _folder_pairs(folder: Path, output: Path) -> Iterator[tuple[Path, Path]]:
    """Pictures and videos of a folder and those below, without hidden ones."""
    inside = output != folder.resolve() and output.is_relative_to(folder.resolve())
    count = others = 0
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
                continue
            count += 1
            yield here / name, (here / name).relative_to(folder)
    if not count:
        raise ValueError(
            f"{folder}: expected pictures ({' '.join(IMAGE_SUFFIXES)}) or videos "
            f"({' '.join(VIDEO_SUFFIXES)}), found {others} other files; name another "
            "folder, or files of other endings one by one"
        )


def _below_common(paths: list[Path]) -> list[tuple[Path, Path]]:
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
        name: wanted. Its last part is cut where no ending could be added to it.
        taken: in lower case, because some file systems ignore case.
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
    if name.suffix.lower() in _WRITTEN_AS_THEY_ARE:
        return name
    return name.with_name(f"{name.name}.png")


def _expect_no_overwriting(items: Iterable[Item], output: Path) -> None:
    items = list(items)
    sources = {os.path.realpath(item.source) for item in items}
    for item in items:
        place = os.path.realpath(output / item.output)
        if place in sources:
            raise ValueError(
                f"{place} would be overwritten by a result; give --output a folder "
                "without the sources"
            )


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _is_known(path: Path) -> bool:
    return path.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)


def _nearest(path: Path) -> str:
    try:
        return did_you_mean(path.name, os.listdir(path.parent))
    except OSError:
        return f" (there is no folder {path.parent})"
