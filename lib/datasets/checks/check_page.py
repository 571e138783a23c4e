"""The report as one self-contained HTML file: plots, tables and images."""

import math
from collections import Counter
from pathlib import Path

from markupsafe import Markup

from ...utils.files import write_atomic
from ...utils.pages.canvas import Drawing
from ...utils.pages.elements import Cell, Value, facts, table
from ...utils.pages.render import render
from .data_plots import bars, histogram, scatter
from .entries import KINDS
from .run_checks import Report
from .text import (
    Rows,
    class_table,
    coverage_lines,
    kind_table,
    recommended_setting,
    size_lines,
    verdict_words,
)
from .worst_images import worst_pictures

_ROWS = 2000


def write_page(path: Path, report: Report, *, pictures: int = 30) -> None:
    """Write the report as a page that needs no other file and no network."""
    defects = [["kind", "weight", "file", "what was found"]]
    for defect in report.defects[:_ROWS]:
        weight = KINDS[defect.kind].weight
        defects.append([defect.kind, weight, str(defect.file), defect.detail])
    page = render(
        "datasets/checks/check.html",
        name=report.name,
        verdict=report.verdict,
        words=verdict_words(report),
        facts=facts(data=report.name, recipe=report.coverage.recipe.name),
        advice=recommended_setting(report.coverage),
        poor=(report.coverage.poor, report.coverage.suggested_poor),
        sizes=size_lines(report),
        kinds=report.kinds and _table(kind_table(report), "kinds of defects"),
        defects=report.defects and _table(defects, "defects"),
        left=len(report.defects) - _ROWS,
        coverage=coverage_lines(report.coverage),
        plots=[plot for plot in _plots(report) if plot],
        classes=_classes(report),
        pictures=worst_pictures(report, most=pictures),
    )
    write_atomic(path, page)


def _plots(report: Report) -> list[Drawing | None]:
    coverage, recipe = report.coverage, report.coverage.recipe
    listed = [entry for entry in report.entries if entry.splits]
    totals = Counter(written.name for e in listed for written in e.objects)
    most = totals.most_common(40)
    sizes = [entry.size for entry in listed if min(entry.size) > 0]
    return [
        histogram(
            coverage.overlaps,
            label="objects by best IoU with an anchor",
            marks=(0.3, 0.5, 0.7),
            limits=(0, 1),
        ),
        histogram(
            coverage.objects.sides,
            label="side in network pixels; dashed: anchors",
            marks=recipe.sides,
            log=True,
        ),
        histogram(
            coverage.objects.ratios,
            label="height / width; dashed: anchors",
            marks=recipe.ratios,
            log=True,
        ),
        scatter(
            [width for width, _ in sizes],
            [height for _, height in sizes],
            label="width and height of images, pixels",
        ),
        histogram(
            [float(len(entry.objects)) for entry in listed],
            label="images by number of objects",
            whole=True,
        ),
        bars(
            [name for name, _ in most],
            [count for _, count in most],
            label="objects per class",
        ),
    ]


def _classes(report: Report) -> Markup:
    """Return the table of classes; its heads say what the columns count."""
    _, *rows = class_table(report)
    heads = [
        "class",
        *(f"objects in {split}" for split in report.splits),
        "images",
        "side, pixels",
        "height / width",
        "best IoU",
        "IoU below 0.5",
    ]
    return _table([heads, *rows], "classes")


def _table(rows: Rows, name: str) -> Markup:
    """Make a sortable table; columns of numbers are sorted by value."""
    columns = [_column(column) for column in zip(*rows[1:], strict=True)]
    return table(rows[0], [*zip(*columns, strict=True)], name=name)


def _column(texts: tuple[str, ...]) -> list[Value]:
    try:
        return [Cell(text, float(text or math.nan)) for text in texts]
    except ValueError:
        return [*texts]
