"""Folders of links through which the exports of other tools are read.

An export of LabelImg, Roboflow, CVAT and so on is recognised; a folder in one of the
three layouts is written for it, of links to the user's files, and used from then on. So
one reader of each layout serves all of them. Images without a split of their own are
split, and the file split.json keeps the choice.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..utils.files import write_atomic
from ..utils.untrusted.json_files import read_json
from .exports.coco_exports import find_coco_exports
from .exports.export import Export
from .exports.label_files import find_label_files
from .exports.labelme_folders import find_labelme_folders
from .exports.object_tables import find_tables
from .exports.xml_folders import find_xml_folders
from .index.index_files import cache_folders
from .origins import note_origin, own_file
from .splitting import DEFAULT_SHARES, SPLITS, split_images

FINDERS = (
    find_coco_exports,
    find_labelme_folders,
    find_label_files,
    find_xml_folders,
    find_tables,
)
"""Functions that recognise exports, asked in this order."""

_VERSION = 2
"""Changes with what is written."""

logger = logging.getLogger(__name__)


def tidy_folder(folder: Path, *, shares: Sequence[float] | None = None) -> Path | None:
    """Return the folder of links to read an export through; None if it is not one.

    Args:
        shares: shares of training, validation and test images for an export without
            splits; if None, those of an earlier call, by default 80, 20 and 0 %.

    Raises:
        ValueError: no folder can be written, a file of the export is malformed, or
            shares are given for an export with splits.
    """
    found = next(filter(None, (find(folder) for find in FINDERS)), None)
    if found is None:
        return None
    if shares is not None and found.is_split:
        raise ValueError(
            f"{folder} ({found.name}): expected images without a split for data.split, "
            "found splits; leave out data.split, or merge them first"
        )
    name = f"{folder.resolve().name}-{short_hash(str(folder.resolve()))}"
    return _write(folder, found, cache_home(folder, name), shares)


def cache_home(folder: Path, name: str) -> Path:
    """Make a folder in the cache for what is derived from an export.

    Raises:
        ValueError: no such folder can be written.
    """
    for place in cache_folders(folder):
        home = place / "exports" / name
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            logger.debug("no links in %s: %s", place, error)
            continue
        return home
    raise ValueError(
        f"{folder}: expected a folder for links to the files of this export, can write "
        "neither into it nor into the cache; set FRCNN_INDEX to a folder"
    )


class _Record(NamedTuple):
    shares: tuple[float, ...]
    splits: dict[str, str]


def _write(
    folder: Path, export: Export, home: Path, shares: Sequence[float] | None
) -> Path:
    """Write the links into a folder named after the files' state, unless it exists."""
    record = home / "split.json"
    kept = _read_record(record)
    if shares is not None and tuple(shares) != kept.shares:
        kept = _Record(tuple(shares), {})
    state = [(str(p), _stamp(p)) for p in export.files]
    view = home / short_hash(json.dumps([_VERSION, kept.shares, state]))
    if view.is_dir():
        return view

    def splitter(images: Sequence[Path]) -> list[str]:
        names = [os.path.relpath(path, folder) for path in images]
        try:
            splits = split_images(
                images, names, shares=kept.shares, earlier=kept.splits
            )
        except ValueError as error:
            raise ValueError(f"{folder} ({export.name}): {error}") from error
        content = {"shares": kept.shares, "splits": splits}
        write_atomic(record, json.dumps(content, indent=1))
        counts = [list(splits.values()).count(split) for split in SPLITS]
        logger.warning(
            "%s has no split: %d images are for training, %d for validation and %d for "
            "testing, those that look the same together; %s keeps the choice, and "
            "data.split sets other shares",
            own_file(folder),
            *counts,
            record,
        )
        return [splits[name] for name in names]

    temporary = Path(tempfile.mkdtemp(dir=home))
    try:
        export.write(temporary, splitter)
        temporary.chmod(0o755)
        # Earlier folders stay: a run that began before a change may read them.
        try:
            temporary.rename(view)
            note_origin(view, folder)
        except OSError:
            if not view.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    text = "%s: %s, read through the links in %s"
    logger.info(text, own_file(folder), export.name, view)
    return view


def _read_record(record: Path) -> _Record:
    if not record.exists():
        return _Record(DEFAULT_SHARES, {})
    remedy = "remove it for a new split"
    content = read_json(record, expected="the splits of images", remedy=remedy)
    try:
        return _Record(tuple(content["shares"]), dict(content["splits"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{record}: expected shares and splits, found others; {remedy}"
        ) from error


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def short_hash(text: str) -> str:
    """Return 16 hexadecimal digits that differ for different texts."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
