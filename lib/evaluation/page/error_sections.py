"""The parts of the page that tell what went wrong."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from ...datasets.records import IntArray
from ..analysis.breakdown import Group
from ..analysis.error_analysis import ErrorAnalysis
from ..analysis.error_costs import KINDS
from .canvas import Drawing
from .elements import Cell, Value, figure, grid, shown, table
from .main_plots import RATIOS, SIZES

_MEANING = {
    "classification": "lies well on an object of another class (IoU above 0.5)",
    "localisation": "right class, but lies badly on the object (IoU 0.1 to 0.5)",
    "both": "wrong class, and lies badly",
    "duplicate": "lies well on an object that a surer detection has found already",
    "background": "lies on nothing (IoU 0.1 or less with every object)",
    "missed": "an object that none of the above comes near",
}


def errors(analysis: ErrorAnalysis, plots: Mapping[str, Drawing]) -> str:
    """What each kind of error costs, how many there are, and where AP is lost."""
    counts = analysis.errors.counts
    rows: list[list[Value]] = [
        [name, *(int(n) for n in counts[:, c])]
        for c, name in enumerate(analysis.matches.classes)
        if c
    ]
    foot: list[Value] = ["all", *(int(n) for n in counts.sum(axis=1))]
    by_kind = table(
        ["class", *((kind, _MEANING[kind]) for kind in KINDS)],
        rows,
        name="errors by class and kind",
        foot=foot,
        by_class=True,
    )
    meanings = "".join(
        f"<div><dt>{kind}</dt><dd>{escape(text)}</dd></div>"
        for kind, text in _MEANING.items()
    )
    calibrated = analysis.calibration
    return (
        grid(
            figure(
                plots["errors"],
                "Points of mean AP (IoU 0.5) to be gained if this kind of error alone "
                "were put right. They do not add up.",
            ),
            f"<dl class=terms>{meanings}</dl>",
        )
        + by_kind
        + "<h3>Size, shape and score</h3>"
        + grid(
            figure(plots["by_size"], _lowest(analysis.by_size, SIZES, "size")),
            figure(plots["by_ratio"], _lowest(analysis.by_ratio, RATIOS, "shape")),
            figure(
                plots["calibration"],
                "How often detections of a score are true; on the dashed line a score "
                "is a probability. "
                f"Expected calibration error {shown(calibrated.ece)}.",
            ),
        )
    )


def confusion(analysis: ErrorAnalysis, plots: Mapping[str, Drawing]) -> str:
    """The confusion matrix, and the pairs of classes that are confused most."""
    names = analysis.matches.classes
    counts = analysis.confusion
    rows = _confused_pairs(counts, names)
    pairs = table(
        ["object", "taken for", "times", ("share", "of the objects of that class")],
        rows,
        name="most confused classes",
    )
    if not rows:
        pairs = "<p>No class was taken for another.</p>"
    note = "Detections of at least the best score of their class."
    matrix = ""
    if "confusion" in plots:
        plot = plots["confusion"]
        note += (
            " The last column holds objects that were taken for nothing, the last row "
            "detections where there is nothing."
        )
        matrix = (
            f'<figure class=wide style="--w:{plot.width:g}px"><div class=scroll '
            f'tabindex=0 role=region aria-label="confusion matrix">{plot.svg()}</div>'
            "</figure>"
        )
    return f"<p class=soft>{note}</p>" + grid(matrix, f"<div>{pairs}</div>")


def _confused_pairs(counts: IntArray, names: Sequence[str]) -> list[list[Value]]:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    wrong[0] = wrong[:, 0] = 0
    order = np.argsort(-wrong, axis=None, kind="stable")[:50]
    rows: list[list[Value]] = []
    for c, k in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[c, k]:
            share = float(wrong[c, k] / counts[c].sum())
            rows.append(
                [names[c], names[k], int(wrong[c, k]), Cell(f"{share:.1%}", share)]
            )
    return rows


def _lowest(groups: Sequence[Group], names: Sequence[str], what: str) -> str:
    known = [
        (g.ap, name) for g, name in zip(groups, names, strict=True) if g.ap == g.ap
    ]
    if not known:
        return f"Mean AP (IoU 0.5) by {what} of the objects."
    ap, name = min(known)
    return f"Mean AP (IoU 0.5) by {what} of the objects; lowest at {name} ({ap:.2f})."
