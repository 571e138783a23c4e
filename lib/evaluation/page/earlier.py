"""The part of the page that compares a test with an earlier one."""

from collections.abc import Sequence
from html import escape

import numpy as np

from ..analysis.comparison import Comparison, Difference
from ..analysis.error_analysis import ErrorAnalysis
from ..scoring import Evaluation
from .elements import Cell, Value, shown, table
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


def comparison_section(
    label: str,
    evaluations: tuple[Evaluation, Evaluation],
    analyses: tuple[ErrorAnalysis, ErrorAnalysis],
    comparison: Comparison,
) -> str:
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
    return (
        f"<p>Earlier: <b>{escape(label)}</b>. {escape(verdict)}; {sure} of {len(rows)} "
        "classes differ by more than chance.</p>"
        "<p class=soft>Paired bootstrap over the images; significant at 5 %, by Holm's "
        "correction for the number of classes.</p><div class=narrow>"
        + table(["metric", "earlier", "now", "change"], totals, name="earlier and now")
        + "</div>"
        + table(
            [
                "class",
                "earlier",
                "now",
                "change",
                ("95 %", "interval of the change"),
                ("p", "chance of such a change if there were none"),
                "significant",
            ],
            rows,
            name="classes, earlier and now",
            by_class=True,
        )
        + "<h3>Curves, earlier dashed</h3>"
        + _curves(analyses)
        + "<h3>Images that changed most</h3>"
    )


def _curves(analyses: Sequence[ErrorAnalysis]) -> str:
    before, after = map(class_curves, analyses)
    return "<div class=minis>{}</div>".format(
        "".join(
            f'<div class=mini data-class="{escape(name)}"><span>{escape(name)}</span>'
            f"<b>{curve.mean() - before[name].mean():+.2f}</b>"
            f"{small_curve(name, curve, before[name]).svg()}</div>"
            for name, curve in after.items()
        )
    )


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
