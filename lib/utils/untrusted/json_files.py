"""Reading JSON that people may have edited, with errors that name the file."""

import json
from pathlib import Path
from typing import Any

_HUGE = 1e30


def read_json(path: Path, *, expected: str, remedy: str) -> Any:
    """Read a JSON file.

    Args:
        expected: what it should hold, for the error message.
        remedy: what the user is to do where it cannot be read.

    Raises:
        ValueError: no such file, or its content is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected {expected}, cannot read it ({error}); {remedy}"
        ) from error


def is_number(value: Any) -> bool:
    """Return whether a value read from JSON is a finite number of a usable size."""
    return isinstance(value, (int, float)) and -_HUGE < value < _HUGE
