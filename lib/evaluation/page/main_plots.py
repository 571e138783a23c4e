"""The plots that stand in the page and beside it as PNG files."""

from collections.abc import Mapping

import numpy as np

from ...utils.pages.canvas import Drawing
from ..analysis.error_analysis import ErrorAnalysis
from ..analysis.overlaps import Float64Array
from ..analysis.precision import precision_curves
from .matrix_plot import confusion_plot
from .plots import curve_plot, error_plot, group_plot, reliability_plot

SIZES = ("< 16", "16-32", "32-96", "96-288", "288+")
"""Names of the groups of ``ap_by_size``."""

RATIOS = ("< 1:3", "1:3-2:3", "2:3-3:2", "3:2-3:1", "> 3:1")
"""Names of the groups of ``ap_by_ratio``."""

_MATRIX_CLASSES = 40


def class_curves(analysis: ErrorAnalysis) -> dict[str, Float64Array]:
    """Precision at 101 recalls of each class that has objects."""
    matches = analysis.matches
    kept, found = ~matches.ignored, matches.found
    objects = matches.count_objects()
    curves = precision_curves(
        found.scores[kept], found.classes[kept], matches.true[kept], objects
    )
    return {
        name: curves[c] for c, name in enumerate(matches.classes) if c and objects[c]
    }


def main_plots(
    analysis: ErrorAnalysis, earlier: ErrorAnalysis | None = None
) -> dict[str, Drawing]:
    """Draw the plots that also become PNG files, by the file's stem."""
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


def _mean(curves: Mapping[str, Float64Array]) -> Float64Array:
    if not curves:
        return np.zeros(101)
    mean: Float64Array = np.mean(list(curves.values()), axis=0)
    return mean
