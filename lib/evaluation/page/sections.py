"""Sections of the report: how good the test was, and which errors it shows."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from ...utils.pages.elements import Cell, Head, Value, shown, table
from ..analysis.breakdown import Group
from ..analysis.error_analysis import ErrorAnalysis
from ..analysis.error_costs import KINDS
from ..scoring import Evaluation, results_table
from .main_plots import RATIOS, SIZES, class_curves
from .plots import small_curve

_MEANING = {
    "classification": "lies well on an object of another class (IoU above 0.5)",
    "localisation": "right class, but lies badly on the object (IoU 0.1 to 0.5)",
    "both": "wrong class, and lies badly",
    "duplicate": "lies well on an object that a surer detection has found already",
    "background": "lies on nothing (IoU 0.1 or less with every object)",
    "missed": "an object that none of the above comes near",
}


def summary(
    evaluation: Evaluation, analysis: ErrorAnalysis, settings: Mapping[str, object]
) -> dict[str, object]:
    """The numbers to quote, and how they came about."""
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
    totals = [
        (key.replace("_", " "), total) for key, total in evaluation.totals.items()
    ]
    given = [(key, str(value)) for key, value in settings.items()]
    return {
        "warning": hint if value == 0 or value != value else "",
        "tiles": tiles,
        "totals": table(["metric", "value"], totals, name="all numbers"),
        "settings": given and table(["setting", "value"], given, name="settings"),
    }


def classes(evaluation: Evaluation, analysis: ErrorAnalysis) -> dict[str, object]:
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
    return {
        "table": table(heads, rows, name="results by class", by_class=True),
        "curves": [
            (name, shown(float(curve.mean()), 2), small_curve(name, curve, None))
            for name, curve in class_curves(analysis).items()
        ],
    }


def errors(analysis: ErrorAnalysis) -> dict[str, object]:
    """How many errors of each kind there are, and where AP is lost."""
    counts = analysis.errors.counts
    rows: list[list[Value]] = [
        [name, *(int(n) for n in counts[:, c])]
        for c, name in enumerate(analysis.matches.classes)
        if c
    ]
    return {
        "meanings": _MEANING,
        "by_kind": table(
            ["class", *((kind, _MEANING[kind]) for kind in KINDS)],
            rows,
            name="errors by class and kind",
            foot=["all", *(int(n) for n in counts.sum(axis=1))],
            by_class=True,
        ),
        "by_size": _lowest(analysis.by_size, SIZES, "size"),
        "by_ratio": _lowest(analysis.by_ratio, RATIOS, "shape"),
        "ece": shown(analysis.calibration.ece),
    }


def confused(analysis: ErrorAnalysis) -> Markup:
    """The pairs of classes that are confused most, empty if none is."""
    names, counts = analysis.matches.classes, analysis.confusion
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    wrong[0] = wrong[:, 0] = 0
    order = np.argsort(-wrong, axis=None, kind="stable")[:50]
    rows: list[list[Value]] = []
    for c, k in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if times := int(wrong[c, k]):
            share = float(times / counts[c].sum())
            rows.append([names[c], names[k], times, Cell(f"{share:.1%}", share)])
    share_head = ("share", "of the objects of that class")
    heads: list[Head] = ["object", "taken for", "times", share_head]
    return table(heads, rows, name="most confused classes") if rows else Markup()


def _lowest(groups: Sequence[Group], names: Sequence[str], what: str) -> str:
    known = [
        (g.ap, name) for g, name in zip(groups, names, strict=True) if g.ap == g.ap
    ]
    if not known:
        return f"Mean AP (IoU 0.5) by {what} of the objects."
    ap, name = min(known)
    return f"Mean AP (IoU 0.5) by {what} of the objects; lowest at {name} ({ap:.2f})."


def _range(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def _ignored(evaluation: Evaluation) -> str:
    return f"and {evaluation.ignored} that do not count" if evaluation.ignored else ""
