"""The progress of a long loop, on a terminal or in a log.

tqdm writes no lines for a log file, counts pauses for validation in its rate, and
breaks its line when the log writes. Adding these takes as many lines as `Progress` has.
"""

import contextlib
import logging
import math
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

import torch

from ..closeable import Closeable
from .logs import FILE_ONLY, STATUS

logger = logging.getLogger(__name__)

_WARM_UP = 3  # updates that allocate, tune and compile take longer than the rest
_WINDOW = 200  # updates over which the rate is averaged
_REDRAW_SECONDS = 0.1
EARLY = (1, 10)
"""Updates that are logged early: the first one, and one that knows the time left."""


class Progress(Closeable):
    """Iterations done, time left, images per second, losses and memory.

    On a terminal one line is rewritten in place, and only the log file gets log lines.

    Args:
        total: iterations of the whole loop.
        log_every: iterations between two log lines; the last one is always logged. If
            None, only a terminal shows anything.
        early: whether the first update is logged too, and the tenth, which knows the
            time left.
    """

    def __init__(
        self,
        total: int,
        *,
        start: int = 0,
        log_every: int | None,
        early: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if log_every is not None and log_every < 1:
            raise ValueError(f"log_every must be at least 1, found {log_every}")
        self._total = total
        self._log_every = log_every
        self._early = EARLY if early else ()
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._terminal = is_terminal(self._stream)
        self._updates = 0
        self._done = start
        self._images = 0
        self._paused_seconds = 0.0
        self._drawn = -math.inf
        self._shown = False
        self._closed = False
        self._logged = start // log_every if log_every else 0
        self._line = ""
        self._values: dict[str, float] = {}
        # (seconds, iterations, images), the oldest first
        self._window: deque[tuple[float, int, int]] = deque(maxlen=_WINDOW)

    def update(
        self, iteration: int, *, images: int, values: Mapping[str, float] | None = None
    ) -> None:
        """Show that ``iteration`` iterations are done.

        Args:
            images: images processed since the last call.
            values: numbers to show by name, in this order; if None, the last ones.
        """
        if values is not None:
            self._values = dict(values)
        self._updates += 1
        self._done = iteration
        self._images += images
        now = self._clock() - self._paused_seconds
        if self._updates >= _WARM_UP:
            self._window.append((now, iteration, self._images))
        last = iteration >= self._total
        step = iteration // self._log_every if self._log_every else 0
        due = step > self._logged or last or self._updates in self._early
        due = due and self._log_every is not None
        draw = self._terminal and (last or now - self._drawn >= _REDRAW_SECONDS)
        if not (due or draw):
            return
        self._line = self._format()
        if due:
            self._logged = step
            extra = FILE_ONLY if self._terminal else None
            logger.info("%s", self._line, extra=extra)
        if draw:
            self._drawn = now
            self._draw()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the block's time from the rate, and hide the line meanwhile."""
        if self._shown:
            STATUS.erase()
            self._shown = False
        before = self._clock()
        try:
            yield
        finally:
            self._paused_seconds += self._clock() - before

    def close(self) -> None:
        """Keep the last line on the terminal. Safe to call twice."""
        if self._terminal and self._updates and not self._closed:
            self._line = self._format()
            self._draw()
            STATUS.finish()
        self._closed = True

    def rates(self) -> tuple[float, float]:
        """Return iterations and images per second, NaN while unknown."""
        if len(self._window) < 2:
            return math.nan, math.nan
        (t0, done0, images0), (t1, done1, images1) = self._window[0], self._window[-1]
        seconds = t1 - t0
        if seconds <= 0:
            return math.nan, math.nan
        return (done1 - done0) / seconds, (images1 - images0) / seconds

    def _format(self) -> str:
        speed, images_per_second = self.rates()
        left = self._total - self._done
        eta = 0.0 if left <= 0 else left / speed if speed > 0 else math.nan
        percent = 100.0 * self._done / self._total if self._total > 0 else 100.0
        width = len(str(self._total))
        parts = [f"{self._done:{width}d}/{self._total} {percent:5.1f}%"]
        parts.append(f"eta {format_duration(eta)}")
        if math.isfinite(images_per_second):
            parts.append(f"{images_per_second:.2f} img/s")
        # The values come last, because a narrow terminal cuts the line.
        memory = memory_in_use_mb()
        parts.extend(f"{name} {mb / 1024:.1f}G" for name, mb in memory.items())
        parts.extend(f"{name} {format_value(v)}" for name, v in self._values.items())
        return "  ".join(parts)

    def _draw(self) -> None:
        # The last column stays free: writing into it wraps the line on some terminals.
        width = max(shutil.get_terminal_size().columns - 1, 20)
        STATUS.show(self._stream, self._line[:width])
        self._shown = True


def format_duration(seconds: float) -> str:
    """Return a duration as ``m:ss``, ``h:mm:ss`` or ``Nd hh:mm:ss``; or ``--:--``."""
    if not math.isfinite(seconds) or seconds < 0:
        return "--:--"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02d}:{minute:02d}:{second:02d}"
    if hours:
        return f"{hours}:{minute:02d}:{second:02d}"
    return f"{minute}:{second:02d}"


def format_value(value: float) -> str:
    """Return a number in a few characters: whole, with 3 decimals, or 3 digits."""
    if isinstance(value, int) or value == 0:
        return str(int(value))
    if 0.01 <= abs(value) < 1000:
        return f"{value:.3f}"
    return f"{value:.3g}"


def is_terminal(stream: TextIO) -> bool:
    """Return whether a line of ``stream`` can be rewritten in place."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def memory_in_use_mb() -> dict[str, float]:
    """Return mebibytes by kind: ``mem`` of the process, ``gpu`` peak once in use.

    Without /proc the process's peak stands for its present memory; Windows has neither.
    """
    memory = {}
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        memory["mem"] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, ValueError):
        with contextlib.suppress(ImportError):
            import resource

            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            # macOS counts bytes, other systems kibibytes.
            memory["mem"] = peak / (2**20 if sys.platform == "darwin" else 2**10)
    # Zero as long as the process has not used the GPU; asking does not start it.
    if torch.cuda.is_available() and (peak := torch.cuda.max_memory_allocated()):
        memory["gpu"] = peak / 2**20
    return memory
