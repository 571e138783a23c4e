"""Tables that sort when a heading is pressed, and other parts of a page."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple, TypeAlias

from .canvas import Drawing


class Cell(NamedTuple):
    """A cell whose text does not tell its order.

    Attributes:
        text: shown.
        order: to sort by; NaN comes last.
        kind: CSS class, such as "good".
        title: shown when the pointer rests on it.
    """

    text: str
    order: float
    kind: str = ""
    title: str = ""


Value: TypeAlias = str | int | float | Cell
Head: TypeAlias = str | tuple[str, str]


def table(
    heads: Sequence[Head],
    rows: Sequence[Sequence[Value]],
    *,
    name: str,
    foot: Sequence[Value] | None = None,
    by_class: bool = False,
) -> str:
    """Make a table; numbers are aligned to the right and sort as such.

    Args:
        heads: of the columns; a pair has an explanation.
        rows: as many values each; floats have four decimals, NaN is a dash.
        name: what it shows, for those who cannot see it.
        foot: a last row that stays last.
        by_class: the first column names classes, which the page's filter then marks.
    """
    first = rows[0] if rows else [""] * len(heads)
    head = "".join(
        _head(text, not isinstance(value, str))
        for text, value in zip(heads, first, strict=True)
    )
    body = "".join(
        f"<tr{f' data-class={_quoted(str(row[0]))}' if by_class else ''}>"
        f"{''.join(map(_cell, row))}</tr>"
        for row in rows
    )
    last = f"<tfoot><tr>{''.join(map(_cell, foot))}</tr></tfoot>" if foot else ""
    return (
        f'<div class=scroll tabindex=0 role=region aria-label="{escape(name)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{last}</table></div>"
    )


def shown(value: float, digits: int = 4) -> str:
    """A number as text; a dash for NaN and infinity."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def figure(plot: Drawing, caption: str) -> str:
    """A plot with its caption."""
    return f"<figure>{plot.svg()}<figcaption>{escape(caption)}</figcaption></figure>"


def grid(*parts: str) -> str:
    """Parts beside each other where there is room."""
    return f"<div class=grid>{''.join(parts)}</div>"


def _head(head: Head, numeric: bool) -> str:
    text, title = (head, "") if isinstance(head, str) else head
    hint = f" title={_quoted(title)}" if title else ""
    kind = " class=n" if numeric else ""
    return f"<th scope=col{kind}><button type=button{hint}>{escape(text)}</button></th>"


def _cell(value: Value) -> str:
    if isinstance(value, str):
        return f"<td>{escape(value)}</td>"
    if not isinstance(value, Cell):
        whole = isinstance(value, int)
        value = Cell(str(value) if whole else shown(value), float(value))
    order = f"{value.order:.6g}" if math.isfinite(value.order) else ""
    kind = f" {value.kind}" if value.kind else ""
    title = f" title={_quoted(value.title)}" if value.title else ""
    return f'<td class="n{kind}" data-v="{order}"{title}>{escape(value.text)}</td>'


def _quoted(text: str) -> str:
    return f'"{escape(text)}"'
