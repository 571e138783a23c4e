"""Runs in training beside each other: one picture, and one page without a network."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from ...utils.files import write_atomic
from ...utils.monitoring.curves import RunCurves, smoothed
from .elements import Cell, Value, figure, shown, table
from .run_plots import line_style, quantities, quantity_plot, smoothing, together
from .script import TABLES
from .style import STYLE

_SCRIPT = r"""
// A run's lines know it by their title.
for (const box of all("#runs input")) box.addEventListener("change", () => {
  for (const title of all("svg title"))
    if (title.textContent === box.value)
      title.parentNode.style.display = box.checked ? "" : "none";
});
"""

_STYLE = """
#runs label { display: inline-flex; gap: .4rem; align-items: center; cursor: pointer;
  overflow-wrap: anywhere; }
#runs svg { width: 28px; flex: none; }
.bar > div { gap: .2rem 1.25rem; max-height: 30vh; overflow-y: auto; }
figure > svg { max-width: none; }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
"""


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
    means = (
        f"Strong lines are means over {window} iterations, faint ones what was logged."
        if any(
            smoothing(name, run.curves[name], window)
            for run in runs
            for name in names
            if name in run.curves
        )
        else "Every line shows what was logged."
    )
    figures = "".join(figure(plot, "") for plot in plots.values())
    parts = {
        "Curves": f"<p class=soft>{means}</p><div class=grid>{figures}</div>",
        "Numbers": _numbers(runs, names, window),
    }
    write_atomic(page, _page(runs, parts))
    return picture, page


def _numbers(runs: Sequence[RunCurves], names: Sequence[str], window: int) -> str:
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
    return (
        "<p class=soft>The last value of each curve; rest on it to see the best.</p>"
        + table(heads, rows, name="last values of the curves")
    )


def _page(runs: Sequence[RunCurves], parts: dict[str, str]) -> str:
    keys = "".join(
        f'<label><input type=checkbox checked value="{escape(run.name)}">'
        f"{_key(place)}{escape(run.name)}</label>"
        for place, run in enumerate(runs)
    )
    sections = "".join(
        f"<section id={head.lower()}><h2>{head}</h2>{part}</section>"
        for head, part in parts.items()
    )
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: curves</title><style>{STYLE}{_STYLE}</style></head>\n"
        f"<body><header><h1>{escape(title)}</h1><p class=soft>Curves of training</p>"
        f"</header><div class=bar><div id=runs role=group aria-label=runs>{keys}</div>"
        f"</div>\n<main>{sections}</main>\n<script>{TABLES}{_SCRIPT}</script></body>"
        "</html>\n"
    )


def _key(place: int) -> str:
    color, dashed = line_style(place)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        '<svg viewBox="0 0 28 8" aria-hidden=true><polyline '
        f'class="s-{color}" points="0,4 28,4" stroke-width="2.5"{dash}/></svg>'
    )
