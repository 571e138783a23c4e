"""Confidence intervals of average precision over other draws of the images.

The images are drawn with replacement (Efron 1979); an image drawn twice counts twice.
Instead of building each draw, its images get integer weights, and precision is computed
from sums of weights, for many draws at once.

    I  images
    B  draws
    T  true detections of one class
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..voc_matching import Float64Array
from .matches import Matches
from .precision import rows_by_class

_BLOCK = 64  # draws at once: their weights stay in a core's cache


class Interval(NamedTuple):
    """The range of 95 % of the draws; NaN for an AP that was not measured."""

    low: float
    high: float


def bootstrap_aps(
    matches: Matches, *, resamples: int = 1000, seed: int = 0
) -> Float64Array:
    """Compute the AP of every class for many draws of the images.

    Two results on the same data set get the same draws from the same seed, so that
    their rows can be compared in pairs.

    Args:
        resamples: B.

    Returns:
        ``(B, C)`` area under the monotone curve, in 0..1; NaN where a draw has no
        object of the class.

    Raises:
        ValueError: ``resamples`` is less than 1.
    """
    if resamples < 1:
        raise ValueError(f"expected one resample or more, found {resamples}")
    size, images = len(matches.classes), matches.images
    found, objects = matches.found, matches.objects
    kept = np.flatnonzero(~matches.ignored)
    groups = []
    for rows in rows_by_class(found.scores[kept], found.classes[kept], size):
        hits = np.flatnonzero(matches.true[kept[rows]])
        shown = rows[: hits[-1] + 1 if len(hits) else 0]  # up to the last true one
        groups.append((found.images[kept[shown]], hits))
    counted = ~objects.ignored
    holders = [objects.images[counted & (objects.classes == c)] for c in range(size)]
    rng = np.random.default_rng(seed)
    aps = np.full((resamples, size), np.nan)
    for start in range(0, resamples if images else 0, _BLOCK):
        # Whole blocks, so that the draws do not depend on the requested number.
        draws = rng.integers(0, images, (_BLOCK, images))
        stop = min(start + _BLOCK, resamples)
        weights = _weights(draws, images)[:, : stop - start]
        for c in range(1, size):
            if len(holders[c]):
                aps[start:stop, c] = _weighted_aps(weights, *groups[c], holders[c])
    return aps


def mean_aps(aps: Float64Array) -> Float64Array:
    """Average ``(B, C)`` over the measured classes: ``(B,)``."""
    known = ~np.isnan(aps)
    counts = known.sum(axis=1)
    sums = np.where(known, aps, 0).sum(axis=1)
    means: Float64Array = sums / np.where(counts, counts, np.nan)
    return means


def interval(values: Float64Array, *, share: float = 0.95) -> Interval:
    """Return the middle ``share`` of ``(B,)`` values, ignoring NaN."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - share) / 2, (1 + share) / 2])
    return Interval(float(low), float(high))


def _weights(draws: npt.NDArray[np.int64], images: int) -> npt.NDArray[np.float32]:
    """Count how often each draw ``(B, I)`` has each image: ``(I, B)``."""
    places = draws + images * np.arange(len(draws))[:, None]
    counts = np.bincount(places.ravel(), minlength=images * len(draws))
    weights: npt.NDArray[np.float32] = counts.reshape(len(draws), images).T.astype(
        np.float32, order="C"
    )
    return weights


def _weighted_aps(
    weights: npt.NDArray[np.float32],
    images: npt.NDArray[np.int64],
    hits: npt.NDArray[np.int64],
    holders: npt.NDArray[np.int64],
) -> Float64Array:
    """Compute the AP ``(B,)`` of one class.

    Args:
        weights: ``(I, B)``.
        images: images of the detections, best score first, up to the last true one.
        hits: ``(T,)`` rows of the true detections.
        holders: image of each object.
    """
    objects: Float64Array = weights[holders].sum(axis=0, dtype=np.float64)
    objects[objects == 0] = np.nan
    if not len(hits):
        return 0 * objects
    # Sums over the run that ends with each true detection; integers, so exact.
    starts = np.append(0, hits[:-1] + 1)
    shown = np.cumsum(np.add.reduceat(weights[images], starts, axis=0), axis=0)
    gained = weights[images[hits]]
    precision = np.cumsum(gained, axis=0) / np.maximum(shown, 1)
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    area: Float64Array = (gained * best).sum(axis=0, dtype=np.float64)
    area /= objects
    return area
