"""Time by stage of a training step, on the device that computes it."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

import torch

WAITING = "waiting for data"
STAGES = (
    *("data", "backbone", "RPN", "proposals", "targets", "pooling", "head"),
    *("losses", "backward", "optimizer"),
)
"""The stages of an update, in the order of the table; ``data`` is the copy to the
device. Waiting for the loader is not work of this process, and is listed separately."""


class StageClock:
    """Seconds by stage, of the GPU if there is one, else of this process."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.running = False
        self.seconds: dict[str, float] = defaultdict(float)
        self.events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self.total = 0.0

    def start(self) -> None:
        """Start the measurement."""
        self._synchronise()
        self.running = True
        self.total -= time.perf_counter()

    def stop(self, updates: int) -> None:
        """End the measurement, and average over the updates."""
        self._synchronise()
        self.running = False
        self.total = (self.total + time.perf_counter()) / updates
        if self.cuda:
            # On a GPU, work counts when it runs, not when it is queued; waiting counts
            # only as far as the GPU has run out of work by then.
            self.seconds.clear()
            for name, first, last in self.events:
                self.seconds[name] += first.elapsed_time(last) / 1000
        for name in self.seconds:
            self.seconds[name] /= updates

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        first = self._event()
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start
        last = self._event()
        if first is not None and last is not None:
            self.events.append((name, first, last))

    def table(self, updates: int, warm_up: int) -> str:
        """Format the means as text; a stage that never ran is left out."""
        waiting = self.seconds[WAITING]
        rest = self.total - sum(self.seconds.values())
        rows = [(name, self.seconds[name]) for name in STAGES if name in self.seconds]
        rows += [("the rest", rest), ("update", self.total - waiting)]
        rule = "-" * 33
        lines = [f"{'stage':<16}{'ms':>9}{'share':>8}", rule]
        for name, seconds in rows:
            if name == "update":
                lines.append(rule)
            lines.append(self._line(name, seconds))
        lines += [self._line(WAITING, waiting), self._line("together", self.total)]
        where = "the GPU's time" if self.cuda else "wall time"
        lines += [
            "",
            f"Means of {updates} updates after {warm_up} of warm-up; {where}.",
        ]
        return "\n".join(lines) + "\n"

    def _line(self, name: str, seconds: float) -> str:
        share = 100 * seconds / self.total
        return f"{name:<16}{1000 * seconds:9.2f}{share:6.1f} %"

    def _event(self) -> torch.cuda.Event | None:
        if not self.cuda:
            return None
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _synchronise(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()
