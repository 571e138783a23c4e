"""Compute in as many threads as other programs leave cores free.

The threads of a convolution wait for the slowest of them. If one shares its core with
another program, all lose that time: on two cores beside one busy program, two threads
are slower than one. So the commands measure every few seconds what others use.
"""

import logging
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import torch

from .distributed.rank import find_rank

logger = logging.getLogger(__name__)

_EVERY_SECONDS = 2.0
_STAT = Path("/proc/stat")
_IDLE = (3, 4)  # of a processor's numbers in /proc/stat: idle, and waiting for a disk
_GUEST = 8  # these and the following ones are contained in the others
# Cores that others may use of those the threads occupy: before a thread is given up,
# and before one is added.
_LESS, _MORE = 0.4, 0.2
_CALM = 2  # measurements in a row before a thread is added


class Usage(NamedTuple):
    """Seconds used up to now.

    Attributes:
        clock: wall-clock time.
        all: of this process's cores, by all programs.
        own: by this process and its children.
    """

    clock: float
    all: float
    own: float


class CoreShare:
    """The number of threads of a process on cores that others use too.

    Args:
        threads: most threads, and the number at the start.
        cores: number of this process's cores.
        measure: returns the usage up to now.
    """

    def __init__(self, threads: int, cores: int, measure: Callable[[], Usage]) -> None:
        self.most = self.threads = threads
        self._cores = cores
        self._measure = measure
        self._before = measure()
        self._calm = 0
        self._told = False

    def adapt(self) -> None:
        """Set the number of PyTorch's threads, if it is time to measure again."""
        if time.monotonic() - self._before.clock < _EVERY_SECONDS:
            return
        before, now = self._before, self._measure()
        self._before = now
        used = now.all - before.all - (now.own - before.own)
        wanted = self.choose(max(0.0, used) / (now.clock - before.clock))
        if wanted == self.threads:
            return
        logger.log(
            logging.DEBUG if self._told else logging.INFO,
            "other programs use %.1f of %d cores: computing in %d thread%s instead of "
            "%d while they do (OMP_NUM_THREADS=%d would fix the number)",
            *(used / (now.clock - before.clock), self._cores, wanted),
            *("s" * (wanted > 1), self.threads, self.most),
        )
        self._told = True
        self.threads = wanted
        torch.set_num_threads(wanted)

    def choose(self, others: float) -> int:
        """Return the number of threads beside programs that use ``others`` cores."""
        free = self._cores - others
        fewer, more = (
            min(max(int(free + allowed), 1), self.most) for allowed in (_LESS, _MORE)
        )
        self._calm = self._calm + 1 if more > self.threads else 0
        if self._calm >= _CALM:
            self._calm = 0
            return more
        return min(fewer, self.threads)


_share: CoreShare | None = None


def share_cores() -> None:
    """Let `adapt_threads` choose the number of threads from now on.

    It stays as it is if the user has set it (OMP_NUM_THREADS, MKL_NUM_THREADS), if
    several processes share the machine, or if the system does not tell (no /proc).
    """
    global _share
    given = {"OMP_NUM_THREADS", "MKL_NUM_THREADS"} & os.environ.keys()
    threads = torch.get_num_threads()
    if threads > 1 and not given and not find_rank(os.environ) and _STAT.exists():
        cores = os.sched_getaffinity(0)
        _share = CoreShare(threads, len(cores), lambda: _usage(cores))


def keep_threads() -> None:
    """Fix the number of threads, for results that are equal to the bit."""
    global _share
    _share = None


def adapt_threads() -> None:
    """Adapt the number of threads to the other programs, after `share_cores`."""
    if _share is not None:
        _share.adapt()


def _usage(cores: Collection[int]) -> Usage:
    ticks = os.sysconf("SC_CLK_TCK")
    total, names = 0, {f"cpu{core}" for core in cores}
    for line in _STAT.read_text(encoding="ascii").splitlines():
        name, *numbers = line.split()
        if name in names:
            counted = enumerate(map(int, numbers[:_GUEST]))
            total += sum(number for i, number in counted if i not in _IDLE)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = time.process_time() + ended.ru_utime + ended.ru_stime
    for child in multiprocessing.active_children():
        own += _seconds_of(child.pid) / ticks
    return Usage(time.monotonic(), total / ticks, own)


def _seconds_of(pid: int | None) -> int:
    """Return the clock ticks that a process has used; 0 if it has just ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return sum(map(int, stat.rpartition(")")[2].split()[11:13]))
