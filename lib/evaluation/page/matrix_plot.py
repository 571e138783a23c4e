"""The confusion matrix as a drawing."""

from collections.abc import Sequence

from ...datasets.records import IntArray
from ...utils.pages.axes import count_text
from ...utils.pages.canvas import Box, Drawing, Shape, Text


def confusion_plot(counts: IntArray, names: Sequence[str]) -> Drawing:
    """Draw a confusion matrix, each row shaded by its shares.

    Args:
        counts: ``(C, C)``, background first.
        names: C names.
    """
    size = len(names)
    cell = 36.0 if size <= 12 else 24.0
    left, top = 132.0, 44.0
    shapes: list[Shape] = [
        Text(left + size * cell / 2, 13, "taken for", "soft", size=12),
        Text(left - 8, top - 8, "object", "soft", "end", 12),
    ]
    # Background last: it is no class.
    order = [*range(1, size), 0]
    for row, c in enumerate(order):
        y = top + row * cell
        name = "nothing" if c == 0 else _short(names[c], 15)
        number = "" if c == 0 else f"{c} "
        middle = y + cell / 2 + 4
        shapes.append(Text(left - 8, middle, number + name, "ink", "end"))
        heading = "none" if c == 0 and cell > 30 else "-" if c == 0 else str(c)
        shapes.append(Text(left + (row + 0.5) * cell, top - 8, heading, "ink"))
        total = max(int(counts[c].sum()), 1)
        for column, k in enumerate(order):
            count, x = int(counts[c, k]), left + column * cell
            share = count / total
            shapes.append(Box(x, y, cell - 1, cell - 1, "panel"))
            if not count:
                continue
            what = f"{names[c]} taken for {names[k]}".replace(
                "__background__", "nothing"
            )
            color = "good" if c == k else "mark"
            strength = 0.08 + 0.72 * share
            title = f"{what}: {count} ({share:.0%})"
            shapes.append(Box(x, y, cell - 1, cell - 1, color, strength, title))
            shapes.append(
                Text(
                    x + (cell - 1) / 2,
                    middle,
                    count_text(count),
                    "ink",
                    size=11 if cell > 30 else 8.5,
                )
            )
    edge = left + size * cell
    return Drawing("confusion matrix", edge + 4, top + size * cell + 4, shapes)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 2] + ".."
