"""Significant differences of two results on the same images."""

import math
from dataclasses import dataclass

import numpy as np

from .bootstrap import Interval, interval, mean_aps
from .error_analysis import ErrorAnalysis
from .matches import Matches
from .overlaps import Float64Array
from .precision import average_precisions, mean_of_known


@dataclass(frozen=True, slots=True)
class Difference:
    """A number in two results.

    Attributes:
        earlier: AP in 0..1.
        later: AP in 0..1.
        change: later minus earlier.
        interval: range of the change in 95 % of the draws.
        p_value: probability of a change this large by chance.
        significant: whether the p-value is below 5 %; for a class, after Holm's
            correction for the number of classes.
    """

    earlier: float
    later: float
    change: float
    interval: Interval
    p_value: float
    significant: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """An earlier and a later result, class by class.

    Attributes:
        mean: difference of the mean AP.
        per_class: class name to its difference, for the classes that have objects.
    """

    mean: Difference
    per_class: dict[str, Difference]


def compare_results(earlier: ErrorAnalysis, later: ErrorAnalysis) -> Comparison:
    """Test which differences of two results hold among draws of the images.

    Both results use the same draws, so that an image's difficulty cancels. The p-value
    is two-sided, from the normal distribution with the draws' deviation.

    Args:
        earlier: analysis of one result.
        later: analysis of another one on the same data set, with the same number of
            resamples and the same seed.

    Raises:
        ValueError: the two differ in their images, objects or number of draws.
    """
    _check_alike(earlier.matches, later.matches)
    if earlier.draws.shape != later.draws.shape:
        raise ValueError(
            f"expected as many draws of both results, found {len(earlier.draws)} and "
            f"{len(later.draws)}; analyse both with the same resamples and seed"
        )
    aps = [_aps(analysis.matches) for analysis in (earlier, later)]
    names = earlier.matches.classes
    held = [c for c in range(len(names)) if not np.isnan(aps[0][c])]
    changes = later.draws - earlier.draws
    p_values = [_p_value(aps[1][c] - aps[0][c], changes[:, c]) for c in held]
    per_class = {
        names[c]: _difference(aps[0][c], aps[1][c], changes[:, c], p, sure)
        for c, p, sure in zip(held, p_values, holm(p_values), strict=True)
    }
    before, after = (mean_of_known(values) for values in aps)
    change = mean_aps(later.draws) - mean_aps(earlier.draws)
    p = _p_value(after - before, change)
    return Comparison(_difference(before, after, change, p, p < 0.05), per_class)


def _check_alike(earlier: Matches, later: Matches) -> None:
    same = (
        earlier.classes == later.classes
        and earlier.images == later.images
        and np.array_equal(earlier.objects.boxes, later.objects.boxes)
        and np.array_equal(earlier.objects.images, later.objects.images)
    )
    if not same:
        raise ValueError(
            f"expected two results on the same data set, found {earlier.images} images "
            f"with {len(earlier.objects.boxes)} objects and {later.images} images with "
            f"{len(later.objects.boxes)} objects, or other classes; test both again on "
            "one set"
        )


def holm(p_values: list[float], *, level: float = 0.05) -> list[bool]:
    """Select the tests that hold if none may be wrong by chance (Holm 1979)."""
    held = [False] * len(p_values)
    for rank, test in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[test] >= level / (len(p_values) - rank):
            break
        held[test] = True
    return held


def _aps(matches: Matches) -> Float64Array:
    kept, found = ~matches.ignored, matches.found
    objects = matches.count_objects()
    aps = average_precisions(
        found.scores[kept], found.classes[kept], matches.true[kept], objects
    )
    aps[objects == 0] = np.nan
    return aps


def _difference(
    earlier: float,
    later: float,
    changes: Float64Array,
    p_value: float,
    significant: bool,
) -> Difference:
    return Difference(
        float(earlier),
        float(later),
        float(later - earlier),
        interval(changes),
        p_value,
        significant,
    )


def _p_value(change: float, changes: Float64Array) -> float:
    # Equal draws, as for a class in only one image, cannot rule out chance.
    known = changes[~np.isnan(changes)]
    deviation = float(known.std()) if len(known) else 0.0
    return math.erfc(abs(change) / deviation / 2**0.5) if deviation else 1.0
