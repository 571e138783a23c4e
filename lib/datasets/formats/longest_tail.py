"""Find a file by a path that was written on another machine, or for another folder."""

from collections.abc import Callable
from pathlib import Path


def longest_tail(
    folder: Path, name: str, is_there: Callable[[str], bool] | None = None
) -> str | None:
    """Return the longest end of a path that exists in a folder; None if none does.

    Backslashes separate folders too, and ``..`` is left out, so that the result is
    never outside the folder.

    >>> longest_tail(Path("/"), r"C:\\a\\etc\\..\\passwd", {"etc/passwd"}.__contains__)
    'etc/passwd'

    Args:
        is_there: returns whether a relative path exists; if None, the disk says so.
    """
    if is_there is None:

        def is_there(tail: str) -> bool:
            return (folder / tail).exists()

    parts = name.replace("\\", "/").split("/")
    parts = [part for part in parts if part not in ("", ".", "..")]
    tails = ("/".join(parts[start:]) for start in range(len(parts)))
    return next(filter(is_there, tails), None)
