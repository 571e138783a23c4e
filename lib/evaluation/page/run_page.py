"""Runs in training beside each other: one picture, and one page without a network."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from ...utils.files import write_atomic
from ...utils.monitoring.curves import RunCurves, smoothed
from ...utils.pages.canvas import Drawing, Line
from ...utils.pages.elements import Cell, Value, shown, table
from ...utils.pages.render import render
from .run_plots import line_style, quantities, quantity_plot, smoothing, together


def write_run_plots(
    target: Path,
    runs: Sequence[RunCurves],
    *,
    window: int,
    wanted: Sequence[str] = (),
) -> tuple[Path, Path]:
    """Draw the curves of runs.

    Args:
        target: both files' path without their endings, ``.png`` and ``.html``.
        runs: one or more.
        window: iterations that curves are means over; 0 for none.
        wanted: names of the quantities; by default losses, learning rate and AP.

    Returns:
        The two files.

    Raises:
        ValueError: no run has a quantity that is wanted, or there is none to draw.
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
    )
    write_atomic(page, content)
    return picture, page


def _numbers(runs: Sequence[RunCurves], names: Sequence[str], window: int) -> Markup:
    """A table of where each run has come, and its last smoothed values."""
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


def _key(place: int) -> Drawing:
    color, dashed = line_style(place)
    return Drawing("", 28, 8, [Line([(0, 4), (28, 4)], color, 2.5, dashed)])
