"""Format tables for a terminal."""

from collections.abc import Sequence

from .printable import printable

_WIDEST = 40
"""Width of the first column, so that one long name does not widen every row."""


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align a table: the first column to the left, the others to the right."""
    rows = [[_shortened(printable(first)), *others] for first, *others in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _shortened(name: str) -> str:
    """Shorten a long name in the middle: names of one set often start alike."""
    if len(name) <= _WIDEST:
        return name
    half = (_WIDEST - 3) // 2
    return f"{name[: _WIDEST - 3 - half]}...{name[-half:]}"
