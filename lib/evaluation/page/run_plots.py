"""The curves of runs, one plot for each quantity, as drawings."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...utils.monitoring.curves import Curve, RunCurves, smoothed, thinned
from ...utils.pages.axes import Axes, count_text, dot, round_ticks
from ...utils.pages.canvas import Drawing, Line, Shape, Text

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
    x_ticks, y_ticks = round_ticks(0, max(last, 1)), round_ticks(low, high)
    axes = Axes((0, max(last, 1)), (min(low, y_ticks[0]), max(high, y_ticks[-1])))
    shapes = axes.frame(
        "iterations",
        [(tick, count_text(tick)) for tick in x_ticks],
        [(tick, f"{tick:.4g}") for tick in y_ticks],
        title=name,
    )
    for place, curve in found.items():
        color, dashed = line_style(place)
        title = runs[place].name
        if shown[place] is not curve:
            faint = thinned(curve, _POINTS)
            shapes += [
                Line(points, color, 1, opacity=0.2, title=title)
                for points in _pieces(faint, axes)
            ]
    for place, curve in shown.items():
        color, dashed = line_style(place)
        title = runs[place].name
        for points in _pieces(thinned(curve, _POINTS), axes):
            shapes.append(Line(points, color, 1.8, dashed, title=title))
        if _is_sparse(curve, window) and len(curve.values) <= _DOTS:
            for points in _pieces(curve, axes):
                shapes += [dot(x, y, color, title=title) for x, y in points]
    return axes.drawing(f"{name} against iterations", shapes)


def together(plots: Mapping[str, Drawing], names: Sequence[str]) -> Drawing:
    """All plots beside each other, with the runs' names above, for a picture."""
    columns = min(len(plots), 3)
    each, gap = Axes(), 18.0
    width, height = each.width + gap, each.height + gap
    wide = columns * width - gap
    shapes: list[Shape] = []
    x, y = 0.0, 12.0
    for place, name in enumerate(names):
        color, dashed = line_style(place)
        space = 48 + 7.2 * len(name)
        if x and x + space > wide:
            x, y = 0.0, y + 20
        shapes.append(Line([(x, y), (x + 28, y)], color, 2.5, dashed))
        shapes.append(Text(x + 34, y + 4, name, "ink", "start", 12))
        x += space
    top = y + 20
    for place, plot in enumerate(plots.values()):
        right, down = place % columns * width, place // columns * height
        shapes += [_moved(shape, right, top + down) for shape in plot.shapes]
    rows = -(-len(plots) // columns)
    return Drawing("curves of runs", wide, top + rows * height - gap, shapes)


def _pieces(curve: Curve, axes: Axes) -> list[list[tuple[float, float]]]:
    """The line's points, cut where a value is not finite; kept within the axes."""
    pieces: list[list[tuple[float, float]]] = [[]]
    inside = np.clip(curve.values, *axes.y).tolist()
    finite = np.isfinite(curve.values)
    for i, iteration in enumerate(curve.iterations.tolist()):
        if finite[i]:
            pieces[-1].append(axes.place(iteration, inside[i]))
        else:
            pieces.append([])
    # A point alone becomes a line too short to see without its own length.
    return [
        piece if len(piece) > 1 else [piece[0], (piece[0][0] + 1.5, piece[0][1])]
        for piece in pieces
        if piece
    ]


def smoothing(name: str, curve: Curve, window: int) -> int:
    """Iterations to take means over: none of what is exact or measured rarely."""
    return 0 if name == "lr" or _is_sparse(curve, window) else window


def _is_sparse(curve: Curve, window: int) -> bool:
    """Return whether points are further apart than the smoothing window."""
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


def _moved(shape: Shape, right: float, down: float) -> Shape:
    if isinstance(shape, Line):
        return shape._replace(points=[(x + right, y + down) for x, y in shape.points])
    return shape._replace(x=shape.x + right, y=shape.y + down)
