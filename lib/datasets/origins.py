"""Name the user's own files in place of those in a folder of links (`tidy_folders`)."""

import os
import re
from pathlib import Path

_VIEW = re.compile(r"/exports/[^/\n]+-[0-9a-f]{16}/[0-9a-f]{16}(?![0-9a-f])")
"""The end of the path of a folder of links."""


def write_derived(path: Path, text: str, origin: Path) -> None:
    """Write a file that was made from one of the user's, and note from which."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    note_origin(path, origin)


def note_origin(path: Path, origin: Path) -> None:
    """Note that a file or folder was made from one of the user's."""
    note = _note_of(path)
    if not note.is_symlink():
        note.symlink_to(origin.absolute())


def own_file(path: Path) -> Path:
    """Return the user's file for one in a folder of links; any other as it is."""
    view = _VIEW.search(path.as_posix())
    if view is None:
        return path
    for place in (path, *path.parents):
        if len(place.as_posix()) < view.end():
            break
        for link in (_note_of(place), place):
            if link.is_symlink():
                return own_file(Path(os.readlink(link)) / path.relative_to(place))
    return path


def own_files(text: str) -> str:
    """Replace all paths in a message by the user's own; see `own_file`."""
    done = 0
    while view := _VIEW.search(text, done):
        done = view.end()
        starts = [m.end() for m in re.finditer(r"^|[\s'\"(=]", text[: view.start()])]
        ends = [m.start() for m in re.finditer(r"$|[\s'\":;,)]", text[done:])]
        found = (
            (start, done + end)
            for start in starts
            for end in reversed(ends)
            if os.path.lexists(text[start : done + end])
        )
        start, end = next(found, (0, 0))
        if end:
            own = str(own_file(Path(text[start:end])))
            text = text[:start] + own + text[end:]
            done = start + len(own)
    return text


def _note_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.origin")
