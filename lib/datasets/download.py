"""Download the public data sets' archives to the folders that the catalog reads.

Each archive is downloaded into <root>/downloads, verified and unpacked in a temporary
folder of its destination; then its files are moved to their places. An archive that the
user has put into <root>/downloads is verified and unpacked, and then kept.
"""

import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..utils.download.disk import amount, free_space, nearest
from ..utils.download.receive import received
from ..utils.download.transfer import DownloadError, gather, mismatch, part_of
from ..utils.download.unpack import extract
from ..utils.locks import alone
from .archives import ARCHIVES, Archive

logger = logging.getLogger(__name__)

_UNPACKING = ".unpacking-"
"""Prefix of the temporary folders that archives are unpacked in."""


@dataclass(frozen=True, slots=True)
class Step:
    """The download of an archive whose content is missing below the data root."""

    archive: Archive
    root: Path

    @property
    def by_hand(self) -> Path:
        """Return the path at which the user can put the archive."""
        return self.root / "downloads" / self.archive.name

    @property
    def part(self) -> Path:
        """Return the file that an unfinished download writes to."""
        return part_of(self.by_hand)

    @property
    def home(self) -> Path:
        """Return the folder that the archive's content goes into."""
        return self.archive.home(self.root)

    @property
    def received(self) -> int:
        """Return the number of bytes that are downloaded already."""
        if self.by_hand.exists():
            return self.archive.size
        return min(received(self.part), self.archive.size)


def plan(
    word: str, root: Path, *, archives: Mapping[str, Sequence[Archive]] = ARCHIVES
) -> list[Step]:
    """List the steps that complete a data set; none if complete or without archives."""
    return [Step(a, root) for a in archives.get(word, ()) if not a.is_there(root)]


def ensure_downloaded(
    word: str,
    root: Path,
    *,
    archives: Mapping[str, Sequence[Archive]] = ARCHIVES,
    pause: float = 1.0,
) -> None:
    """Download, verify and unpack the missing files of a data set.

    Raises:
        DownloadError: a download failed. The message describes how to download each
            missing archive by hand.
    """
    if not plan(word, root, archives=archives):
        return
    with alone(root / "downloads"):
        # Another process may have completed some steps in the meantime.
        steps = plan(word, root, archives=archives)
        ensure_space(word, steps)
        for done, step in enumerate(steps):
            try:
                _install(step, pause)
            except (OSError, ValueError) as error:
                raise DownloadError(_instructions(word, steps[done:], error)) from error


def ensure_space(word: str, steps: Sequence[Step]) -> None:
    """Check before a download that the disks have enough space.

    Archives are unpacked one after another; each that was downloaded is deleted before
    the next. Links to other disks are followed.

    Raises:
        DownloadError: a disk has too little space for one of the steps.
    """
    folders: dict[int, Path] = {}
    used: dict[int, int] = {}
    most: dict[int, int] = {}

    def use(folder: Path, count: int) -> None:
        disk = nearest(folder).stat().st_dev
        folders.setdefault(disk, folder)
        used[disk] = used.get(disk, 0) + count
        most[disk] = max(most.get(disk, 0), used[disk])

    for step in steps:
        use(step.by_hand.parent, step.archive.size - step.received)
        use(step.home, step.archive.unpacked)
        if not step.by_hand.exists():
            use(step.by_hand.parent, -step.archive.size)
    for disk, folder in folders.items():
        free = free_space(folder)
        if most[disk] > free:
            raise DownloadError(
                f"{word}: expected {amount(most[disk])} of free space for {folder}, "
                f"found {amount(free)}; make room or give a data root on another disk"
            )


def _install(step: Step, pause: float) -> None:
    """Install the content of one archive, downloading it if necessary."""
    archive, file, home = step.archive, step.by_hand, step.home
    by_hand = file.exists()
    if by_hand:
        fault = mismatch(file, size=archive.size, md5=archive.md5)
        if fault is not None:
            raise DownloadError(
                f"{file}: {fault}; replace it, or delete it to have it downloaded"
            )
    else:
        file = step.part
        gather(archive.urls, file, size=archive.size, md5=archive.md5, pause=pause)
    # Next to the destination, which may be a link to another disk.
    home.mkdir(parents=True, exist_ok=True)
    for left in home.glob(_UNPACKING + "*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=_UNPACKING) as temporary:
        fresh = Path(temporary) / "fresh"
        extract(file, fresh)
        content = fresh / archive.inner
        marker = Path(temporary) / "marker"
        try:
            os.replace(content / archive.marker, marker)
        except FileNotFoundError:
            raise ValueError(
                f"{file}: expected {archive.marker} in the archive, found none; delete "
                "the file and run the same command again"
            ) from None
        _merge(content, home)
        _merge(marker, home / archive.marker)
    if not by_hand:
        file.unlink()
    logger.info("%s: unpacked into %s", archive.name, home)


def _merge(source: Path, target: Path) -> None:
    """Move a file, or merge a folder into an existing one."""
    if source.is_dir() and target.is_dir():
        for entry in source.iterdir():
            _merge(entry, target / entry.name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # The target's folder is a link to another disk.
        near = target.with_name(f"{_UNPACKING}{target.name}")
        shutil.move(source, near)
        os.replace(near, target)


def _instructions(word: str, steps: Sequence[Step], reason: Exception) -> str:
    """Describe how to download the missing archives by hand."""
    lines = [f"{word}: the download stopped: {reason}", "Still missing:"]
    for step in steps:
        archive = step.archive
        lines += [
            f"  {archive.name} ({amount(archive.size)}, md5 {archive.md5})",
            "    from " + "\n      or ".join(archive.urls),
            f"    to   {step.by_hand}, where it is checked and unpacked,",
            f"    or unpacked, so that {step.home / archive.marker} exists",
        ]
    lines.append("Then run the same command again.")
    return "\n".join(lines)
