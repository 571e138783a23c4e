"""Draw the training curves of several runs: one image, and one self-contained page."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from ...utils.files import write_atomic
from ...utils.monitoring.curves import (
    Curve,
    RunCurves,
    differing_settings,
    smoothed,
    thinned,
)
from ...utils.pages.axes import Axes, count_text, dot, round_ticks
from ...utils.pages.canvas import Drawing, Line, Shape, Text
from ...utils.pages.elements import Cell, Value, facts, shown, table
from ...utils.pages.render import render

_POINTS = 400  # largest number of points of a line
_DOTS = 50  # largest number of marked points
_COLORS = ("bar", "mark", "good", "violet", "pink", "cyan", "amber", "earlier")


def write_run_plots(
    target: Path,
    runs: Sequence[RunCurves],
    *,
    window: int,
    wanted: Sequence[str] = (),
) -> tuple[Path, Path]:
    """Draw the curves of runs into an image and a page; return both files.

    Args:
        target: path of both files without the suffixes ``.png`` and ``.html``.
        window: iterations that curves are averaged over; 0 for none.
        wanted: names of the quantities; by default losses, learning rate and AP.

    Raises:
        ValueError: no run has a wanted quantity, or there is no quantity to draw.
    """
    names = quantities(runs, wanted)
    if not names:
        raise ValueError(
            f"{runs[0].name}: no losses to draw; name curves, such as "
            f"{', '.join(list(runs[0].curves)[:5])}"
        )
    plots = {name: quantity_plot(name, runs, window=window) for name in names}
    picture = target.with_name(f"{target.name}.png")
    page = target.with_name(f"{target.name}.html")
    write_atomic(picture, together(plots, [run.name for run in runs]).png())
    content = render(
        "evaluation/page/runs.html",
        name=runs[0].name if len(runs) == 1 else f"{len(runs)} runs",
        runs=[(run.name, _key(place)) for place, run in enumerate(runs)],
        window=window,
        smoothed=any(
            smoothing(name, run.curves[name], window)
            for run in runs
            for name in names
            if name in run.curves
        ),
        plots=plots.values(),
        numbers=_numbers(runs, names, window),
        facts=facts(),
        differences=_differences(runs),
    )
    write_atomic(page, content)
    return picture, page


def line_style(place: int) -> tuple[str, bool]:
    """Return the colour of the run at a place, and whether its lines are dashed."""
    return _COLORS[place % len(_COLORS)], place // len(_COLORS) % 2 == 1


def quantities(runs: Sequence[RunCurves], wanted: Sequence[str] = ()) -> list[str]:
    """Return the names of the curves to draw, in order.

    Args:
        wanted: names; by default losses, the results of tests and validations, and the
            learning rate.

    Raises:
        ValueError: no run has a curve with a wanted name.
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
        # Not the AP of each class, nor the details of masks and keypoints.
        and "/" not in re.sub(r"^(val/)?((segm|keypoints)/(?=AP$))?", "", name)
    ]
    return [*first, *measured, *(name for name in ("lr",) if name in names)]


def quantity_plot(name: str, runs: Sequence[RunCurves], *, window: int) -> Drawing:
    """Draw one quantity of all runs that have it.

    Args:
        runs: runs; each has the style of its place.
        window: iterations to average over; 0 for none. Curves with few points are not
            averaged, and their points are marked.
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
    """Arrange all plots in one drawing, below the names of the runs."""
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
    """Return a line within the axes in pieces, cut at values that are not finite."""
    pieces: list[list[tuple[float, float]]] = [[]]
    inside = np.clip(curve.values, *axes.y).tolist()
    finite = np.isfinite(curve.values)
    for i, iteration in enumerate(curve.iterations.tolist()):
        if finite[i]:
            pieces[-1].append(axes.place(iteration, inside[i]))
        else:
            pieces.append([])
    # A single point becomes a short line, so that it is visible.
    return [
        piece if len(piece) > 1 else [piece[0], (piece[0][0] + 1.5, piece[0][1])]
        for piece in pieces
        if piece
    ]


def smoothing(name: str, curve: Curve, window: int) -> int:
    """Return the iterations to average over: 0 for exact and for sparse curves."""
    return 0 if name == "lr" or _is_sparse(curve, window) else window


def _is_sparse(curve: Curve, window: int) -> bool:
    """Return whether points are further apart than the smoothing window."""
    if len(curve.values) < 2:
        return True
    return float(np.median(np.diff(curve.iterations))) >= max(window, 1)


def _range(curves: Mapping[int, Curve]) -> tuple[float, float]:
    """Return the range of the values without outliers, from 0 if 0 is near."""
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


def _numbers(runs: Sequence[RunCurves], names: Sequence[str], window: int) -> Markup:
    """Return a table of each run's last iteration and last smoothed values."""
    rows: list[list[Value]] = []
    for run in runs:
        done = max(int(curve.iterations[-1]) for curve in run.curves.values())
        row: list[Value] = [run.name, done]
        for name in names:
            if name not in run.curves:
                row.append(Cell("", float("nan")))
                continue
            curve = run.curves[name]
            values = smoothed(curve, smoothing(name, curve, window)).values
            finite = values[np.isfinite(values)]
            best = float("nan")
            if len(finite):
                best = float(finite.max() if "AP" in name else finite.min())
            text = f"{values[-1]:.3g}" if name == "lr" else shown(float(values[-1]))
            row.append(Cell(text, float(values[-1]), title=f"best {best:.4g}"))
        rows.append(row)
    heads = ["run", "iterations", *names]
    return table(heads, rows, name="last values of the curves")


def _differences(runs: Sequence[RunCurves]) -> Markup:
    """Return a table of the settings that differ, with a column for each run."""
    rows: list[list[Value]] = [
        [key, *map(str, values)] for key, values in differing_settings(runs).items()
    ]
    heads = ["setting", *(run.name for run in runs)]
    return table(heads, rows, name="settings that differ") if rows else Markup()


def _key(place: int) -> Drawing:
    color, dashed = line_style(place)
    return Drawing("", 28, 8, [Line([(0, 4), (28, 4)], color, 2.5, dashed)])
