"""The parts of the page that compare a test with an earlier one."""

import numpy as np

from ...utils.pages.elements import Cell, Head, Value, shown, table
from ..analysis.comparison import Comparison, Difference
from ..analysis.error_analysis import ErrorAnalysis
from ..scoring import Evaluation
from .gallery import image_gains
from .main_plots import class_curves
from .plots import small_curve


def changed_images(
    before: ErrorAnalysis, after: ErrorAnalysis, *, most: int
) -> list[tuple[int, str]]:
    """Choose the images that changed most, for the better and for the worse.

    Returns:
        Index of each image and what to say about it, the largest change first.
    """
    gains = image_gains(before, after)
    order = np.argsort(-np.abs(gains), kind="stable")[:most]
    return [
        (int(i), f"{'better' if gains[i] > 0 else 'worse'} by {abs(int(gains[i]))}")
        for i in order
        if gains[i]
    ]


def compared(
    label: str,
    evaluations: tuple[Evaluation, Evaluation],
    analyses: tuple[ErrorAnalysis, ErrorAnalysis],
    comparison: Comparison,
) -> dict[str, object]:
    """Numbers, classes and curves, the earlier test beside this one.

    Args:
        label: what to call the earlier test.
        evaluations: earlier and this.
        analyses: earlier and this.
        comparison: which differences are more than chance.
    """
    before, after = evaluations
    mean = comparison.mean
    verdict = (
        f"mean AP (IoU 0.5) {shown(mean.earlier)} → {shown(mean.later)}, "
        f"{_signed(mean.change)} (95 % {_signed(mean.interval.low)} to "
        f"{_signed(mean.interval.high)}): "
        + ("more than chance" if mean.significant else "may be chance")
    )
    totals: list[list[Value]] = [
        [
            key.replace("_", " "),
            before.totals[key],
            value,
            _change(value - before.totals[key]),
        ]
        for key, value in after.totals.items()
        if key in before.totals
    ]
    rows = [_class_row(name, each) for name, each in comparison.per_class.items()]
    sure = sum(each.significant for each in comparison.per_class.values())
    heads: list[Head] = [
        *("class", "earlier", "now", "change"),
        ("95 %", "interval of the change"),
        ("p", "chance of such a change if there were none"),
        "significant",
    ]
    old, new = map(class_curves, analyses)
    return {
        "label": label,
        "verdict": f"{verdict}; {sure} of {len(rows)} classes differ by more than "
        "chance.",
        "totals": table(
            ["metric", "earlier", "now", "change"], totals, name="earlier and now"
        ),
        "classes": table(heads, rows, name="classes, earlier and now", by_class=True),
        "curves": [
            (
                name,
                f"{curve.mean() - old[name].mean():+.2f}",
                small_curve(name, curve, old[name]),
            )
            for name, curve in new.items()
        ],
    }


def _class_row(name: str, each: Difference) -> list[Value]:
    low, high = each.interval
    return [
        name,
        each.earlier,
        each.later,
        _change(each.change),
        Cell(f"{_signed(low)} to {_signed(high)}", low),
        Cell(f"{each.p_value:.3f}", each.p_value),
        Cell("yes" if each.significant else "no", float(each.significant)),
    ]


def _change(value: float) -> Cell:
    kind = "" if not value else "good" if value > 0 else "bad"
    return Cell(_signed(value), value, kind if value == value else "")


def _signed(value: float) -> str:
    return "-" if value != value else f"{value:+.4f}"
