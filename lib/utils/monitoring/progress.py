"""The progress of a long loop, on a terminal or in a log.

tqdm does not serve as well: it writes nothing that suits a log file, counts pauses for
validation in its rate, and tears the line when the log speaks. These take more lines
around it than the 150 of `Progress`.
"""

import logging
import math
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import torch

from ..closeable import Closeable
from .logs import FILE_ONLY, STATUS

logger = logging.getLogger(__name__)

_WARM_UP = 3  # updates that allocate, tune and compile tell nothing about the rest
_WINDOW = 200  # updates over which the rate is averaged
_REDRAW_SECONDS = 0.1


class Progress(Closeable):
    """Iterations done, time left, images per second, losses and memory.

    On a terminal one line is rewritten in place, and the log file still gets its
    lines; elsewhere a log line appears every ``log_every`` iterations.

    Args:
        total: iterations of the whole loop.
        start: iterations done before, when a run resumes.
        log_every: iterations between two log lines; the last one is always logged.
        stream: where the line goes, stderr by default.
        clock: seconds that only grow; another one serves tests.
    """

    def __init__(
        self,
        total: int,
        *,
        start: int = 0,
        log_every: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if log_every < 1:
            raise ValueError(f"log_every must be at least 1, found {log_every}")
        self._total = total
        self._log_every = log_every
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
        self._logged = start // log_every
        self._line = ""
        self._values: dict[str, float] = {}
        # (seconds, iterations, images), the oldest first
        self._window: deque[tuple[float, int, int]] = deque(maxlen=_WINDOW)

    def update(
        self,
        iteration: int,
        *,
        images: int,
        values: Mapping[str, float] | None = None,
    ) -> None:
        """Show that ``iteration`` iterations are done.

        Args:
            iteration: iterations done in all, counted from the very start of the run.
            images: images processed since the last call.
            values: numbers to show by name, in this order. None shows the last ones
                again, so that a loop need not read its losses every time.
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
        step = iteration // self._log_every
        due = step > self._logged or last
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

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the block's time out of the rate, and the terminal to the block."""
        self._hide()
        before = self._clock()
        try:
            yield
        finally:
            self._paused_seconds += self._clock() - before

    def close(self) -> None:
        """Leave the last line on the terminal and end it. Safe to call twice."""
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
        return format_line(
            self._done,
            self._total,
            eta=eta,
            images_per_second=images_per_second,
            values=self._values,
            memory=memory_in_use_mb(),
        )

    def _draw(self) -> None:
        # The last column stays free: writing into it wraps the line on some terminals.
        width = max(shutil.get_terminal_size().columns - 1, 20)
        STATUS.show(self._stream, self._line[:width])
        self._shown = True

    def _hide(self) -> None:
        if self._shown:
            STATUS.erase()
            self._shown = False


def format_duration(seconds: float) -> str:
    """Return a duration as ``m:ss``, ``h:mm:ss`` or ``Nd hh:mm:ss``.

    Args:
        seconds: rounded to whole ones; what is negative or not finite gives ``--:--``.
    """
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


def format_line(
    iteration: int,
    total: int,
    *,
    eta: float,
    images_per_second: float,
    values: Mapping[str, float],
    memory: Mapping[str, float],
) -> str:
    """Return the text of one progress line.

    Args:
        iteration: iterations done.
        total: iterations of the whole loop.
        eta: seconds left, NaN while unknown.
        images_per_second: NaN while unknown, and then left out.
        values: losses, learning rate and the like, by name.
        memory: mebibytes by name.
    """
    percent = 100.0 * iteration / total if total > 0 else 100.0
    width = len(str(total))
    parts = [f"{iteration:{width}d}/{total} {percent:5.1f}%"]
    parts.append(f"eta {format_duration(eta)}")
    if math.isfinite(images_per_second):
        parts.append(f"{images_per_second:.2f} img/s")
    # The values come last: a narrow terminal cuts the line, and they are many.
    parts.extend(f"{name} {mb / 1024:.1f}G" for name, mb in memory.items())
    parts.extend(f"{name} {format_value(value)}" for name, value in values.items())
    return "  ".join(parts)


def is_terminal(stream: TextIO) -> bool:
    """Return whether a line of ``stream`` can be rewritten in place."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def memory_usage_mb() -> float:
    """Return this process's resident memory in mebibytes.

    Where the system does not tell the present size, it is the largest so far; where it
    tells nothing, NaN.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, ValueError):
        return _peak_memory_mb()


def memory_in_use_mb() -> dict[str, float]:
    """Return mebibytes by kind: ``mem`` of the process, ``gpu`` peak once in use."""
    memory = {"mem": memory_usage_mb()}
    # Zero as long as the process has nothing on the GPU, and without starting it.
    if torch.cuda.is_available() and (peak := torch.cuda.max_memory_allocated()):
        memory["gpu"] = peak / 2**20
    return {name: mb for name, mb in memory.items() if math.isfinite(mb)}


def _peak_memory_mb() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, the others kibibytes.
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
