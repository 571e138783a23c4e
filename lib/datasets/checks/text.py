"""The report as text: lines for a terminal, tables for both terminal and page."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from ...utils.printable import printable
from ...utils.tables import aligned
from ..records import BOX_FAULTS
from .coverage import POOR, Array, Coverage
from .entries import KINDS, REFUSED
from .run_checks import Report

Rows = list[list[str]]


def class_table(report: Report) -> Rows:
    """Return a head and one row per class: objects by split, images, size, coverage."""
    splits = list(report.splits)
    objects: Counter[tuple[str, str]] = Counter()
    images: Counter[str] = Counter()
    for entry in report.entries:
        for split in entry.splits:
            objects.update((split, written.name) for written in entry.objects)
        images.update({w.name for w in entry.objects} if entry.splits else ())
    coverage = report.coverage
    measured: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(coverage.objects.names):
        measured[name].append(row)
    sides, ratios = coverage.objects.sides, coverage.objects.ratios
    head = ["class", *splits, "images", "side", "h / w", "best IoU", "below .5"]
    rows = [head]
    for name in sorted({*report.classes, *(name for _, name in objects)}):
        own = measured[name]
        counts = [str(objects[split, name]) for split in splits]
        facts = ["", "", "", ""]
        if own:
            overlaps = coverage.overlaps[own]
            facts = [
                f"{np.median(sides[own]):.0f}",
                f"{np.median(ratios[own]):.2f}",
                f"{overlaps.mean():.2f}",
                str(int((overlaps < POOR).sum())),
            ]
        rows.append([name, *counts, str(images[name]), *facts])
    return rows


def kind_table(report: Report) -> Rows:
    """Return a head and one row per kind of defect found."""
    rows = [["kind", "count", "weight", "meaning"]]
    for kind, count in report.kinds.items():
        weight = KINDS[kind].weight
        rows.append([kind, str(count), weight, KINDS[kind].meaning])
    return rows


def coverage_lines(coverage: Coverage) -> list[str]:
    """Describe how well the anchors cover the objects."""
    recipe, total = coverage.recipe, len(coverage.overlaps)
    if not total:
        return ["no object to measure anchors on"]
    lines = [
        f"anchors of {recipe.name}: sides {numbers(recipe.sides)} px at strides "
        f"{numbers(recipe.strides)}, short side {recipe.short_side}: best IoU "
        f"{coverage.overlaps.mean():.3f} on average, below {POOR} for {coverage.poor} "
        f"of {total} objects ({100 * coverage.poor / total:.1f} %)",
        f"of those, {coverage.at_border} only because training anchors stay inside the "
        f"image (rpn.border {recipe.border:g})",
    ]
    setting, left = recommended_setting(coverage), coverage.suggested_poor
    advice = [f"try {setting}: below {POOR} for {left}"] if setting else []
    if len(recipe.strides) > 1:
        return lines + advice
    lines.append(
        f"scales by the objects' sizes: {numbers(coverage.suggested)}: "
        f"{coverage.suggested_overlaps.mean():.3f} on average, below {POOR} for "
        f"{coverage.suggested_poor}"
    )
    small, scale = coverage.small
    if small:
        lines.append(
            f"objects too small for the smallest scale: {small}; scale {scale:g} would "
            "suit them"
        )
    lines += advice
    if coverage.suggested and min(coverage.suggested) < 1:
        lines.append(
            "many objects are smaller than a cell of the feature map; larger images "
            "(data.short_sides, data.long_side) help more than smaller anchors"
        )
    return lines


def recommended_setting(coverage: Coverage) -> str:
    """Return the option to paste that makes anchors meet more objects, if there is one.

    Its scales leave fewer objects without an anchor that meets them by half.
    """
    if not coverage.suggested or coverage.suggested_poor >= coverage.poor:
        return ""
    values = ", ".join(f"{scale:g}" for scale in coverage.suggested)
    return f'--set anchors.scales "[{values}]"'


def verdict_words(report: Report) -> str:
    """Say whether training is possible, what it leaves out, and what to look at."""
    counts = {kind: n for kind, n in report.kinds.items() if KINDS[kind].look}
    if REFUSED in counts:
        others = sum(counts.values()) - counts[REFUSED]
        errors = numbered(counts[REFUSED], "error")
        return f"cannot train: {errors}" + (
            f", {others} more to look at" * (others > 0)
        )
    warned = counts.pop("training warns", 0)
    clipped = counts.pop("clipped box", 0)
    left_out = sum(counts.pop(kind, 0) for kind in BOX_FAULTS)
    parts = [
        *([f"{numbered(left_out, 'box')} left out"] if left_out else []),
        *([f"{numbered(clipped, 'box')} clipped"] if clipped else []),
        *([numbered(warned, "warning")] if warned else []),
    ]
    if counts:
        listed = ", ".join(f"{kind} ({n})" for kind, n in counts.items())
        parts.append(f"look at {listed}")
    return "; ".join(["trains", *parts])


def numbered(count: int, noun: str) -> str:
    """Return a number and its noun: 1 box, 2 boxes."""
    ending = "" if count == 1 else "es" if noun.endswith("x") else "s"
    return f"{count} {noun}{ending}"


def size_lines(report: Report) -> list[str]:
    """Describe the images and objects."""
    sizes = Counter(e.size for e in report.entries if e.splits and min(e.size) > 0)
    coverage = report.coverage
    lines = [", ".join(f"{s}: {count} images" for s, count in report.splits.items())]
    if sizes:
        (width, height), count = sizes.most_common(1)[0]
        lines.append(
            f"image sizes: {len(sizes)}, most often {width} x {height} ({count} x); "
            "least - median - largest: width "
            f"{spread([w for (w, _), n in sizes.items() for _ in range(n)])}, "
            f"height {spread([h for (_, h), n in sizes.items() for _ in range(n)])}"
        )
    objects = coverage.objects
    if len(objects.boxes):
        lines.append(
            "objects, in pixels of the network input, likewise: side (root of the "
            f"area) {spread(objects.sides)}; height / width "
            f"{spread(objects.ratios, digits=2)}"
        )
    return lines


def spread(values: Sequence[float] | Array, *, digits: int = 0) -> str:
    """Return least, median and largest value."""
    low, middle, high = np.quantile(values, [0, 0.5, 1])
    return f"{low:.{digits}f} - {middle:.{digits}f} - {high:.{digits}f}"


def numbers(values: Sequence[float]) -> str:
    """List numbers, without trailing zeros."""
    return " ".join(f"{value:g}" for value in values)


def report_text(report: Report, *, shown: int = 5) -> str:
    """Return the report for a terminal, with `shown` defects of each kind."""
    blocks = [[report.name, *size_lines(report)], aligned(class_table(report))]
    blocks.append(coverage_lines(report.coverage))
    for kind, count in report.kinds.items():
        weight = "" if KINDS[kind].look else f" ({KINDS[kind].weight})"
        lines = [f"{count} x {kind}{weight}: {KINDS[kind].meaning}"]
        own = [defect for defect in report.defects if defect.kind == kind]
        lines += [f"  {printable(f'{d.file}: {d.detail}')}" for d in own[:shown]]
        if count > shown:
            lines.append(f"  and {count - shown} more")
        blocks.append(lines)
    blocks.append([verdict_words(report)])
    return "\n\n".join("\n".join(block) for block in blocks)
