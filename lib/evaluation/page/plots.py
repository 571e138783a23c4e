"""The plots of the report, as drawings."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..analysis.breakdown import Group
from ..analysis.calibration import Calibration
from ..analysis.error_costs import KINDS, ErrorSplit
from ..analysis.overlaps import Float64Array
from .canvas import Box, Drawing, Line, Shape, Text

_WIDTH, _HEIGHT = 460.0, 280.0
_HEADROOM = 14.0  # of bars that have a text on top
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 12.0, 24.0, 40.0


def curve_plot(
    curves: Mapping[str, Float64Array], mean: Float64Array, earlier: Float64Array | None
) -> Drawing:
    """Draw precision against recall: every class faintly, their mean strongly.

    Args:
        curves: class to its ``(P,)`` precision at even recalls.
        mean: ``(P,)`` over the classes.
        earlier: ``(P,)`` the mean of an earlier test, if there is one.
    """
    shapes = _square_frame("recall", "precision")
    opacity = max(0.15, min(0.5, 6 / max(len(curves), 1)))
    for name, curve in curves.items():
        points = _curve(curve)
        shapes.append(Line(points, "bar", 1, opacity=opacity, title=name))
    means = [("mean over the classes", mean, "mark", False)]
    if earlier is not None:
        means.insert(0, ("mean, earlier test", earlier, "earlier", True))
    for place, (name, curve, color, dashed) in enumerate(means):
        shapes.append(Line(_curve(curve), color, 2.5, dashed, title=name))
        y = _HEIGHT - _BOTTOM - 14 - 18 * place
        key = [(_LEFT + 12, y), (_LEFT + 40, y)]
        shapes.append(Line(key, color, 2.5, dashed))
        shapes.append(Text(_LEFT + 48, y + 4, name, "ink", "start"))
    return Drawing("precision against recall", _WIDTH, _HEIGHT, shapes)


def small_curve(
    name: str, curve: Float64Array, earlier: Float64Array | None
) -> Drawing:
    """Draw the precision-recall curve of one class, without scales, 120 x 60."""
    wide, tall = 120.0, 60.0
    points = _curve(curve, wide=wide, tall=tall - 2, left=0, top=1)
    area = [(0.0, tall), *points, (points[-1][0], tall)]
    shapes: list[Shape] = [
        Line([(0, tall), (wide, tall)], "line", 1),
        Line(area, "bar", filled=True, opacity=0.2),
    ]
    if earlier is not None:
        before = _curve(earlier, wide=wide, tall=tall - 2, left=0, top=1)
        shapes.append(Line(before, "earlier", 1.5, dashed=True))
    shapes.append(Line(points, "bar", 1.5))
    return Drawing(f"precision against recall of {name}", wide, tall, shapes)


def error_plot(errors: ErrorSplit, earlier: ErrorSplit | None) -> Drawing:
    """Draw what each kind of error costs, in points of mean AP."""
    now, past = _losses(errors), _losses(earlier) if earlier else {}
    most = max([0.01, *(v for v in [*now.values(), *past.values()] if v == v)])
    left, step, gap = 140.0, 30.0, 12.0
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
            wide = max(0.0, float(np.nan_to_num(value))) / most * (_WIDTH - left - 52)
            high = tall if top == y else 8
            shapes.append(Box(left, top, max(wide, 1), high, shade))
            if top == y:
                at = y + tall / 2 + 4
                text = "-" if np.isnan(value) else f"{100 * value:.1f}"
                shapes.append(Text(left + wide + 5, at, text, "ink", "start", 12))
    height = 6 + len(now) * step + gap
    if past:
        shapes.append(Text(_WIDTH - 6, height + 8, "grey: earlier test", anchor="end"))
        height += 16
    return Drawing("mean AP lost to each kind of error", _WIDTH, height, shapes)


def _losses(errors: ErrorSplit) -> dict[str, float]:
    return errors.lost | {
        "all false detections": errors.lost_false_positives,
        "all objects not found": errors.lost_false_negatives,
    }


def reliability_plot(calibrated: Calibration) -> Drawing:
    """Draw precision against score, and below it how many detections each bin has."""
    strip = 46.0
    shapes = _square_frame("score", "precision")
    wide, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    ground = _HEIGHT - _BOTTOM
    step = wide / len(calibrated.counts)
    most = max(int(calibrated.counts.max(initial=1)), 1)
    for place, (count, score, precision) in enumerate(
        zip(calibrated.counts, calibrated.scores, calibrated.precisions, strict=True)
    ):
        if not count:
            continue
        x = _LEFT + place * step + 1.5
        title = f"{count} detections, score {score:.2f}, precision {precision:.2f}"
        high = precision * tall
        shapes.append(Box(x, ground - high, step - 3, high, "bar", 0.85, title))
        share = np.log1p(count) / np.log1p(most) * (strip - 16)
        shapes.append(Box(x, _HEIGHT + 14, step - 3, share, "earlier", 0.7, title))
        shapes.append(
            Text(x + step / 2, _HEIGHT + 25 + share, count_text(int(count)), size=9.5)
        )
    shapes.append(
        Line([(_LEFT, ground), (_LEFT + wide, _TOP)], "mark", 1.5, dashed=True)
    )
    shapes.append(Text(_LEFT - 6, _HEIGHT + 24, "count", anchor="end", size=9.5))
    return Drawing(
        "precision against score, and detections per bin",
        _WIDTH,
        _HEIGHT + strip + 14,
        shapes,
    )


def group_plot(groups: Sequence[Group], names: Sequence[str], *, label: str) -> Drawing:
    """Draw the mean AP of groups of objects.

    Args:
        groups: of objects.
        names: of the groups.
        label: of the horizontal axis.
    """
    shapes = _square_frame(label, "mean AP", ticks=False)
    wide = _WIDTH - _LEFT - _RIGHT
    tall = _HEIGHT - _TOP - _BOTTOM - _HEADROOM
    ground = _HEIGHT - _BOTTOM
    step = wide / max(len(groups), 1)
    for place, (group, name) in enumerate(zip(groups, names, strict=True)):
        x = _LEFT + (place + 0.5) * step
        shapes.append(Text(x, ground + 13, name, "ink"))
        if np.isnan(group.ap):
            shapes.append(Text(x, ground - 5, "no objects"))
            continue
        high = group.ap * tall
        title = f"{name}: AP {group.ap:.3f}, {group.objects} objects"
        shapes.append(
            Box(x - step * 0.36, ground - high, step * 0.72, high, "bar", 0.85, title)
        )
        at = ground - high - 5
        text = f"{group.ap:.2f}  (n={count_text(group.objects)})"
        shapes.append(Text(x, at, text, "ink", size=10))
    return Drawing(f"mean AP by {label}", _WIDTH, _HEIGHT, shapes)


def _square_frame(below: str, beside: str, *, ticks: bool = True) -> list[Shape]:
    """Axes from 0 to 1 with a grid."""
    ground, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    tall = ground - _TOP - (0 if ticks else _HEADROOM)
    shapes: list[Shape] = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        y = ground - tick * tall
        shapes.append(Line([(_LEFT, y), (right, y)], "line", 1))
        shapes.append(Text(_LEFT - 6, y + 4, f"{tick:g}", anchor="end"))
        if ticks:
            x = _LEFT + tick * (right - _LEFT)
            shapes.append(Text(x, ground + 14, f"{tick:g}"))
    shapes.append(Text((_LEFT + right) / 2, _HEIGHT - 8, below, size=12))
    shapes.append(Text(4, 11, beside, anchor="start", size=12))
    return shapes


def _curve(
    curve: Float64Array,
    *,
    wide: float = _WIDTH - _LEFT - _RIGHT,
    tall: float = _HEIGHT - _TOP - _BOTTOM,
    left: float = _LEFT,
    top: float = _TOP,
) -> list[tuple[float, float]]:
    """Points of a monotone curve; of level runs only the ends are kept."""
    values = np.nan_to_num(curve)
    last = len(values) - 1
    bends = np.flatnonzero(np.diff(values) != 0)
    kept = sorted({0, last, *bends.tolist(), *(bends + 1).tolist()})
    return [(left + i / last * wide, top + (1 - values[i]) * tall) for i in kept]


def count_text(value: int) -> str:
    """A count in few letters."""
    return str(value) if value < 10000 else f"{value / 1000:.0f}k"
