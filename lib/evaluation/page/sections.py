"""The contents of the report's sections: summary, classes, errors, comparison."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from ...utils.pages.elements import Cell, Head, Value, shown, table
from ..analysis.breakdown import Group
from ..analysis.comparison import Comparison, Difference
from ..analysis.error_analysis import ErrorAnalysis
from ..analysis.error_costs import KINDS
from ..analysis.instance_quality import PCK, KeypointQuality, MaskOverlaps
from ..analysis.matches import Matches
from ..results_summary import Evaluation, heading
from ..tasks import Task
from .plots import RATIOS, SIZES, class_curves, small_curve

_TASKS: dict[Task, str] = {"bbox": "boxes", "segm": "masks", "keypoints": "keypoints"}
_OVERLAP: dict[Task, str] = {"bbox": "IoU", "segm": "IoU", "keypoints": "OKS"}

_MEANING = {
    "classification": "well placed on an object of another class (IoU above 0.5)",
    "localisation": "right class, but poorly placed (IoU 0.1 to 0.5)",
    "both": "wrong class, and poorly placed",
    "duplicate": "well placed on an object that a higher-scoring detection matches",
    "background": "no object at this place (IoU 0.1 or less with every object)",
    "missed": "an object without a true, classification or localisation detection",
}


def summary(
    evaluation: Evaluation, analysis: ErrorAnalysis, settings: Mapping[str, object]
) -> dict[str, object]:
    """Return the headline numbers, all totals and the settings of the test."""
    name, value = evaluation.headline
    ignored = evaluation.ignored
    tiles = [
        (heading(name), shown(value), "the headline"),
        *(
            (
                f"AP of {_TASKS[task]}",
                shown(result.metrics["AP"]),
                f"{shown(result.metrics['AP50'])} at {_OVERLAP[task]} 0.5",
            )
            for task, result in evaluation.instances.items()
        ),
        (
            "mAP at IoU 0.5",
            shown(analysis.errors.ap),
            _range(*analysis.mean_interval),
        ),
        ("images", str(evaluation.images), ""),
        (
            "objects",
            str(sum(evaluation.objects.values())),
            f"and {ignored} that do not count" if ignored else "",
        ),
        ("detections", str(evaluation.detections), ""),
        ("calibration error", shown(analysis.calibration.ece), "0 is perfect"),
    ]
    totals = [(heading(key), v) for key, v in evaluation.totals.items()]
    groups = evaluation.by_frequency.items()
    totals += [(f"AP of {group} classes", ap) for group, (ap, _) in groups]
    given = [(key, str(value)) for key, value in settings.items()]
    hint = evaluation.table().splitlines()[-1]
    return {
        "warning": hint if value == 0 or math.isnan(value) else "",
        "tiles": tiles,
        "totals": table(["metric", "value"], totals, name="all numbers"),
        "settings": given and table(["setting", "value"], given, name="settings"),
    }


def classes(evaluation: Evaluation, analysis: ErrorAnalysis) -> dict[str, object]:
    """Return a table of all numbers by class, and a small curve of each class."""
    matches, best = analysis.matches, analysis.thresholds
    columns = evaluation.class_columns
    found = np.bincount(matches.found.classes, minlength=len(matches.classes))
    rows: list[list[Value]] = []
    trained = evaluation.train_images
    for c, name in enumerate(matches.classes[1:], start=1):
        interval = analysis.class_intervals[c]
        at_best = [float(v[c]) for v in (best.f1, best.precision, best.recall)]
        rows.append(
            [
                name,
                evaluation.objects[name],
                *([trained.get(name, 0)] if trained else []),
                int(found[c]),
                *(values[name] for values in columns.values()),
                Cell(_range(*interval), interval.low),
                Cell(shown(float(best.scores[c]), 2), float(best.scores[c])),
                *(Cell(shown(value, 3), value) for value in at_best),
            ]
        )
    heads: list[Head] = [
        "class",
        "objects",
        *([("trained on", "training images with this class")] if trained else []),
        ("detections", "at any score"),
        *((heading(column), "average precision") for column in columns),
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


def instances(
    overlaps: MaskOverlaps | None,
    quality: KeypointQuality | None,
    analysis: ErrorAnalysis,
) -> dict[str, object]:
    """Return tables of the masks' overlaps by class, and of each keypoint."""
    return {
        "masks": overlaps and _mask_table(overlaps, analysis.matches),
        "keypoints": quality and _keypoint_table(quality),
    }


