"""Interleaved timing of functions that compute the same result."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Call = Callable[[], tuple[Tensor, ...]]

BFLOAT16 = "bfloat16"
"""The variant whose values are compared less strictly."""

_MIB = 1 << 20

_BLOCK = 0.02
"""Seconds that the calls of one round should take at least."""


class Ratio(NamedTuple):
    """A speed-up: the ratio of the medians, and the quartiles of the rounds' ratios."""

    of_medians: float
    low: float
    high: float


def time_rounds(
    calls: Mapping[str, Call], *, repeats: int, device: torch.device, limit: float = 8.0
) -> dict[str, list[float]]:
    """Time functions in rounds, so that a slow moment of the machine affects them all.

    Each round calls every function once or, on a CPU, repeatedly for 20 ms after a
    warm-up call, because a short call after long ones does not find its code in the
    caches.

    Args:
        calls: functions by name, called in this order.
        repeats: rounds.
        device: device of the computation.
        limit: seconds after which fewer rounds than ``repeats`` suffice, at least 5.

    Returns:
        Seconds of each round by name, without warm-up.
    """
    timer = _CudaTimer(device) if device.type == "cuda" else _cpu_seconds
    for call in calls.values():
        call()
    estimates = {name: timer(call) for name, call in calls.items()}
    block = _BLOCK if device.type == "cpu" else 0.0  # on GPUs caches are emptied
    times = {n: max(1, min(100, int(block / one))) for n, one in estimates.items()}
    rounds = min(repeats, max(5, int(limit / sum(estimates.values()))))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            if times[name] > 1:
                call()
            taken = timer(_repeated(call, times[name]))
            seconds[name].append(taken / times[name])
    return seconds


def _repeated(call: Call, times: int) -> Call:
    def calls() -> tuple[Tensor, ...]:
        for _ in range(times - 1):
            call()
        return call()

    return calls


def _cpu_seconds(call: Call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


class _CudaTimer:
    """Measure seconds between two events on the device.

    Before the first event a buffer is written repeatedly: this flushes the caches, and
    lets the host run ahead, so that launches are not measured, except if the host waits
    for the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.buffer = torch.empty(256 * _MIB, dtype=torch.uint8, device=device)

    def __call__(self, call: Call) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(self.buffer.device)
        for _ in range(20):
            self.buffer.fill_(0)
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000


def copy_bandwidth(device: torch.device) -> float:
    """Measure bytes per second, read and written, of a 1 GiB copy: the best of five."""
    source = torch.zeros(1024 * _MIB, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    calls = {"copy": lambda: (target.copy_(source),)}
    seconds = time_rounds(calls, repeats=5, device=device)["copy"]
    return 2 * source.numel() / min(seconds)


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Return how many times as fast ours is, from seconds of the same rounds."""
    low, high = np.percentile(np.divide(theirs, ours), (25, 75))
    return Ratio(float(np.median(theirs) / np.median(ours)), float(low), float(high))


def check_equal(
    found: Sequence[Tensor],
    expected: Sequence[Tensor],
    *,
    what: str,
    tolerance: float = 1e-5,
    strays: float = 0.0,
) -> None:
    """Check that two functions computed the same result.

    Args:
        found: tensors of the first function.
        expected: tensors of the second function.
        what: name of the computation in the error.
        tolerance: tolerance of floating-point numbers, relative to the largest; other
            types must be equal.
        strays: fraction of the floating-point numbers that may differ more.

    Raises:
        ValueError: they differ.
    """
    for a, b in zip(found, expected, strict=True):
        if a.shape != b.shape:
            raise ValueError(f"{what}: shape {tuple(a.shape)}, not {tuple(b.shape)}")
        if not b.is_floating_point():
            count = int((a != b).sum())
            if count:
                raise ValueError(f"{what}: {count} of {b.numel()} indices differ")
        elif b.numel():
            errors = (a.to(b.dtype) - b).abs() / b.abs().max()
            count = int((~(errors <= tolerance)).sum())
            if count > strays * b.numel():
                raise ValueError(
                    f"{what}: {count} of {b.numel()} values differ, by up to "
                    f"{float(errors.max()):.1e} of the largest; expected "
                    f"{tolerance:.0e} at most"
                )


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: what is computed.
        ours: our function in its variants, the one that the network runs first.
        rival: name of the other implementation.
        theirs: its function.
        wanted: target for how many times as fast ours is; None if there is none.
        least_bytes: bytes that must be read and written, by variant.
        expected: function whose result ours must equal; if None, ``theirs``.
        strays: fraction of the numbers that may differ: if two samples are equal up to
            rounding, either may be the maximum and receive the gradient.
    """

    name: str
    ours: dict[str, Call]
    rival: str
    theirs: Call
    wanted: float | None
    least_bytes: dict[str, int]
    expected: Call | None = None
    strays: float = 0.0

    def check(self) -> None:
        """Check that all variants compute the same result.

        Raises:
            ValueError: results differ; the message names the variant.
        """
        expected = (self.expected or self.theirs)()
        for variant, call in self.ours.items():
            check_equal(
                call(),
                expected,
                what=f"{self.name}, {variant}",
                tolerance=2**-8 if variant == BFLOAT16 else 1e-5,
                strays=self.strays,
            )
