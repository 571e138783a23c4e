"""Profile of updates: a table of time by stage, and a trace of every operator.

The stages are methods that the detector names; they are wrapped only during a profile.
`record_function` in the detector's code would cost 0.2 ms in each update (13 calls),
and its times need a trace, which slows a tiny detector's update from 86 to 97 ms (CPU):
so the table is of updates without a trace, and only the trace uses `record_function`.
"""

import argparse
import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from ..model.network import Network
from ..utils.closeable import Closeable
from ..utils.distributed import collectives
from ..utils.files import write_atomic
from ..utils.monitoring.stage_clock import WAITING, StageClock

__all__ = ["WAITING", "Profile", "make_profile"]

logger = logging.getLogger(__name__)


def make_profile(
    arguments: argparse.Namespace, run: Path, *, device: torch.device
) -> "Profile | None":
    """Create the profile that the options ask for, on the main process; else None.

    Raises:
        ValueError: the number of updates is less than 1.
    """
    if not arguments.profile or not collectives.is_main():
        return None
    updates = arguments.profile_updates
    return Profile(run / "profile", device=device, updates=updates, warm_up=updates)


class Profile(Closeable):
    """Time some updates by stage, then trace as many.

    Tracing slows down the updates it records, so the table covers updates without it.

    Args:
        folder: folder for ``stages.txt`` and ``trace.json.gz``, which chrome://tracing
            and Perfetto open; None for a profile that does nothing.
        updates: number of updates to time, and to trace; more than 0.
        warm_up: number of updates before, which are slower.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        device: torch.device | str = "cpu",
        updates: int = 5,
        warm_up: int = 5,
    ) -> None:
        if updates < 1 or warm_up < 0:
            raise ValueError(
                "a profile needs 1 or more updates after 0 or more of warm-up, found "
                f"{updates} and {warm_up}"
            )
        self.folder = folder
        self.updates = updates
        self.warm_up = warm_up
        self._clock = StageClock(torch.device(device))
        self._unwatch: list[Callable[[], None]] = []
        self._done = 0
        self._tracer: profile | None = None

    def watch(self, owner: object, method: str, stage: str) -> None:
        """Time the calls of an object's method as a stage, until the profile ends."""
        if self.folder is None:
            return
        function = getattr(owner, method)

        @functools.wraps(function)
        def marked(*arguments: Any, **options: Any) -> Any:
            with self.stage(stage):
                return function(*arguments, **options)

        setattr(owner, method, marked)
        self._unwatch.append(functools.partial(delattr, owner, method))

    def watch_detector(self, model: Network) -> None:
        """Time the parts of the detector's forward pass as stages."""
        for module in model.modules():
            for path, stage in getattr(module, "timed", ()):
                *owner, method = path.split(".")
                self.watch(functools.reduce(getattr, owner, module), method, stage)

    def stage(self, name: str) -> contextlib.AbstractContextManager[object]:
        """Return the context of a stage."""
        if self._tracer is not None:
            return record_function(name)
        if self._timing:
            return self._clock.stage(name)
        return contextlib.nullcontext()

    def step(self) -> None:
        """Count an update."""
        if self.folder is None:
            return
        self._done += 1
        if self._done == self.warm_up + self.updates:
            self._clock.stop(self.updates)
            self._write_table()
            self._start_trace()
        elif self._done == self.warm_up + 2 * self.updates:
            self.close()
        if self._timing and not self._clock.running:
            self._clock.start()

    def close(self) -> None:
        """Write the results so far, and unwrap the detector. Safe to call twice."""
        folder, self.folder = self.folder, None
        for unwatch in self._unwatch:
            unwatch()
        self._unwatch.clear()
        tracer, self._tracer = self._tracer, None
        if folder is None:
            return
        if tracer is None:
            logger.warning(
                "no profile: training ended after %d updates of this start, but "
                "%d of warm-up and %d to time are needed",
                self._done,
                self.warm_up,
                self.updates,
            )
            return
        tracer.stop()
        with _at_no_risk():
            tracer.export_chrome_trace(str(folder / "trace.json.gz"))
            traced = self._done - self.warm_up - self.updates
            logger.info("trace of %d updates: %s", traced, folder / "trace.json.gz")

    def __enter__(self) -> "Profile":
        if self._timing:
            self._clock.start()
        return self

    @property
    def _timing(self) -> bool:
        timed = range(self.warm_up, self.warm_up + self.updates)
        return self.folder is not None and self._done in timed

    def _write_table(self) -> None:
        assert self.folder is not None
        text = self._clock.table(self.updates, self.warm_up)
        logger.info("where the time goes:\n%s", text.rstrip())
        with _at_no_risk():
            write_atomic(self.folder / "stages.txt", text)

    def _start_trace(self) -> None:
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self._tracer = profile(activities=activities)
        self._tracer.start()


@contextlib.contextmanager
def _at_no_risk() -> Iterator[None]:
    """Keep a full disk from ending a run because of its profile."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        logger.warning("cannot write the profile: %s", error)
