"""Elements of pages: tables that sort, and the facts of a page's header."""

import datetime
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from markupsafe import Markup

from .render import macro


class Cell(NamedTuple):
    """A cell that sorts by a number, whatever its text.

    Attributes:
        order: to sort by; NaN comes last.
        kind: CSS class, such as "good".
        title: shown when the pointer rests on it.
    """

    text: str
    order: float
    kind: str = ""
    title: str = ""

    @property
    def key(self) -> str:
        """The order as the page's script reads it, empty if there is none."""
        return f"{self.order:.6g}" if math.isfinite(self.order) else ""


Value: TypeAlias = str | int | float | Cell
Head: TypeAlias = str | tuple[str, str]


def table(
    heads: Sequence[Head],
    rows: Sequence[Sequence[Value]],
    *,
    name: str,
    foot: Sequence[Value] = (),
    by_class: bool = False,
) -> Markup:
    """Make a table; numbers are aligned to the right and sort as such.

    Args:
        heads: of the columns; a pair has an explanation.
        by_class: the first column names classes, which the page's filter then marks.
    """
    first = rows[0] if rows else [""] * len(heads)
    return macro("utils/pages/elements.html", "table")(
        [
            (*((head, "") if isinstance(head, str) else head), not isinstance(v, str))
            for head, v in zip(heads, first, strict=True)
        ],
        [[*map(_cell, row)] for row in rows],
        name,
        [*map(_cell, foot)],
        by_class,
    )


def shown(value: float, digits: int = 4) -> str:
    """A number as text; a dash for NaN and infinity."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def facts(**known: str) -> Markup:
    """Make a list of facts, ended by the date and the command that runs."""
    now = datetime.datetime.now().astimezone()
    rows = {**known, "date": f"{now:%Y-%m-%d %H:%M %Z}", "command": running_command()}
    shown = [(name.replace("_", " "), text) for name, text in rows.items() if text]
    return macro("utils/pages/elements.html", "facts")(shown)


def running_command() -> str:
    """Return the command of this package that runs; empty in other programs."""
    program = Path(sys.argv[0])
    if program.name == "frcnn":
        words = ["frcnn"]
    elif program.name == "__main__.py" and "faster_rcnn" in sys.modules:
        words = ["python", "-m", "faster_rcnn.cli"]
    elif program.parent.name == "tools" and program.suffix == ".py":
        words = ["python", f"tools/{program.name}"]
    else:
        return ""
    return shlex.join([*words, *sys.argv[1:]])


def _cell(value: Value) -> str | Cell:
    if isinstance(value, str | Cell):
        return value
    whole = isinstance(value, int)
    return Cell(str(value) if whole else shown(value), float(value))
