"""Read values that exporters write in several ways."""

from pathlib import Path
from typing import Any

_TRUE = frozenset(("1", "true", "yes"))


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


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 text, with or without a byte order mark.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    return path.read_text(encoding="utf-8-sig").splitlines()
