"""Plots as inline SVG, drawn in the page's own colours."""

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

_WIDTH, _HEIGHT = 460, 220
_LEFT, _BOTTOM, _TOP, _RIGHT = 52, 42, 12, 18

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
) -> str:
    """Draw how often values occur.

    Args:
        values: to count; those beyond the limits count at the ends.
        label: of the horizontal axis.
        marks: values shown as dashed lines.
        log: a logarithmic horizontal axis; values must be positive.
        limits: of the axis; None for the values' own, marks included.
        bins: how many bars, at most.
        whole: the values are whole numbers; each bar stands for as many of them.
    """
    array = np.asarray(values, np.float64)
    if not len(array):
        return ""
    every = np.concatenate([array, np.asarray(marks, np.float64)])
    low, high = limits or (float(every.min()), float(every.max()))
    if high <= low:
        low, high = low / 1.1, max(high * 1.1, low + 1)
    if whole:
        each = -(-round(high - low + 1) // bins)  # so many numbers to a bar
        bins = -(-round(high - low + 1) // each)
        low, high = low - 0.5, low - 0.5 + each * bins
    turn = np.log if log else np.asarray
    edges = np.linspace(turn(low), turn(high), bins + 1)
    counts, _ = np.histogram(np.clip(turn(array), edges[0], edges[-1]), edges)
    most = max(int(counts.max()), 1)

    def x(value: float) -> float:
        share = (float(turn(value)) - edges[0]) / (edges[-1] - edges[0])
        return float(_LEFT + share * (_WIDTH - _LEFT - _RIGHT))

    step = (_WIDTH - _LEFT - _RIGHT) / bins
    shapes = []
    for place, count in enumerate(counts):
        if count:
            tall = count / most * (_HEIGHT - _TOP - _BOTTOM)
            shapes.append(
                f'<rect class="bar" x="{_LEFT + place * step:.1f}" '
                f'y="{_HEIGHT - _BOTTOM - tall:.1f}" width="{max(step - 1, 1):.1f}" '
                f'height="{tall:.1f}"><title>{count}</title></rect>'
            )
    for mark in marks:
        if low <= mark <= high:
            shapes.append(
                f'<line class="mark" x1="{x(mark):.1f}" x2="{x(mark):.1f}" '
                f'y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"><title>{mark:g}</title></line>'
            )
    ticks = np.geomspace(low, high, 5) if log else np.linspace(low, high, 5)
    if whole:
        ticks = np.unique(np.rint(np.linspace(low + 0.5, high - 0.5, 5)))
    for tick in ticks:
        shapes.append(_text(x(float(tick)), _HEIGHT - 24, _short(float(tick))))
    shapes.append(_text(_LEFT - 6, _TOP + 8, str(most), anchor="end"))
    shapes.append(_text(_LEFT - 6, _HEIGHT - _BOTTOM, "0", anchor="end"))
    shapes.append(_axis())
    return _figure(shapes, label)


def scatter(xs: Values, ys: Values, *, label: str, most: int = 3000) -> str:
    """Draw points, both axes from 0; of very many an even selection is shown."""
    step = max(1, -(-len(xs) // most))
    xs, ys = np.asarray(xs, np.float64)[::step], np.asarray(ys, np.float64)[::step]
    if not len(xs):
        return ""
    right, top = float(xs.max()) * 1.05, float(ys.max()) * 1.05
    wide, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    shapes = [
        f'<circle class="dot" cx="{_LEFT + px / right * wide:.1f}" '
        f'cy="{_HEIGHT - _BOTTOM - py / top * tall:.1f}" r="3"/>'
        for px, py in sorted(set(zip(xs.tolist(), ys.tolist(), strict=True)))
    ]
    for share in (0, 0.5, 1):
        at = _LEFT + share * wide
        shapes.append(_text(at, _HEIGHT - 24, _short(share * right)))
        at = _HEIGHT - _BOTTOM - share * tall + 4
        shapes.append(_text(_LEFT - 6, at, _short(share * top), anchor="end"))
    shapes.append(_axis())
    return _figure(shapes, label)


def bars(names: Sequence[str], counts: Sequence[int], *, label: str) -> str:
    """Draw a horizontal bar for each name."""
    if not names:
        return ""
    row, left = 20, 150
    height = row * len(names) + 28
    most = max([*counts, 1])
    shapes = []
    for place, (name, count) in enumerate(zip(names, counts, strict=True)):
        y = place * row + 2
        wide = count / most * (_WIDTH - left - 60)
        shown = name if len(name) <= 18 else name[:17] + "…"
        shapes.append(_text(left - 6, y + 13, shown, anchor="end"))
        shapes.append(
            f'<rect class="bar" x="{left}" y="{y}" width="{wide:.1f}" '
            f'height="{row - 4}"/>'
        )
        shapes.append(_text(left + wide + 4, y + 13, str(count), anchor="start"))
    return _figure(shapes, label, height=height)


def _figure(shapes: Sequence[str], label: str, *, height: int = _HEIGHT) -> str:
    caption = _text(_WIDTH / 2, height - 4, label)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(shapes)}{caption}</svg>"
    )


def _axis() -> str:
    y = _HEIGHT - _BOTTOM
    return f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "middle") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(text)}</text>"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.2g}"
