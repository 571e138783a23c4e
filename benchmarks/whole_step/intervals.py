"""Confidence intervals of ratios of times, and rounds that end when they are narrow."""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

_Name = TypeVar("_Name", bound=Hashable)

Seconds = dict[_Name, list[float]]

LEAST_ROUNDS = 10
"""Below, resampling says too little of how the medians vary."""


class Interval(NamedTuple):
    """A speed-up: the ratio of medians with its 95 % interval."""

    ratio: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """Return the width of the interval, relative to the ratio."""
        return (self.high - self.low) / self.ratio


def ratio_interval(
    theirs: Sequence[float], ours: Sequence[float], *, resamples: int = 2000
) -> Interval:
    """Compute the ratio of medians, and the interval of 95 % of resampled ratios.

    Rounds are resampled as pairs, since a slow moment of the machine affects both.

    Args:
        theirs: seconds of each round.
        ours: seconds of the same rounds.
        resamples: number of resamples with replacement (bootstrap).

    Raises:
        ValueError: the numbers of rounds differ or are zero.
    """
    if len(theirs) != len(ours) or len(ours) == 0:
        raise ValueError(
            f"expected the same rounds of both, found {len(theirs)} and {len(ours)}"
        )
    times = np.array([theirs, ours])  # (2, rounds)
    drawn = np.random.default_rng(0).integers(len(ours), size=(resamples, len(ours)))
    medians = np.median(times[:, drawn], axis=2)  # (2, resamples)
    low, high = np.percentile(medians[0] / medians[1], (2.5, 97.5))
    found = np.median(times, axis=1)
    return Interval(float(found[0] / found[1]), float(low), float(high))


def time_until(
    calls: Mapping[_Name, Callable[[], float]],
    *,
    until: float,
    limit: float,
    repeats: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Seconds[_Name]:
    """Call all functions in turn until their ratios to the first are precise enough.

    Every second round runs in reverse order, so that predecessors vary.

    Args:
        calls: functions that return their seconds, already warmed up.
        until: largest relative width of a ratio's 95 % interval.
        limit: seconds after which no new round begins.
        repeats: fixed number of rounds; if None, until ``until`` or ``limit``.
        clock: clock for ``limit``.

    Returns:
        Seconds of each round by name.
    """
    seconds: Seconds[_Name] = {name: [] for name in calls}
    names, started = list(calls), clock()
    while True:
        done = len(seconds[names[0]])
        if repeats is not None:
            if done >= repeats:
                return seconds
        elif done and (clock() - started > limit or _known(seconds, until)):
            return seconds
        for name in names if done % 2 == 0 else reversed(names):
            seconds[name].append(calls[name]())


def _known(seconds: Seconds[_Name], until: float) -> bool:
    first, *others = seconds.values()
    if len(first) < LEAST_ROUNDS:
        return False
    if not others:  # the median alone
        others = [[1.0] * len(first)]
    return all(ratio_interval(other, first).width <= until for other in others)
