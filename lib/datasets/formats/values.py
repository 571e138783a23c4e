"""Read values that exporters write in several ways."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Fault = Callable[[str, int | None], None]
"""Function that takes a fault of an annotation file, and the number of the object at
fault (None for the whole file). Training raises an error in it; a check collects the
fault, and parsing continues with the next object."""

SPLIT_NAMES = {
    "train": ("train",),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
"""The names that folders and settings give each split."""

_TRUE = frozenset(("1", "true", "yes"))


def refuse(path: Path) -> Fault:
    """Return a function that raises each fault of a file as a ValueError."""

    def fault(detail: str, _: int | None) -> None:
        raise ValueError(f"{path}: {detail}")

    return fault


def is_set(flag: Any) -> bool:
    """Return whether a flag such as iscrowd or <difficult> is set.

    Text counts as set if it is 1, true or yes. "0", "false" and "Unspecified", which
    converters write, do not count.
    """
    if isinstance(flag, str):
        return flag.strip().lower() in _TRUE
    return bool(flag)


def whole_number(value: Any) -> int | None:
    """Read a whole number of up to 64 bits, also from "7" and 7.0; None for others."""
    if isinstance(value, str):
        text = value.strip()
        value = int(text) if text.isdecimal() and len(text) < 20 else None
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or abs(value) >= 2**63:
        return None
    return value


def four_numbers(box: Any) -> tuple[float, float, float, float] | None:
    """Read the four numbers of a box; None if `box` is anything else."""
    try:
        first, second, third, fourth = map(float, box)
    except (TypeError, ValueError, OverflowError):
        return None
    return first, second, third, fourth


def read_lines(path: Path, expected: str = "text") -> list[str]:
    """Read the lines of a UTF-8 text, with or without a byte order mark.

    Args:
        expected: content of the file, for errors.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file cannot be read, or is not in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: expected {expected} in UTF-8, cannot read it ({error}); save the "
            "file as plain text"
        ) from error
