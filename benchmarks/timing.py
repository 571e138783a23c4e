"""Interleaved timing of rival functions that compute the same."""

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
    """How many times as fast: of the medians, and the quartiles of the rounds'."""

    of_medians: float
    low: float
    high: float


def time_rounds(
    calls: Mapping[str, Call], *, repeats: int, device: torch.device, limit: float = 8.0
) -> dict[str, list[float]]:
    """Time functions in rounds, so that a slow moment of the machine meets all.

    In a round each is called once, or, on a CPU, as often as fills 20 ms, after one
    call that does not count: a call of microseconds after others of milliseconds finds
    the caches without its code.

    Args:
        calls: functions by name, called in this order.
        repeats: rounds.
        device: where they compute.
        limit: seconds after which less rounds than ``repeats`` will do, but 5.

    Returns:
        Seconds of each round, by name; warm-up is left out.
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
    """Seconds between two events on the device.

    First a buffer is written again and again: the caches are emptied, and the host gets
    so far ahead that its launches take no part, except where it waits for the device.
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
    """Bytes read and written per second by a copy of 1 GiB, the best of five."""
    source = torch.zeros(1024 * _MIB, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    calls = {"copy": lambda: (target.copy_(source),)}
    seconds = time_rounds(calls, repeats=5, device=device)["copy"]
    return 2 * source.numel() / min(seconds)


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    """How many times as fast as theirs ours is, from seconds of the same rounds."""
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
    """See that two functions computed the same before they are timed.

    Args:
        found: tensors of the one.
        expected: tensors of the other.
        what: their name in the error.
        tolerance: of floating-point numbers, relative to the largest; others must be
            equal.
        strays: share of the floating-point numbers that may differ more.

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
        rival: who computes the same.
        theirs: its function.
        wanted: how many times as fast ours should be, None if nothing was asked.
        least_bytes: what must be read and written, by variant.
        expected: gives what ours must equal; None: what the rival gives.
        strays: share of the numbers that may differ: where two samples are equal but
            for rounding, either may be the maximum, and take the gradient.
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
        """See that all compute the same.

        Raises:
            ValueError: they do not; the message says which.
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