def _mask_table(overlaps: MaskOverlaps, matches: Matches) -> Markup:
    classes = matches.found.classes[overlaps.detections]
    rows: list[list[Value]] = []
    for c, name in enumerate(matches.classes[1:], start=1):
        ious = overlaps.ious[classes == c]
        if len(ious):
            low = float((ious < 0.5).mean())
            values = float(ious.mean()), float(np.median(ious))
            rows.append([name, len(ious), *values, Cell(f"{low:.1%}", low)])
    heads: list[Head] = [
        "class",
        ("found", "objects with a true detection, at any score"),
        ("mean IoU", "of the masks of objects found"),
        "median IoU",
        ("below 0.5", "share of masks with a lower IoU"),
    ]
    return table(heads, rows, name="overlap of masks by class", by_class=True)


def _keypoint_table(quality: KeypointQuality) -> Markup:
    rows: list[list[Value]] = [
        [
            name,
            int(quality.labelled[k]),
            *(float(values[k]) for values in quality.correct),
            float(quality.oks[k]),
            Cell(shown(float(quality.distances[k]), 1), float(quality.distances[k])),
        ]
        for k, name in enumerate(quality.names)
    ]
    heads: list[Head] = [
        "keypoint",
        ("labelled", "in objects with a true detection, at any score"),
        *(
            (f"PCK@{part}", f"share within {part} of the box's longer side")
            for part in PCK
        ),
        ("OKS", "mean similarity of this keypoint alone"),
        ("distance", "median, in pixels of the image"),
    ]
    return table(heads, rows, name="accuracy of keypoints")


def errors(analysis: ErrorAnalysis) -> dict[str, object]:
    """Return the number of errors of each kind, and captions of the plots."""
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
    """Return a table of the most confused pairs of classes; empty if there are none."""
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
    heads: list[Head] = ["object", "detected as", "times", share_head]
    return table(heads, rows, name="most confused classes") if rows else Markup()


def compared(
    label: str,
    evaluations: tuple[Evaluation, Evaluation],
    analyses: tuple[ErrorAnalysis, ErrorAnalysis],
    comparison: Comparison,
) -> dict[str, object]:
    """Return numbers, classes and curves of an earlier test beside this one's.

    Args:
        evaluations: of the earlier test and of this one.
        analyses: of the earlier test and of this one.
    """
    before, after = (evaluation.totals for evaluation in evaluations)
    mean = comparison.mean
    verdict = (
        f"mean AP (IoU 0.5) {shown(mean.earlier)} → {shown(mean.later)}, "
        f"{_signed(mean.change)} (95 % {_signed(mean.interval.low)} to "
        f"{_signed(mean.interval.high)}): "
        + ("more than chance" if mean.significant else "may be chance")
    )
    totals: list[list[Value]] = [
        [heading(key), before[key], value, _change(value - before[key])]
        for key, value in after.items()
        if key in before
    ]
    rows = [_class_row(name, each) for name, each in comparison.per_class.items()]
    sure = sum(each.significant for each in comparison.per_class.values())
    heads: list[Head] = [
        *("class", "earlier", "now", "change"),
        ("95 %", "interval of the change"),
        ("p", "probability of such a change by chance"),
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
    kind = "good" if value > 0 else "bad" if value < 0 else ""
    return Cell(_signed(value), value, kind)


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.4f}"


def _lowest(groups: Sequence[Group], names: Sequence[str], what: str) -> str:
    """Return the caption of a plot by group, which names the lowest bar."""
    pairs = zip(groups, names, strict=True)
    known = [(group.ap, name) for group, name in pairs if not math.isnan(group.ap)]
    text = f"Mean AP (IoU 0.5) by {what} of the objects"
    if not known:
        return f"{text}."
    ap, name = min(known)
    return f"{text}; lowest at {name} ({ap:.2f})."


def _range(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{low:.3f} to {high:.3f}"
