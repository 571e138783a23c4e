"""Workers that run an implementation in its own process, or in this one.

Separate processes are the default, because the C library's handling of freed memory is
a setting of the process: an implementation that keeps memory would favour the others in
the same process. The children take turns; all but one wait for their pipe.
"""

import multiprocessing
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
from faster_rcnn.utils.device import keep_freed_memory

from . import probe
from .models import Work
from .ways import build_step

_PATIENCE = 1800.0
"""Seconds that a child may take for one answer."""


class Setup(NamedTuple):
    """Settings of a worker.

    Attributes:
        way: name of the implementation.
        work: the work.
        device: device of the computation.
        threads: PyTorch's threads; 0 for its own choice.
        keep_memory: whether the C library keeps freed memory (`keep_freed_memory`).
        cpu_time: whether to measure CPU time instead of wall-clock time.
    """

    way: str
    work: Work
    device: str = "cpu"
    threads: int = 0
    keep_memory: bool = False
    cpu_time: bool = False


class WayError(RuntimeError):
    """An implementation cannot be measured; the message says why."""


class LocalWorker:
    """Run an implementation in this process."""

    def __init__(self, setup: Setup) -> None:
        if setup.threads:
            torch.set_num_threads(setup.threads)
        if setup.keep_memory:
            keep_freed_memory()
        self.device = torch.device(setup.device)
        self.cpu_time = setup.cpu_time
        self.start_memory = probe.peak_memory(self.device)
        self.step = build_step(setup.way, setup.work, self.device)

    def warm_up(self, steps: int) -> None:
        """Run warm-up steps, then start to measure memory."""
        for _ in range(steps):
            self.step()
        probe.reset_peak(self.device)

    def seconds(self) -> float:
        """Return the seconds of one step."""
        return probe.seconds_of(self.step, self.device, cpu_time=self.cpu_time)

    def details(self) -> dict[str, Any]:
        """Return all other measurements."""
        memory = probe.peak_memory(self.device)
        waits = probe.waits_of(self.step, self.device)
        return {
            "dtype": str(self.step.dtype).removeprefix("torch."),
            "peak_memory": memory,
            "start_memory": self.start_memory,
            "stages": probe.stages_of(self.step, self.device),
            "flops": probe.flops_of(self.step),
            "waits": None if waits is None else waits.total(),
        }

    def close(self) -> None:
        """Free the model."""
        del self.step


class ChildWorker:
    """Run an implementation in a new process."""

    def __init__(self, setup: Setup) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(setup, theirs), daemon=True
        )
        self._process.start()
        theirs.close()
        self._answer()

    def warm_up(self, steps: int) -> None:
        """See `LocalWorker.warm_up`."""
        self._ask("warm_up", steps)

    def seconds(self) -> float:
        """See `LocalWorker.seconds`; the time of the pipe is not included."""
        return float(self._ask("seconds"))

    def details(self) -> dict[str, Any]:
        """See `LocalWorker.details`."""
        found: dict[str, Any] = self._ask("details")
        return found

    def close(self) -> None:
        """End the process."""
        self._pipe.close()  # which ends its loop
        self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()

    def _ask(self, method: str, *arguments: Any) -> Any:
        self._pipe.send((method, arguments))
        return self._answer()

    def _answer(self) -> Any:
        try:
            if not self._pipe.poll(_PATIENCE):
                raise WayError(f"no answer in {_PATIENCE:.0f} s")
            good, answer = self._pipe.recv()
        except EOFError:
            self._process.join(10)
            code = self._process.exitcode
            raise WayError(
                f"its process ended with code {code}; is there enough memory?"
            ) from None
        if not good:
            raise WayError(answer)
        return answer


Worker = LocalWorker | ChildWorker


def start(setup: Setup, *, processes: bool) -> Worker:
    """Start a worker and build its model.

    Raises:
        WayError: the model cannot be built; the message says why.
    """
    if processes:
        return ChildWorker(setup)
    try:
        return LocalWorker(setup)
    except (ImportError, ValueError) as error:
        raise WayError(str(error)) from error


def _serve(setup: Setup, pipe: Connection) -> None:
    """Answer the parent's calls until its end of the pipe closes."""
    worker: LocalWorker | None = None

    def build() -> None:
        nonlocal worker
        worker = LocalWorker(setup)

    _reply(pipe, build)
    while worker is not None:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        _reply(pipe, partial(getattr(worker, method), *arguments))


def _reply(pipe: Connection, call: Callable[[], Any]) -> None:
    try:
        answer = True, call()
    except (ImportError, ValueError) as error:
        answer = False, str(error)
    except Exception:
        answer = False, traceback.format_exc()
    pipe.send(answer)
