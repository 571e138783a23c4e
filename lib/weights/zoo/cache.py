"""The folder in which published files lie once they have come: FRCNN_HOME."""

import os
import re
from pathlib import Path

import torch

from ...utils.download.receive import received
from ...utils.download.transfer import DownloadError, mismatch, part_of
from ...utils.download.transfer import fetch as download
from ...utils.locks import alone
from ..checkpoint import CheckpointError
from .entry import Entry
from .table import find_entry


def home() -> Path:
    """The cache: the environment's FRCNN_HOME, or ``~/.cache/faster_rcnn``."""
    return Path(os.environ.get("FRCNN_HOME") or "~/.cache/faster_rcnn").expanduser()


def place_of(entry: Entry) -> Path:
    """Where an entry's file goes."""
    return home() / entry.file


def find(entry: Entry) -> Path | None:
    """An entry's file, if it is there and undamaged.

    torch.hub's cache counts too, where other programs may have put torchvision's.
    """
    places = [place_of(entry)]
    if entry.name.startswith("torchvision/"):
        places.append(Path(torch.hub.get_dir()) / "checkpoints" / entry.file)
    return next((path for path in places if fault_of(entry, path) is None), None)


def fault_of(entry: Entry, path: Path) -> str | None:
    """How a file differs from the published one, as far as that is known.

    A file of no known hash passes if it is there.
    """
    if not path.is_file():
        return "it is not there"
    return mismatch(path, md5=entry.md5, sha256=entry.sha256)


def to_come(entry: Entry) -> int:
    """Bytes that an earlier call has not fetched already; 0 if unknown."""
    return max(entry.size - received(part_of(place_of(entry))), 0)


def fetch(name: str) -> Path:
    """A published file, downloaded once and checked each time.

    What was interrupted goes on where it stopped.

    Args:
        name: of the table, such as ``torchvision/resnet50``; what stands after the
            slash suffices.

    Raises:
        CheckpointError: unknown name, or the file is not there and could not be
            fetched; the message says which file to put where.
    """
    return fetch_entry(find_entry(name))


def fetch_entry(entry: Entry) -> Path:
    """The same, of an entry.

    Raises:
        CheckpointError: as for `fetch`.
    """
    found = find(entry)
    if found is not None:
        return found
    target = place_of(entry)
    if entry.url is None:
        raise CheckpointError(
            f"{target}, {entry.name}, is not there and has no address that a program "
            f"could fetch it from. Get it from {entry.page} in a browser and put it "
            "there under that name"
        )
    try:
        with alone(target.parent):
            # Asked again: another process may have fetched it in the meantime.
            if fault_of(entry, target) is not None:
                download(entry.url, target, sha256=entry.sha256, md5=entry.md5)
    except (DownloadError, OSError) as error:
        damaged = " is damaged and" if target.exists() else ""
        raise CheckpointError(
            f"{target}, {_of(entry)},{damaged} could not be fetched: {error}. Put "
            f"{entry.url} there by hand, or name a file in its place (--weights FILE, "
            "--checkpoint FILE); new training can also do with --weights none"
        ) from error
    return target


def _of(entry: Entry) -> str:
    if entry.kind == "detector":
        return f"the detector {entry.name}"
    return f"the ImageNet weights {entry.name} of {entry.net}"


def looks_like_a_name(word: str) -> bool:
    """Return whether a word that is not a file may be a name from the table."""
    return re.fullmatch(r"[\w.-]+(/[\w.-]+)?", word) is not None and not re.search(
        r"\.(pth|pt|pkl|ckpt|tar|safetensors)$", word
    )


def locate(word: str | Path) -> Path:
    """The file that a word stands for: a path, or a name of the table.

    Raises:
        CheckpointError: neither; or as for `fetch`.
    """
    path = Path(word).expanduser()
    if path.is_file():
        return path
    if path.exists() or not looks_like_a_name(str(word)):
        raise CheckpointError(
            f"{path} is not there, or no file; give the path of a .pth or "
            ".safetensors file, or a name of docs/zoo.md"
        )
    return fetch(str(word))
