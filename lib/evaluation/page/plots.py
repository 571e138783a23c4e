"""Draw the plots of the report."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...datasets.records import BACKGROUND, IntArray
from ...utils.pages.axes import Axes, Point, count_text
from ...utils.pages.canvas import Box, Drawing, Line, Shape, Text
from ..analysis.breakdown import Group
from ..analysis.error_analysis import ErrorAnalysis
from ..analysis.error_costs import KINDS, ErrorSplit
from ..analysis.precision import precision_curves
from ..analysis.score_analysis import Calibration
from ..voc_matching import Float64Array

SIZES = ("< 16", "16-32", "32-96", "96-288", "288+")
"""Names of the groups of ``ap_by_size``."""

RATIOS = ("< 1:3", "1:3-2:3", "2:3-3:2", "3:2-3:1", "> 3:1")
"""Names of the groups of ``ap_by_ratio``."""

_MATRIX_CLASSES = 40

_SQUARE = Axes()
_TICKS = [(value, f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1)]


def curve_plot(
    curves: Mapping[str, Float64Array], mean: Float64Array, earlier: Float64Array | None
) -> Drawing:
    """Draw precision against recall: thin lines for classes, a thick one for the mean.

    Args:
        curves: class name to its ``(P,)`` precision at evenly spaced recalls.
        mean: ``(P,)`` mean over the classes.
        earlier: ``(P,)`` the mean of an earlier test, if there is one.
    """
    shapes = _SQUARE.frame("recall", _TICKS, _TICKS, beside="precision")
    opacity = max(0.15, min(0.5, 6 / max(len(curves), 1)))
    for name, curve in curves.items():
        points = _curve(curve, _SQUARE)
        shapes.append(Line(points, "bar", 1, opacity=opacity, title=name))
    means = [("mean over the classes", mean, "mark", False)]
    if earlier is not None:
        means.insert(0, ("mean, earlier test", earlier, "earlier", True))
    # The legend is above the curves, from the right.
    right, y = _SQUARE.width - _SQUARE.right, 8.0
    for name, curve, color, dashed in means:
        shapes.append(Line(_curve(curve, _SQUARE), color, 2.5, dashed, title=name))
        shapes.append(Text(right, y + 4, name, "ink", "end"))
        right -= 6.2 * len(name) + 6
        shapes.append(Line([(right - 24, y), (right, y)], color, 2.5, dashed))
        right -= 38
    return _SQUARE.drawing("precision against recall", shapes)


def small_curve(
    name: str, curve: Float64Array, earlier: Float64Array | None
) -> Drawing:
    """Draw the precision-recall curve of one class, 120 x 60 pixels, without axes."""
    wide, tall = 120.0, 60.0
    axes = Axes(width=wide, height=tall, left=0, right=0, top=1, bottom=1)
    points = _curve(curve, axes)
    area = [(0.0, tall), *points, (points[-1][0], tall)]
    shapes: list[Shape] = [
        Line([(0, tall), (wide, tall)], "line", 1),
        Line(area, "bar", filled=True, opacity=0.2),
    ]
    if earlier is not None:
        shapes.append(Line(_curve(earlier, axes), "earlier", 1.5, dashed=True))
    shapes.append(Line(points, "bar", 1.5))
    return axes.drawing(f"precision against recall of {name}", shapes)


def error_plot(errors: ErrorSplit, earlier: ErrorSplit | None) -> Drawing:
    """Draw the cost of each kind of error, in points of mean AP."""
    now, past = _losses(errors), _losses(earlier) if earlier else {}
    most = max([0.01, *(v for v in [*now.values(), *past.values()] if v == v)])
    width, left, step, gap = 400.0, 140.0, 30.0, 12.0
    shapes: list[Shape] = []
    for place, (name, lost) in enumerate(now.items()):
        before = past.get(name)
        y = 6 + place * step + (gap if place >= len(KINDS) else 0)
        color = "bar" if place < len(KINDS) else "mark"
        shapes.append(Text(left - 8, y + 16, name, "ink", "end", 12))
        tall = 12 if before is not None else 20
        for value, top, shade in ((lost, y, color), (before, y + 13, "earlier")):
            if value is None:
                continue
            wide = max(0.0, float(np.nan_to_num(value))) / most * (width - left - 52)
            high = tall if top == y else 8
            shapes.append(Box(left, top, max(wide, 1), high, shade))
            if top == y:
                at = y + tall / 2 + 4
                text = "-" if np.isnan(value) else f"{100 * value:.1f}"
                shapes.append(Text(left + wide + 5, at, text, "ink", "start", 12))
    height = 6 + len(now) * step + gap
    if past:
        shapes.append(Text(width - 6, height + 8, "grey: earlier test", anchor="end"))
        height += 16
    return Drawing("mean AP lost to each kind of error", width, height, shapes)


def _losses(errors: ErrorSplit) -> dict[str, float]:
    return errors.lost | {
        "all false detections": errors.lost_false_positives,
        "all objects not found": errors.lost_false_negatives,
    }


def reliability_plot(calibrated: Calibration) -> Drawing:
    """Draw precision against score, and below it the number of detections per bin."""
    axes, strip = _SQUARE, 46.0
    shapes = axes.frame("score", _TICKS, _TICKS, beside="precision")
    shares = np.log1p(calibrated.counts)
    shares *= (strip - 16) / max(shares.max(initial=0), 1e-9)
    edges = np.linspace(0, 1, len(shares) + 1).tolist()
    for place, (count, score, precision) in enumerate(
        zip(calibrated.counts, calibrated.scores, calibrated.precisions, strict=True)
    ):
        if not count:
            continue
        title = f"{count} detections, score {score:.2f}, precision {precision:.2f}"
        bar = axes.bar(edges[place], edges[place + 1], precision, title)
        below, tall = axes.height + 14, float(shares[place])
        shapes += [
            bar,
            Box(bar.x, below, bar.width, tall, "earlier", 0.7, title),
            Text(
                bar.x + bar.width / 2,
                below + tall + 11,
                count_text(int(count)),
                size=10,
            ),
        ]
    diagonal = [axes.place(0, 0), axes.place(1, 1)]
    shapes.append(Line(diagonal, "mark", 1.5, dashed=True))
    shapes.append(Text(axes.left - 6, axes.height + 24, "count", anchor="end", size=10))
    return Drawing(
        "precision against score, and detections per bin",
        axes.width,
        axes.height + strip + 14,
        shapes,
    )


def group_plot(groups: Sequence[Group], names: Sequence[str], *, label: str) -> Drawing:
    """Draw the mean AP of groups of objects."""
    # The room above 1 is for the texts on top of a bar.
    axes = Axes((0, max(len(groups), 1)), (0, 1.16))
    ticks = [(place + 0.5, name) for place, name in enumerate(names)]
    shapes = axes.frame(label, ticks, _TICKS, beside="mean AP")
    for place, (group, name) in enumerate(zip(groups, names, strict=True)):
        x, y = axes.place(place + 0.5, np.nan_to_num(group.ap))
        if np.isnan(group.ap):
            shapes.append(Text(x, y - 5, "no objects"))
            continue
        title = f"{name}: AP {group.ap:.3f}, {group.objects} objects"
        shapes.append(axes.bar(place + 0.14, place + 0.86, group.ap, title))
        shapes.append(Text(x, y - 17, f"{group.ap:.2f}", "ink"))
        shapes.append(Text(x, y - 5, f"n={count_text(group.objects)}", size=10))
    return axes.drawing(f"mean AP by {label}", shapes)


def confusion_plot(counts: IntArray, names: Sequence[str]) -> Drawing:
    """Draw a confusion matrix, each cell shaded by its share of the row.

    Args:
        counts: ``(C, C)``: rows are objects, columns detections; background first.
    """
    size = len(names)
    cell = 36.0 if size <= 12 else 24.0
    left, top = 132.0, 44.0
    shapes: list[Shape] = [
        Text(left + size * cell / 2, 13, "detected as", "soft", size=12),
        Text(left - 8, top - 8, "object", "soft", "end", 12),
    ]
    # The background comes last.
    order = [*range(1, size), 0]
    for row, c in enumerate(order):
        y = top + row * cell
        name = "background" if c == 0 else _short(names[c], 15)
        number = "" if c == 0 else f"{c} "
        middle = y + cell / 2 + 4
        shapes.append(Text(left - 8, middle, number + name, "ink", "end"))
        heading = "none" if c == 0 and cell > 30 else "-" if c == 0 else str(c)
        shapes.append(Text(left + (row + 0.5) * cell, top - 8, heading, "ink"))
        total = max(int(counts[c].sum()), 1)
        for column, k in enumerate(order):
            count, x = int(counts[c, k]), left + column * cell
            share = count / total
            shapes.append(Box(x, y, cell - 1, cell - 1, "panel"))
            if not count:
                continue
            what = f"{names[c]} detected as {names[k]}"
            what = what.replace(BACKGROUND, "background")
            color = "good" if c == k else "mark"
            strength = 0.08 + 0.72 * share
            title = f"{what}: {count} ({share:.0%})"
            shapes.append(Box(x, y, cell - 1, cell - 1, color, strength, title))
            shapes.append(
                Text(
                    x + (cell - 1) / 2,
                    middle,
                    count_text(count),
                    "ink",
                    size=11 if cell > 30 else 8.5,
                )
            )
    edge = left + size * cell
    return Drawing("confusion matrix", edge + 4, top + size * cell + 4, shapes)


def class_curves(analysis: ErrorAnalysis) -> dict[str, Float64Array]:
    """Return the precision at 101 recalls of each class that has objects."""
    matches = analysis.matches
    objects = matches.count_objects()
    curves = precision_curves(*matches.counted(), objects)
    return {
        name: curves[c] for c, name in enumerate(matches.classes) if c and objects[c]
    }


def main_plots(
    analysis: ErrorAnalysis, earlier: ErrorAnalysis | None = None
) -> dict[str, Drawing]:
    """Draw the plots of the page that are also PNG files, by the stem of the file."""
    curves = class_curves(analysis)
    before = class_curves(earlier) if earlier else {}
    plots = {
        "pr_curves": curve_plot(
            curves, _mean(curves), _mean(before) if before else None
        ),
        "errors": error_plot(analysis.errors, earlier.errors if earlier else None),
        "calibration": reliability_plot(analysis.calibration),
        "by_size": group_plot(
            analysis.by_size, SIZES, label="size (root of the area, pixels)"
        ),
        "by_ratio": group_plot(
            analysis.by_ratio, RATIOS, label="shape (width : height)"
        ),
    }
    names = analysis.matches.classes
    if len(names) <= _MATRIX_CLASSES + 1:
        plots["confusion"] = confusion_plot(analysis.confusion, names)
    return plots


def _curve(curve: Float64Array, axes: Axes) -> list[Point]:
    """Return the points of a monotone curve, without those inside level runs."""
    values = np.nan_to_num(curve)
    last = len(values) - 1
    bends = np.flatnonzero(np.diff(values) != 0)
    kept = sorted({0, last, *bends.tolist(), *(bends + 1).tolist()})
    return [axes.place(i / last, float(values[i])) for i in kept]


def _mean(curves: Mapping[str, Float64Array]) -> Float64Array:
    if not curves:
        return np.zeros(101)
    mean: Float64Array = np.mean(list(curves.values()), axis=0)
    return mean


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 2] + ".."
