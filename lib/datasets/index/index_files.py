"""Storage of indices, and the check that an index is still valid.

An index is named after a hash of the format, of the reader's arguments, and of the
annotations' bytes. Any change gives another name, so an index is never out of date. An
index whose bytes are damaged fails its checksum when it is opened, and is built again.
It is stored in `.cache` beside the annotations or, if that cannot be written, in the
user's cache folder; if neither can be written, it stays in memory.

The environment variable ``FRCNN_INDEX`` names another folder; with ``0`` annotations
are parsed every time.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ...utils.files import atomic_path, remove_stale, write_atomic
from ..loading.images import image_size
from .index_format import MAGIC, Index, open_index, read_index

VARIABLE = "FRCNN_INDEX"

_UNUSED_SECONDS = 14 * 24 * 3600.0
_QUIET_NANOSECONDS = 3 * 10**9
_BLOCK = 1 << 20

Pack = Callable[[str, BinaryIO, Path | None], None]
"""Function that writes the index of the annotations with a hash ("" for any) to a file,
given a folder for temporary files."""

logger = logging.getLogger(__name__)


def index_folders(annotations: Path) -> list[Path]:
    """Return the folders for indices of this folder's annotations, preferred first."""
    if os.environ.get(VARIABLE, "") == "0":
        return []
    return cache_folders(annotations)


def cache_folders(folder: Path) -> list[Path]:
    """Return the folders for what is derived from a folder's files, preferred first."""
    choice = os.environ.get(VARIABLE, "0")
    if choice not in ("", "0"):
        return [Path(choice).expanduser()]
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return [folder / ".cache", Path(cache) / "faster_rcnn"]


def settings_key(*settings: object) -> str:
    """Return a hash of the reader's arguments, and of the format."""
    text = json.dumps([MAGIC.decode(), *map(str, settings)])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def load_index(
    folders: Sequence[Path],
    name: str,
    settings: str,
    content: Callable[[], str],
    pack: Pack,
    *,
    check: Callable[[Index], bool],
) -> Index:
    """Open the index of some annotations, or build it in the first writable folder.

    Args:
        folders: see `index_folders`.
        name: readable name, put before the hash in the file's name.
        settings: see `settings_key`.
        content: returns the hash of the annotations; not called without folders, so
            that the annotations are read only once.
        check: checks an existing index; if it returns False, the index is built again.

    Raises:
        ValueError: raised by `content`, `pack` or `check`.
    """
    found = content() if folders else ""
    key = hashlib.sha256(f"{settings}{found}".encode()).hexdigest()[:32]
    paths = [folder / f"{name}-{key}.index" for folder in folders]
    for path in paths:
        try:
            index = open_index(path)
        except OSError:
            continue
        except ValueError as error:
            logger.warning("%s; the annotations are parsed again", error)
            continue
        if check(index):
            with contextlib.suppress(OSError):
                os.utime(path)  # mark it as used: see _tidy
            return index
    for path in paths:
        try:
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                pack(found, file, path.parent)
        except OSError as error:
            logger.debug("no index in %s: %s", path.parent, error)
            continue
        _tidy(path, name)
        return open_index(path)
    buffer = io.BytesIO()
    pack(found, buffer, None)
    return read_index(buffer.getvalue(), None)


def _tidy(current: Path, name: str) -> None:
    """Remove the files of killed processes, and long unused indices of that name."""
    with contextlib.suppress(OSError):
        remove_stale(current.parent)
        for path in current.parent.glob("*.index"):
            old = time.time() - path.stat().st_mtime > _UNUSED_SECONDS
            if old and path != current and path.name.startswith(f"{name}-"):
                path.unlink()


def same_sizes(index: Index, folder: Path) -> bool:
    """Return whether the image headers that sizes were read from give the same sizes.

    Raises:
        ImageError: a header cannot be read.
    """
    sizes = index.columns["sizes"]
    return all(
        image_size(folder / index.string("name", row)) == tuple(sizes[row].tolist())
        for row in index.columns["measured"].tolist()
    )


def file_pieces(path: Path) -> Iterable[bytes]:
    """Yield the bytes of a file in blocks."""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


@dataclass
class Notes:
    """Answers about large files, valid as long as the file system shows no change.

    A file or folder with the same inode, size and times of change is unchanged, if its
    last change was some seconds before the answer was noted: a change within the same
    tick of the clock does not show. (Setting back a file's modification time has no
    effect, because the inode's change time cannot be set.) Other files are read again.
    """

    paths: Sequence[Path]  # where the notes may be stored
    # for each question and path, the state of the file then and the answer
    known: dict[str, Any] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def read(cls, folders: Sequence[Path], name: str, settings: str) -> "Notes":
        """Read the notes that are stored beside the indices."""
        paths = [folder / f"{name}-{settings[:32]}.json" for folder in folders]
        for path in paths:
            with contextlib.suppress(OSError, ValueError):
                checksum, _, text = path.read_bytes().partition(b"\n")
                known = json.loads(text)
                if isinstance(known, dict) and checksum == _checksum(text):
                    return cls(paths, known)
        return cls(paths)

    def recall(self, path: Path, what: str, find: Callable[[], Any]) -> Any:
        """Return the noted answer of `find` for an unchanged file, else call `find`.

        Raises:
            OSError: the file does not exist.
        """
        state = _state(path)
        key = f"{what}: {path}"
        known = self.known.get(key)
        if isinstance(known, list) and known[:-1] == state:
            return known[-1]
        found = find()
        if state == _state(path) and time.time_ns() - state[-1] > _QUIET_NANOSECONDS:
            self.known[key] = [*state, found]
            self.changed = True
        return found

    def write(self) -> None:
        """Store new notes, if a folder is writable."""
        for path in self.paths if self.changed else ():
            with contextlib.suppress(OSError):
                text = json.dumps(self.known).encode()
                write_atomic(path, _checksum(text) + b"\n" + text)
                return


def _checksum(text: bytes) -> bytes:
    return f"{zlib.crc32(text):08x}".encode()


def _state(path: Path) -> list[int]:
    found = path.stat()
    times = [found.st_mtime_ns, found.st_ctime_ns]
    return [found.st_dev, found.st_ino, found.st_size, *times]
