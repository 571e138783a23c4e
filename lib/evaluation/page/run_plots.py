"""The curves of runs, one plot for each quantity, as drawings."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ...utils.monitoring.curves import Curve, RunCurves, smoothed, thinned
from .canvas import Drawing, Line, Shape, Text

WIDTH, HEIGHT = 460.0, 280.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 20.0, 26.0, 36.0
_POINTS = 400  # of a line
_DOTS = 50  # the most points that are marked
_COLORS = ("bar", "mark", "good", "violet", "pink", "cyan", "amber", "earlier")


def line_style(place: int) -> tuple[str, bool]:
    """Colour of the run at a place in the list, and whether its lines are dashed."""
    return _COLORS[place % len(_COLORS)], place // len(_COLORS) % 2 == 1


def quantities(runs: Sequence[RunCurves], wanted: Sequence[str] = ()) -> list[str]:
    """Names of the curves to draw, in order.

    Args:
        runs: that have them.
        wanted: names; by default losses, learning rate and whatever is measured on
            other images.

    Raises:
        ValueError: no run has a curve of a wanted name.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.curves))
    for name in wanted:
        if name not in names:
            raise ValueError(
                f"no run has a curve {name!r}; there are {', '.join(names)}"
            )
    if wanted:
        return list(wanted)
    losses = ("loss", "rpn_cls", "rpn_box", "head_cls", "head_box")
    first = [name for name in losses if name in names]
    measured = [
        name
        for name in names
        if name not in first
        and any(sign in name for sign in ("AP", "loss", "val/"))
        and "/" not in name.removeprefix("val/")  # AP of each class would be too much
    ]
    return [*first, *measured, *(name for name in ("lr",) if name in names)]


def quantity_plot(name: str, runs: Sequence[RunCurves], *, window: int) -> Drawing:
    """Draw one quantity of all runs that have it.

    Args:
        name: of the quantity.
        runs: each in the style of its place.
        window: iterations to take means over; 0 for none. What is measured rarely is
            shown as it is, with its points marked.
    """
    found = {
        place: run.curves[name] for place, run in enumerate(runs) if name in run.curves
    }
    shown = {
        place: smoothed(curve, smoothing(name, curve, window))
        for place, curve in found.items()
    }
    low, high = _range(shown)
    last = max(int(curve.iterations[-1]) for curve in found.values())
    frame = _Frame(last, low, high)
    shapes = frame.shapes(name)
    for place, curve in found.items():
        color, dashed = line_style(place)
        title = runs[place].name
        if shown[place] is not curve:
            faint = thinned(curve, _POINTS)
            shapes += [
                Line(points, color, 1, opacity=0.2, title=title)
                for points in frame.pieces(faint)
            ]
    for place, curve in shown.items():
        color, dashed = line_style(place)
        title = runs[place].name
        for points in frame.pieces(thinned(curve, _POINTS)):
            shapes.append(Line(points, color, 1.8, dashed, title=title))
        if _is_sparse(curve, window) and len(curve.values) <= _DOTS:
            for points in frame.pieces(curve):
                shapes += [_dot(x, y, color, title) for x, y in points]
    return Drawing(f"{name} against iterations", WIDTH, HEIGHT, shapes)


