"""Processes that prepare batches; those that are killed are replaced."""

import functools
import itertools
import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar

import cv2
import torch
from torch import Tensor
from torch.multiprocessing.reductions import reduce_tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

_T = TypeVar("_T")

logger = logging.getLogger(__name__)

_MOST_DEATHS = 3
"""Deaths of workers without a batch in between that end the run."""

_SENSIBLE = 16
"""Workers that any machine may start; beyond, four for each of its processors."""

_GRACE_SECONDS = 3
"""How long a worker goes on after SIGTERM, so that the run can still be saved."""

_SMALL = 16384
"""Bytes of a tensor up to which its values go through the pipe. One in shared memory
costs either side a connection, together a millisecond."""


def load(
    dataset: TorchDataset[_T],
    items: Iterator[object],
    *,
    workers: int,
    pin_memory: bool = False,
) -> Iterator[_T]:
    """Yield ``dataset[item]`` for each item, in order.

    Workers that are killed are replaced, and their unfinished items are loaded again.

    Args:
        dataset: data set to load from; runs in the workers.
        items: items to load; a few are taken in advance.
        workers: number of processes; 0 loads in the calling process. If the number is
            very large, fewer are started, with a warning; batches do not depend on it.
        pin_memory: page-lock the tensors for faster copies to a GPU.

    Raises:
        ChildProcessError: workers are killed repeatedly.
    """
    order = _Order(items)
    # batch_size=None: each item of the sampler is one call of __getitem__, which
    # returns a whole batch.
    loader = DataLoader(
        dataset,
        sampler=order,
        batch_size=None,
        num_workers=_affordable(workers),
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        prefetch_factor=4 if workers else None,
        # Its own generator: taking the worker seeds from the default one would shift
        # the random numbers of a resumed run.
        generator=torch.Generator(),
    )
    deaths = 0
    while True:
        try:
            for result in _start(loader):
                order.pending.popleft()
                deaths = 0
                yield result
            return
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            deaths += 1
            _tell_of_death(error, deaths)


@functools.cache
def _affordable(workers: int) -> int:
    """As many workers as wanted, or as this machine has use for; the log says so."""
    processors = os.cpu_count() or 1
    most = max(_SENSIBLE, 4 * processors)
    if workers <= most:
        return workers
    logger.warning(
        "data.workers is %d; %d are started, since there are %d processors here",
        workers,
        most,
        processors,
    )
    return most


class _Order:
    """An iterator of batch contents, as DataLoader wants its samplers.

    Attributes:
        pending: contents that were handed out and whose batches are not yet here. They
            come first where a new loader begins.
    """

    def __init__(self, items: Iterator[object]) -> None:
        self.items = items
        self.pending: deque[object] = deque()

    def __iter__(self) -> Iterator[object]:
        self.items = itertools.chain(self.pending, self.items)
        self.pending = deque()
        for item in self.items:
            self.pending.append(item)
            yield item


def _start_worker(_: int) -> None:
    """Run single-threaded beside the others, and leave signals to the main process.

    Ctrl-C, and SIGTERM from job schedulers, reach all processes of a run. The main one
    needs its workers until it has finished its iteration.
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    ForkingPickler.register(Tensor, _reduce)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):  # not on Windows
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_SECONDS))


def _reduce(tensor: Tensor) -> Any:
    """How the main process gets a tensor, see the pickle module's ``__reduce__``."""
    if tensor.nbytes > _SMALL:
        return reduce_tensor(tensor)  # type: ignore[no-untyped-call]
    return torch.from_numpy, (tensor.numpy(),)


def _start(loader: "DataLoader[Any]") -> Iterator[Any]:
    """Start the workers, and look for dead ones only where a batch is waited for.

    DataLoader also has the signal of a dead child raise an error, wherever the program
    is: in the middle of a step, or of a save.
    """
    if (
        not hasattr(signal, "SIGCHLD")
        or threading.current_thread() is not threading.main_thread()
    ):
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    results = iter(loader)
    signal.signal(signal.SIGCHLD, before)
    return results


def _tell_of_death(error: RuntimeError, deaths: int) -> None:
    """Warn of workers that were killed, up to a limit.

    Raises:
        ChildProcessError: this has happened too often with no batch in between.
    """
    text = f"a process that prepares batches was killed ({error})"
    if deaths >= _MOST_DEATHS:
        raise ChildProcessError(
            f"{text}, {deaths} times without a batch in between: memory or "
            "/dev/shm is too small; lower data.workers or train.batch_size"
        ) from error
    logger.warning("%s; the images it had are prepared again", text)
