"""Significant differences of two results on the same images."""

import math
from dataclasses import dataclass, replace

import numpy as np

from ..voc_matching import Float64Array
from .bootstrap import Interval, interval, mean_aps
from .error_analysis import ErrorAnalysis
from .matches import Matches
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
    names, aps = earlier.matches.classes, [_aps(earlier.matches), _aps(later.matches)]
    changes = later.draws - earlier.draws
    found = {
        name: _difference(before, after, changes[:, c])
        for c, (name, before, after) in enumerate(zip(names, *aps, strict=True))
        if not np.isnan(before)
    }
    sure = holm([each.p_value for each in found.values()])
    per_class = {
        name: replace(each, significant=held)
        for (name, each), held in zip(found.items(), sure, strict=True)
    }
    before, after = map(mean_of_known, aps)
    means = mean_aps(later.draws) - mean_aps(earlier.draws)
    return Comparison(_difference(before, after, means), per_class)


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
    objects = matches.count_objects()
    aps = average_precisions(*matches.counted(), objects)
    aps[objects == 0] = np.nan
    return aps


def _difference(before: float, after: float, changes: Float64Array) -> Difference:
    """Compare two values, with their changes ``(B,)`` in the draws."""
    change = float(after - before)
    # Equal draws, as for a class in only one image, cannot rule out chance.
    known = changes[~np.isnan(changes)]
    deviation = float(known.std()) if len(known) else 0.0
    p_value = math.erfc(abs(change) / deviation / 2**0.5) if deviation else 1.0
    return Difference(
        float(before), float(after), change, interval(changes), p_value, p_value < 0.05
    )
