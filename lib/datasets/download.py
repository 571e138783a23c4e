"""The public data sets' archives, and how they get to where the catalog looks.

An archive is fetched into <root>/downloads, checked, unpacked inside its place and then
moved there. One put into <root>/downloads by hand is checked and used; it stays.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .catalog import coco_folder, devkit_folder
from .transfer import DownloadError, extract, fetch, mismatch

__all__ = [
    "ARCHIVES",
    "Archive",
    "DownloadError",
    "ensure_downloaded",
    "extract",
    "fetch",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Archive:
    """One file to fetch and unpack.

    Attributes:
        urls: the official address first, then mirrors of the same bytes.
        size: bytes.
        md5: hexadecimal.
        layout: whose folder it is unpacked into.
        inner: the folder in the archive whose content goes there, "" for all.
        marker: a path below that folder. It is put there last, so that where it is,
            everything is.
    """

    urls: tuple[str, ...]
    size: int
    md5: str
    layout: Literal["voc", "coco"]
    inner: str
    marker: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.urls[0].rsplit("/", 1)[-1]

    def home(self, root: Path) -> Path:
        """Give the folder that its content belongs into."""
        return devkit_folder(root) if self.layout == "voc" else coco_folder(root)


def _voc(year: str, split: str, name: str, size: int, md5: str) -> Archive:
    return Archive(
        urls=(
            f"http://host.robots.ox.ac.uk/pascal/VOC/voc{year}/{name}",
            f"https://thor.robots.ox.ac.uk/pascal/VOC/voc{year}/{name}",
            f"https://data.pjreddie.com/files/{name}",
        ),
        size=size,
        md5=md5,
        layout="voc",
        inner="VOCdevkit",
        marker=f"VOC{year}/ImageSets/Main/{split}.txt",
    )


def _coco(path: str, marker: str, size: int, md5: str) -> Archive:
    return Archive(
        urls=(
            f"http://images.cocodataset.org/{path}",
            f"https://s3.amazonaws.com/images.cocodataset.org/{path}",
        ),
        size=size,
        md5=md5,
        layout="coco",
        inner="",
        marker=marker,
    )


_VOC_2007 = (
    _voc(
        "2007",
        "trainval",
        "VOCtrainval_06-Nov-2007.tar",
        460032000,
        "c52e279531787c972589f7e41ab4ae64",
    ),
    _voc(
        "2007",
        "test",
        "VOCtest_06-Nov-2007.tar",
        451020800,
        "b6e924de25625d8de591ea690078ad9f",
    ),
)
_VOC_2012 = _voc(
    "2012",
    "trainval",
    "VOCtrainval_11-May-2012.tar",
    1999639040,
    "6cd6e144f989b92b3379bac3b3de84fd",
)
_COCO_2017 = (
    _coco(
        "annotations/annotations_trainval2017.zip",
        "annotations/instances_train2017.json",
        252907541,
        "f4bbac642086de4f52a3fdda2de5fa2c",
    ),
    _coco(
        "zips/val2017.zip",
        "val2017",
        815585330,
        "442b8da7639aecaf257c1dceb8ba8c80",
    ),
    _coco(
        "zips/train2017.zip",
        "train2017",
        19336861798,
        "cced6f7f71b7629ddf16f17bbcfab6b2",
    ),
)

ARCHIVES: Mapping[str, Sequence[Archive]] = {
    "voc": _VOC_2007,
    "voc0712": (*_VOC_2007, _VOC_2012),
    "coco": _COCO_2017,
}
"""What each word of the command line needs."""


def ensure_downloaded(
    word: str,
    root: Path,
    *,
    archives: Mapping[str, Sequence[Archive]] = ARCHIVES,
    pause: float = 1.0,
) -> None:
    """Fetch, check and unpack what is missing of a data set.

    Nothing is done for a word without archives (shapes, a path) or when all is there.

    Args:
        word: as on the command line.
        root: the data root, as for `load_dataset`.
        archives: what each word needs.
        pause: as for `fetch`.

    Raises:
        DownloadError: something could not be had. The message says for each missing
            archive what to fetch by hand, from where, and where to put it.
    """
    missing = [a for a in archives.get(word, ()) if not _is_there(a, root)]
    if not missing:
        return
    _check_space(word, root, missing)
    for done, archive in enumerate(missing):
        try:
            _install(archive, root, pause)
        except (OSError, ValueError) as error:
            raise DownloadError(
                _by_hand(word, root, missing[done:], str(error))
            ) from error


def _is_there(archive: Archive, root: Path) -> bool:
    return (archive.home(root) / archive.marker).exists()


def _check_space(word: str, root: Path, missing: Sequence[Archive]) -> None:
    """Raise early rather than fill the disk: each archive is once packed, once not."""
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    fetched = root / "downloads"
    # Photos do not compress, so what is unpacked is as large as its archive.
    needed = sum(a.size * (1 if (fetched / a.name).exists() else 2) for a in missing)
    if needed > free:
        raise DownloadError(
            f"{word}: expected {needed / 1e9:.1f} GB of free space for {root}, found "
            f"{free / 1e9:.1f} GB; make room or give a data root on another disk"
        )


def _install(archive: Archive, root: Path, pause: float) -> None:
    """Bring one archive's content to its place."""
    file = root / "downloads" / archive.name
    by_hand = file.exists()
    if by_hand:
        fault = mismatch(file, size=archive.size, md5=archive.md5)
        if fault is not None:
            raise DownloadError(f"{file}: {fault}; delete it or fetch it again")
    else:
        url, *mirrors = archive.urls
        fetch(
            url,
            file,
            mirrors=mirrors,
            size=archive.size,
            md5=archive.md5,
            pause=pause,
        )
    home = archive.home(root)
    # Inside its place, which may be a link to another disk.
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".unpacking-") as temporary:
        fresh = Path(temporary) / "fresh"
        extract(file, fresh)
        content = fresh / archive.inner
        marker = Path(temporary) / "marker"
        try:
            os.replace(content / archive.marker, marker)
        except FileNotFoundError:
            raise ValueError(
                f"{file}: expected {archive.marker} in it, found none; delete and "
                "fetch it again"
            ) from None
        _merge(content, home)
        _merge(marker, home / archive.marker)
    if not by_hand:
        file.unlink()
    logger.info("%s: unpacked into %s", archive.name, home)


def _merge(source: Path, target: Path) -> None:
    """Move a file, or a folder into one that may be there already."""
    if source.is_dir() and target.is_dir():
        for entry in source.iterdir():
            _merge(entry, target / entry.name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)


def _by_hand(word: str, root: Path, missing: Sequence[Archive], reason: str) -> str:
    """Write the instructions for whoever has to fetch the archives otherwise."""
    lines = [f"{word}: the download stopped: {reason}", "Still missing:"]
    for archive in missing:
        place = root / "downloads" / archive.name
        lines += [
            f"  {archive.name} ({archive.size / 1e6:.0f} MB, md5 {archive.md5})",
            "    from " + "\n      or ".join(archive.urls),
            f"    to   {place}, where it is checked and unpacked,",
            f"    or unpacked, so that {archive.home(root) / archive.marker} exists",
        ]
    lines.append("Then run the same command again.")
    return "\n".join(lines)
