"""A file given as DATASET: settings of YOLO, COCO's JSON, or a zip of an export.

Each becomes a folder that the readers recognise: the one that the file belongs to, or
one in the cache with what the file names.
"""

import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import yaml

from ..utils.download.disk import amount, free_space
from ..utils.download.unpack import extract
from ..utils.files import write_atomic
from ..utils.untrusted.json_files import read_json
from .exports.coco_exports import find_coco_exports
from .formats.coco_images import find_images
from .formats.yolo_folder import settings_files
from .formats.yolo_settings import read_settings
from .origins import note_origin
from .splitting import split_in
from .tidy_folders import cache_home, short_hash

_SHARE_OF_DISK = 0.9
_GROWTH = 200
"""Largest plausible size of an unpacked archive in sizes of the archive; text that
repeats itself shrinks to a hundredth."""
_PLAIN_NAMES = ("data", "dataset", "instances", "instances_default", "result")
"""Names of files that say nothing about what is in them."""
_LOOKED_UP = 50
"""Number of pictures that are searched for to find their folder."""

logger = logging.getLogger(__name__)


def as_folders(word: str) -> str:
    """Return DATASET with a folder's path in place of each file's.

    Raises:
        ValueError: a file is malformed, or nothing that DATASET may be.
    """
    path = Path(word).expanduser()
    if "+" in word and not path.exists():
        return "+".join(as_folders(part) for part in word.split("+"))
    if not path.is_file():
        return word
    openers: dict[str, Callable[[Path], Path]] = {
        ".yaml": _open_settings,
        ".yml": _open_settings,
        ".json": _open_coco,
        ".zip": _open_zip,
    }
    if path.suffix.lower() not in openers:
        raise ValueError(
            f"data set {word!r}: expected a folder, settings of YOLO (.yaml), COCO's "
            f"annotations (.json) or a zip of these, found another file; name the "
            "folder that holds it"
        )
    return str(openers[path.suffix.lower()](path))


def _open_settings(path: Path) -> Path:
    """Return the folder of the settings, or one that names the place they mean."""
    content = read_settings(path)
    if not {"names", "train"} <= content.keys():
        raise ValueError(
            f"{path}: expected settings of YOLO with names and train, found "
            f"{', '.join(map(str, content)) or 'nothing'}; name the folder of the data"
        )
    folder = path.parent
    named = str(content.get("path") or ".")
    places = [folder / named, folder / ".." / "datasets" / named, Path(named)]
    root = next((place for place in places if place.is_dir()), folder)
    if root == folder and settings_files(folder) == [path]:
        return folder
    home = _home(path)
    content["path"] = os.path.abspath(root)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_atomic(home / "data.yaml", text)
    note_origin(home / "data.yaml", path)
    return home


def _open_coco(path: Path) -> Path:
    """Return the folder whose split the file is, or one with the file's pictures."""
    for folder in (path.parent, path.parent.parent):
        export = find_coco_exports(folder)
        if export is not None and export.is_split and path in export.files:
            logger.info("%s is a split of %s, which is used", path, folder)
            return folder
    content = read_json(path, expected="COCO annotations", remedy="export it again")
    rows = content.get("images") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise ValueError(
            f"{path}: expected a list of objects under the key 'images', found none; "
            "give an instances file in COCO layout"
        )
    names = [str(r.get("file_name")) for r in rows[:_LOOKED_UP] if isinstance(r, dict)]
    stem = path.stem.removeprefix("instances_")
    above = (path.parent, path.parent.parent)
    places = [p / n for p in above for n in ("images", stem, f"images/{stem}", "")]
    places += [p for p in path.parent.iterdir() if p.is_dir()]
    counts = [sum(map(bool, find_images(place, names))) for place in places]
    if not any(counts):
        raise ValueError(
            f"{path}: expected its images, such as {', '.join(names[:1]) or 'none'}, "
            f"beside it or in {path.parent / 'images'}, found none; put them there"
        )
    home = _home(path)
    images = places[counts.index(max(counts))]
    for name, target in (("instances.json", path), ("images", images)):
        if (home / name).resolve() != target.resolve():
            (home / name).unlink(missing_ok=True)
            (home / name).symlink_to(target.resolve())
    return home


def _open_zip(path: Path) -> Path:
    """Unpack an archive once, and return its folder."""
    found = path.stat()
    home = _home(path, json.dumps([found.st_size, found.st_mtime_ns]))
    if any(home.iterdir()):
        return home
    _expect_room(path, home)
    with tempfile.TemporaryDirectory(dir=home.parent) as temporary:
        fresh = Path(temporary) / "fresh"
        extract(path, fresh)
        top = [p for p in fresh.iterdir() if p.name[0] not in "._"]
        # Many archives hold one folder, which holds the data.
        while len(top) == 1 and top[0].is_dir() and not split_in(top[0].name):
            fresh = top[0]
            top = [p for p in fresh.iterdir() if p.name[0] not in "._"]
        if not top:
            raise ValueError(f"{path}: expected a data set, found no file; export it")
        fresh.chmod(0o755)
        home.rmdir()
        fresh.rename(home)
    logger.info("%s: unpacked into %s", path, home)
    return home


def _expect_room(path: Path, home: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise ValueError(
            f"{path}: expected a zip archive, cannot read it ({error}); download or "
            "export it again"
        ) from error
    if size > max(_GROWTH * path.stat().st_size, 1 << 20):
        raise ValueError(
            f"{path}: expected an archive of pictures, found {amount(size)} packed "
            f"into {amount(path.stat().st_size)}; unpack it yourself if you trust it"
        )
    free = free_space(home)
    if size > _SHARE_OF_DISK * free:
        raise ValueError(
            f"{path}: expected {amount(size)} of free space in {home}, found "
            f"{amount(free)}; make room, or set FRCNN_INDEX to a folder with room"
        )
    logger.info("%s: %s to unpack into %s", path, amount(size), home)


def _home(path: Path, state: str = "") -> Path:
    """Make a folder in the cache, whose name is that of the data set."""
    name = path.stem
    if name.lower() in _PLAIN_NAMES or name[0] in "._":
        name = path.resolve().parent.name
    place = cache_home(path.parent, f"{name}-{short_hash(str(path.resolve()))}")
    home = place / short_hash(state) / name
    home.mkdir(parents=True, exist_ok=True)
    note_origin(home, path)
    return home