def together(plots: Mapping[str, Drawing], names: Sequence[str]) -> Drawing:
    """All plots beside each other, with the runs' names above, for a picture."""
    columns = min(len(plots), 3)
    gap = 18.0
    wide = columns * (WIDTH + gap) - gap
    shapes: list[Shape] = []
    x, y = 0.0, 12.0
    for place, name in enumerate(names):
        color, dashed = line_style(place)
        width = 48 + 7.2 * len(name)
        if x and x + width > wide:
            x, y = 0.0, y + 20
        shapes.append(Line([(x, y), (x + 28, y)], color, 2.5, dashed))
        shapes.append(Text(x + 34, y + 4, name, "ink", "start", 12))
        x += width
    top = y + 20
    for place, plot in enumerate(plots.values()):
        right, down = place % columns * (WIDTH + gap), place // columns * (HEIGHT + gap)
        shapes += [_moved(shape, right, top + down) for shape in plot.shapes]
    rows = -(-len(plots) // columns)
    return Drawing("curves of runs", wide, top + rows * (HEIGHT + gap) - gap, shapes)


class _Frame:
    """Axes of a plot: iterations from 0 to the right, values upwards."""

    def __init__(self, last: int, low: float, high: float) -> None:
        self.x_ticks = _ticks(0, max(last, 1))
        self.y_ticks = _ticks(low, high)
        self.last = max(last, 1)
        self.low = min(low, self.y_ticks[0])
        self.high = max(high, self.y_ticks[-1])

    def shapes(self, title: str) -> list[Shape]:
        shapes: list[Shape] = []
        for tick in self.y_ticks:
            _, y = self._place(0, tick)
            shapes.append(Line([(_LEFT, y), (WIDTH - _RIGHT, y)], "line", 1))
            shapes.append(Text(_LEFT - 6, y + 4, f"{tick:.4g}", anchor="end"))
        for tick in self.x_ticks:
            x, _ = self._place(tick, self.low)
            ground = HEIGHT - _BOTTOM
            shapes.append(Line([(x, ground), (x, ground + 4)], "line", 1))
            shapes.append(Text(x, ground + 16, _count(tick)))
        middle = (_LEFT + WIDTH - _RIGHT) / 2
        shapes.append(Text(middle, HEIGHT - 5, "iterations", size=11))
        shapes.append(Text(_LEFT, 14, title, "ink", "start", 13, bold=True))
        return shapes

    def pieces(self, curve: Curve) -> list[list[tuple[float, float]]]:
        """The line's points, cut where a value is not finite; kept in the frame."""
        pieces: list[list[tuple[float, float]]] = [[]]
        for iteration, value in zip(
            curve.iterations.tolist(), curve.values.tolist(), strict=True
        ):
            if not math.isfinite(value):
                pieces.append([])
                continue
            pieces[-1].append(
                self._place(iteration, min(max(value, self.low), self.high))
            )
        # A point alone becomes a line too short to see without its own length.
        return [
            piece if len(piece) > 1 else [piece[0], (piece[0][0] + 1.5, piece[0][1])]
            for piece in pieces
            if piece
        ]

    def _place(self, iteration: float, value: float) -> tuple[float, float]:
        wide, tall = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        share = (value - self.low) / (self.high - self.low)
        return _LEFT + iteration / self.last * wide, _TOP + (1 - share) * tall


def smoothing(name: str, curve: Curve, window: int) -> int:
    """Iterations to take means over: none of what is exact or measured rarely."""
    return 0 if name == "lr" or _is_sparse(curve, window) else window


def _is_sparse(curve: Curve, window: int) -> bool:
    """Whether points are further apart than what would be taken together."""
    if len(curve.values) < 2:
        return True
    return float(np.median(np.diff(curve.iterations))) >= max(window, 1)


def _range(curves: Mapping[int, Curve]) -> tuple[float, float]:
    """From the least value, or 0 if that is near, to the greatest, outliers cut."""
    values = np.concatenate([curve.values for curve in curves.values()])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if len(values) > 100:
        high = max(float(np.quantile(values, 0.99)) * 1.1, 0) if high > 0 else high
    if low >= 0 and (low < 0.6 * high or high <= low):
        low = 0.0
    if high <= low:
        high = low + (abs(low) / 10 or 1)
    return low, high + (high - low) / 30


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers within the range."""
    rough = (high - low) / 7
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _count(value: float) -> str:
    return f"{value:g}" if value < 10000 else f"{value / 1000:g}k"


def _dot(x: float, y: float, color: str, title: str) -> Line:
    corners = [(x - 2.5, y), (x, y - 2.5), (x + 2.5, y), (x, y + 2.5)]
    return Line(corners, color, filled=True, title=title)


def _moved(shape: Shape, right: float, down: float) -> Shape:
    if isinstance(shape, Line):
        return shape._replace(points=[(x + right, y + down) for x, y in shape.points])
    return shape._replace(x=shape.x + right, y=shape.y + down)
