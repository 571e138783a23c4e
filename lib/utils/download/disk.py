"""Free space on a disk."""

import shutil
from pathlib import Path


def free_space(folder: Path) -> int:
    """Return the free bytes of the disk of a folder, which may not exist yet."""
    return shutil.disk_usage(nearest(folder)).free


def amount(count: float) -> str:
    """Format a number of bytes for people."""
    power = 0
    while count >= 1000 and power < 3:
        count /= 1000
        power += 1
    digits = 1 if power and count < 100 else 0
    return f"{count:.{digits}f} {('bytes', 'kB', 'MB', 'GB')[power]}"


def nearest(path: Path) -> Path:
    """Return the path itself, or the first existing folder above it."""
    path = path.absolute()
    return path if path.exists() else nearest(path.parent)
