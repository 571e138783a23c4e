"""The folder of downloaded published files: FRCNN_HOME."""

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
    """Return the cache: the environment's FRCNN_HOME, or ``~/.cache/faster_rcnn``."""
    return Path(os.environ.get("FRCNN_HOME") or "~/.cache/faster_rcnn").expanduser()


def place_of(entry: Entry) -> Path:
    """Return the path of an entry's file in the cache."""
    return home() / entry.file


def find(entry: Entry) -> Path | None:
    """Find an entry's file if it exists and, as far as its hash is known, is undamaged.

    torch.hub's cache is searched too, where other programs may have put torchvision's.
    """
    places = [place_of(entry)]
    if entry.name.startswith("torchvision/"):
        places.append(Path(torch.hub.get_dir()) / "checkpoints" / entry.file)
    return next((path for path in places if _is_sound(entry, path)), None)


def _is_sound(entry: Entry, path: Path) -> bool:
    return path.is_file() and not mismatch(path, md5=entry.md5, sha256=entry.sha256)


def to_come(entry: Entry) -> int:
    """Return the bytes that are still to be downloaded; 0 if unknown."""
    return max(entry.size - received(part_of(place_of(entry))), 0)


def fetch(name: str) -> Path:
    """Return a published file, downloaded once and verified each time.

    Interrupted downloads resume.

    Args:
        name: name from the table, such as ``torchvision/resnet50``; the part after the
            slash is enough.

    Raises:
        CheckpointError: the name is unknown, or the file is missing and could not be
            downloaded; the message says which file to put where.
    """
    return fetch_entry(find_entry(name))


def fetch_entry(entry: Entry) -> Path:
    """Return the file of an entry, as `fetch` does for a name."""
    found = find(entry)
    if found is not None:
        return found
    target = place_of(entry)
    if entry.url is None:
        raise CheckpointError(
            f"{target}, {entry.name}, is missing, and {entry.page} lets no program "
            "download it. Download it in a browser and put it there under that name"
        )
    try:
        with alone(target.parent):
            # Checked again: another process may have downloaded it in the meantime.
            if not _is_sound(entry, target):
                download(entry.url, target, sha256=entry.sha256, md5=entry.md5)
    except (DownloadError, OSError) as error:
        what = f"the ImageNet weights {entry.name} of {entry.net}"
        if entry.kind == "detector":
            what = f"the detector {entry.name}"
        damaged = " is damaged and" if target.exists() else ""
        raise CheckpointError(
            f"{target}, {what},{damaged} could not be fetched: {error}. Put "
            f"{entry.url} there by hand, or name another file (--weights FILE, "
            "--checkpoint FILE); new training also works with --weights none"
        ) from error
    return target


def looks_like_a_name(word: str) -> bool:
    """Return whether a word that is not a file may be a name from the table."""
    return re.fullmatch(r"[\w.-]+(/[\w.-]+)?", word) is not None and not re.search(
        r"\.(pth|pt|pkl|ckpt|tar|safetensors)$", word
    )


def locate(word: str | Path) -> Path:
    """Return the file that a word stands for: a path, or a name from the table.

    Raises:
        CheckpointError: it is neither; or see `fetch`.
    """
    path = Path(word).expanduser()
    if path.is_file():
        return path
    if path.exists() or not looks_like_a_name(str(word)):
        fault = "is not a file" if path.exists() else "does not exist"
        raise CheckpointError(
            f"{path} {fault}; give a .pth or .safetensors file, or a name from "
            "docs/zoo.md"
        )
    return fetch(str(word))
