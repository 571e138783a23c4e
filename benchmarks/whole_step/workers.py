"""Each way in a process of its own, or all in this one, behind the same three calls.

A process of its own is the honest default: how the C library hands back memory is set
for a whole process, and a way that keeps it would favour its rivals beside it. The
children work by turns; all but one wait for their pipe.
"""

import multiprocessing
import sys
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from faster_rcnn.utils.device import keep_freed_memory

from . import probe
from .models import Work
from .ways import build_step

_PATIENCE = 1800.0
"""Seconds that a child may take for one answer."""


class Setup(NamedTuple):
    """How a way runs.

    Attributes:
        way: its name.
        work: what it computes.
        device: where.
        threads: of PyTorch; 0: its own choice.
        keep_memory: whether the C library keeps freed memory (`keep_freed_memory`).
        code: folder of another checkout of this repository, for a process of its own;
            empty: this one's.
    """

    way: str
    work: Work
    device: str = "cpu"
    threads: int = 0
    keep_memory: bool = False
    code: str = ""


class WayError(RuntimeError):
    """A way that cannot be measured; the message says why."""


class LocalWorker:
    """A way in this process."""

    def __init__(self, setup: Setup) -> None:
        if setup.threads:
            torch.set_num_threads(setup.threads)
        if setup.keep_memory:
            keep_freed_memory()
        self.device = torch.device(setup.device)
        self.start_memory = probe.peak_memory(self.device)
        self.step = build_step(setup.way, setup.work, self.device)

    def warm_up(self, steps: int) -> None:
        """Make steps that do not count, and begin to measure memory."""
        for _ in range(steps):
            self.step()
        probe.reset_peak(self.device)

    def seconds(self) -> float:
        """Of one step."""
        return probe.seconds_of(self.step, self.device)

    def details(self, *, operators: bool = False) -> dict[str, Any]:
        """All that is measured besides the time; of operators only if asked for."""
        memory = probe.peak_memory(self.device)
        found = {
            "dtype": str(self.step.dtype).removeprefix("torch."),
            "peak_memory": memory,
            "start_memory": self.start_memory,
            "stages": probe.stages_of(self.step, self.device),
            "flops": probe.flops_of(self.step),
            "waits": probe.waits_of(self.step, self.device),
        }
        if operators:
            found["operators"] = probe.operators_of(self.step, self.device)
        return found

    def close(self) -> None:
        """Let the model go."""
        del self.step


class ChildWorker:
    """The same in a fresh process."""

    def __init__(self, setup: Setup) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(setup, theirs), daemon=True
        )
        # A child looks for its modules where its parent does.
        folders = [str(Path(setup.code) / "typings")] if setup.code else []
        with mock.patch.object(sys, "path", [*folders, *sys.path]):
            self._process.start()
        theirs.close()
        self._answer()

    def warm_up(self, steps: int) -> None:
        """As `LocalWorker.warm_up`."""
        self._ask("warm_up", steps)

    def seconds(self) -> float:
        """As `LocalWorker.seconds`; the way through the pipe is not counted."""
        return float(self._ask("seconds"))

    def details(self, *, operators: bool = False) -> dict[str, Any]:
        """As `LocalWorker.details`."""
        found: dict[str, Any] = self._ask("details", operators=operators)
        return found

    def close(self) -> None:
        """End the process."""
        self._pipe.close()  # which ends its loop
        self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()

    def _ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        self._pipe.send((method, arguments, options))
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
    """A worker, ready to be called.

    Raises:
        WayError: it cannot be built; the message says why.
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
            method, arguments, options = pipe.recv()
        except EOFError:
            return
        _reply(pipe, partial(getattr(worker, method), *arguments, **options))


def _reply(pipe: Connection, call: Callable[[], Any]) -> None:
    try:
        answer = True, call()
    except (ImportError, ValueError) as error:
        answer = False, str(error)
    except Exception:
        answer = False, traceback.format_exc()
    pipe.send(answer)
