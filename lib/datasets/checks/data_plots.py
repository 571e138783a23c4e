"""Plots of a data set's content."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...utils.pages.axes import Axes, dot
from ...utils.pages.canvas import Box, Drawing, Line, Shape, Text

_WIDTH, _HEIGHT = 360, 180
_LEFT, _TOP = 44, 10

Values = Sequence[float] | npt.NDArray[np.float64]


def histogram(
    values: Values,
    *,
    label: str,
    marks: Sequence[float] = (),
    log: bool = False,
    limits: tuple[float, float] | None = None,
    bins: int = 40,
    whole: bool = False,
) -> Drawing | None:
    """Draw the frequency of values; return None if there are no values.

    Args:
        values: values to count; those beyond the limits count at the ends.
        marks: values marked by dashed lines.
        log: make the horizontal axis logarithmic; values must be positive.
        limits: limits of the axis; if None, those of values and marks.
        bins: largest number of bars.
        whole: the values are integers, and each bar covers equally many of them.
    """
    array = np.asarray(values, np.float64)
    if not len(array):
        return None
    every = np.concatenate([array, np.asarray(marks, np.float64)])
    low, high = limits or (float(every.min()), float(every.max()))
    if high <= low:
        low, high = low / 1.1, max(high * 1.1, low + 1)
    if whole:
        each = -(-round(high - low + 1) // bins)  # integers per bar
        bins = -(-round(high - low + 1) // each)
        low, high = low - 0.5, low - 0.5 + each * bins
    turn = np.log if log else np.asarray
    edges = np.linspace(turn(low), turn(high), bins + 1)
    counts, _ = np.histogram(np.clip(turn(array), edges[0], edges[-1]), edges)
    most = max(int(counts.max()), 1)
    ticks = np.geomspace(low, high, 5) if log else np.linspace(low, high, 5)
    if whole:
        ticks = np.unique(np.rint(np.linspace(low + 0.5, high - 0.5, 5)))
    axes = Axes((edges[0], edges[-1]), (0, most), _WIDTH, _HEIGHT, _LEFT, top=_TOP)
    shapes = axes.frame(
        label,
        [(float(turn(tick)), _short(float(tick))) for tick in ticks],
        [(0, "0"), (most, str(most))],
    )
    for start, end, count in zip(edges, edges[1:], counts, strict=False):
        if count:
            shapes.append(axes.bar(start, end, count, str(count)))
    for mark in marks:
        if low <= mark <= high:
            ends = [axes.place(float(turn(mark)), y) for y in axes.y]
            shapes.append(Line(ends, "mark", dashed=True, title=f"{mark:g}"))
    return axes.drawing(label, shapes)


def scatter(xs: Values, ys: Values, *, label: str, most: int = 3000) -> Drawing | None:
    """Draw at most `most` of the points, evenly selected; both axes begin at 0."""
    step = max(1, -(-len(xs) // most))
    xs, ys = np.asarray(xs, np.float64)[::step], np.asarray(ys, np.float64)[::step]
    if not len(xs):
        return None
    right, top = float(xs.max()) * 1.05, float(ys.max()) * 1.05
    axes = Axes((0, right), (0, top), _WIDTH, _HEIGHT, _LEFT, top=_TOP)
    shares = (0, 0.5, 1)
    shapes = axes.frame(
        label,
        [(share * right, _short(share * right)) for share in shares],
        [(share * top, _short(share * top)) for share in shares],
    )
    for x, y in sorted(set(zip(xs.tolist(), ys.tolist(), strict=True))):
        shapes.append(dot(*axes.place(x, y), "bar", opacity=0.5))
    return axes.drawing(label, shapes)


def bars(names: Sequence[str], counts: Sequence[int], *, label: str) -> Drawing | None:
    """Draw a horizontal bar for each name; return None if there are no names."""
    if not names:
        return None
    row, left = 18, 125
    height = row * len(names) + 26
    most = max([*counts, 1])
    shapes: list[Shape] = [Text(_WIDTH / 2, height - 6, label, size=12)]
    for place, (name, count) in enumerate(zip(names, counts, strict=True)):
        y = place * row + 2
        wide = count / most * (_WIDTH - left - 50)
        shown = name if len(name) <= 18 else name[:17] + "…"
        shapes.append(Text(left - 6, y + 11, shown, "ink", "end"))
        shapes.append(Box(left, y, wide, row - 4, "bar", 0.85))
        shapes.append(Text(left + wide + 4, y + 11, str(count), "ink", "start"))
    return Drawing(label, _WIDTH, height, shapes)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.2g}"
