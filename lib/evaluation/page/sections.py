"""The parts of the page that tell how good the test was."""

import math
from collections.abc import Mapping
from html import escape

import numpy as np

from ..analysis.error_analysis import ErrorAnalysis
from ..scoring import Evaluation, results_table
from .canvas import Drawing
from .elements import Cell, Head, Value, figure, grid, shown, table
from .main_plots import class_curves
from .plots import small_curve


def summary(
    evaluation: Evaluation,
    analysis: ErrorAnalysis,
    plots: Mapping[str, Drawing],
    settings: Mapping[str, object],
) -> str:
    """The numbers to quote, the precision-recall curves, and how they came about."""
    name, value = evaluation.headline
    low, high = analysis.mean_interval
    tiles = [
        (name.replace("_", " "), shown(value), "the headline"),
        ("mAP at IoU 0.5", shown(analysis.errors.ap), _range(low, high)),
        ("images", str(evaluation.images), ""),
        ("objects", str(sum(evaluation.objects.values())), _ignored(evaluation)),
        ("detections", str(evaluation.detections), ""),
        ("calibration error", shown(analysis.calibration.ece), "0 is perfect"),
    ]
    hint = results_table(evaluation).splitlines()[-1]
    warning = (
        f"<p class=warn>{escape(hint)}</p>" if value == 0 or value != value else ""
    )
    totals: list[list[Value]] = [
        [key.replace("_", " "), total] for key, total in evaluation.totals.items()
    ]
    return (
        warning
        + "<dl class=tiles>"
        + "".join(
            f"<div><dt>{escape(head)}</dt><dd>{escape(text)}</dd>"
            f"<small>{escape(note)}</small></div>"
            for head, text, note in tiles
        )
        + "</dl>"
        + grid(
            figure(
                plots["pr_curves"],
                "Precision against recall at IoU 0.5: each class faintly, their mean "
                "strongly.",
            ),
            f"<div>{table(['metric', 'value'], totals, name='all numbers')}"
            f"{_settings(settings)}</div>",
        )
    )


def classes(evaluation: Evaluation, analysis: ErrorAnalysis) -> str:
    """A table of all numbers by class, and a small curve for each."""
    matches, best = analysis.matches, analysis.thresholds
    columns = evaluation.class_columns
    found = np.bincount(matches.found.classes, minlength=len(matches.classes))
    rows: list[list[Value]] = []
    for c, name in enumerate(matches.classes[1:], start=1):
        low, high = analysis.class_intervals[c]
        rows.append(
            [
                name,
                evaluation.objects[name],
                int(found[c]),
                *(values[name] for values in columns.values()),
                Cell(_range(low, high), low),
                Cell(shown(float(best.scores[c]), 2), float(best.scores[c])),
                *(
                    Cell(shown(float(v[c]), 3), float(v[c]))
                    for v in (best.f1, best.precision, best.recall)
                ),
            ]
        )
    heads: list[Head] = [
        "class",
        "objects",
        ("detections", "at any score"),
        *((c.replace("_", " "), "average precision") for c in columns),
        ("95 % of AP50", "interval of the area under the curve, by bootstrap"),
        ("score", "the threshold with the highest F1"),
        ("F1", "at that score"),
        ("precision", "at that score"),
        ("recall", "at that score"),
    ]
    minis = []
    for name, curve in class_curves(analysis).items():
        ap = shown(float(curve.mean()), 2)
        minis.append(
            f'<button type=button class=mini data-class="{escape(name)}" '
            f'aria-pressed=false><span>{escape(name)}</span><b title="AP at 101 '
            f'recalls">{ap}</b>{small_curve(name, curve, None).svg()}</button>'
        )
    return (
        table(heads, rows, name="results by class", by_class=True)
        + "<h3>Precision against recall by class</h3><p class=soft>Press a class to "
        "show only its pictures below.</p>" + f"<div class=minis>{''.join(minis)}</div>"
    )


def _settings(settings: Mapping[str, object]) -> str:
    rows: list[list[Value]] = [[key, str(value)] for key, value in settings.items()]
    if not rows:
        return ""
    return f"<h3>Settings</h3>{table(['setting', 'value'], rows, name='settings')}"


def _range(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def _ignored(evaluation: Evaluation) -> str:
    return f"and {evaluation.ignored} that do not count" if evaluation.ignored else ""
