"""Worker processes that prepare batches; killed workers are replaced."""

import functools
import itertools
import logging
import os
import signal
import threading
import weakref
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
"""Number of killed workers without a batch in between that ends the run."""

_SENSIBLE = 16
"""Number of workers that any machine may start; larger numbers are limited to four for
each processor."""

_GRACE_SECONDS = 3
"""Time that a worker continues after SIGTERM, so that the run can still be saved."""

_PREFETCH = 4
"""Batches that each worker prepares in advance, unless they are large."""

_PREFETCH_BYTES = 2 << 30
"""Memory for all batches prepared in advance; a worker always prepares one."""

_SMALL = 16384
"""Largest tensor, in bytes, that is sent through the pipe. A tensor in shared memory
takes a connection, about a millisecond for both sides."""


def load(
    dataset: TorchDataset[_T],
    items: Iterator[object],
    *,
    workers: int,
    pin_memory: bool = False,
    item_bytes: int = 0,
) -> Iterator[_T]:
    """Yield ``dataset[item]`` for each item, in order.

    Workers that are killed are replaced, and their unfinished items are loaded again.

    Args:
        dataset: data set to load from; runs in the workers.
        items: items to load; a few are taken in advance.
        workers: number of processes; 0 loads in the calling process. If the number is
            very large, fewer are started, with a warning; batches do not depend on it.
        pin_memory: page-lock the tensors for faster copies to a GPU.
        item_bytes: memory of the largest item; of large ones, fewer are loaded in
            advance.

    Raises:
        ChildProcessError: workers are killed repeatedly.
    """
    order = _Order(items)
    workers = _affordable(workers)
    # batch_size=None: each item of the sampler is one call of __getitem__, which
    # returns a whole batch.
    loader = DataLoader(
        dataset,
        sampler=order,
        batch_size=None,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        prefetch_factor=_prefetched(workers, item_bytes) if workers else None,
        # Its own generator: taking the worker seeds from the default one would shift
        # the random numbers of a resumed run.
        generator=torch.Generator(),
    )
    deaths = 0
    while True:
        try:
            for result in _Results(loader):
                order.pending.popleft()
                deaths = 0
                yield result
            return
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            deaths += 1
            _report_death(error, deaths)


@functools.cache
def _affordable(workers: int) -> int:
    """Limit the number of workers to what this machine can use, with a warning."""
    processors = os.cpu_count() or 1
    most = max(_SENSIBLE, 4 * processors)
    if workers <= most:
        return workers
    logger.warning(
        "data.workers is %d; starting %d, because this machine has %d processors",
        workers,
        most,
        processors,
    )
    return most


@functools.cache
def _prefetched(workers: int, item_bytes: int) -> int:
    """Return how many items each worker loads in advance, and log if they are few."""
    fit = _PREFETCH_BYTES // max(workers * item_bytes, 1)
    if fit >= _PREFETCH:
        return _PREFETCH
    megabytes, held = item_bytes >> 20, max(fit, 1) * workers * item_bytes >> 20
    logger.log(
        logging.INFO if fit else logging.WARNING,
        "a batch takes up to %d MB: each of %d loader processes prepares %d in advance "
        "instead of %d (%d MB in all)%s",
        megabytes,
        workers,
        max(fit, 1),
        _PREFETCH,
        held,
        "" if fit else "; lower data.workers if memory is short",
    )
    return max(fit, 1)


class _Order:
    """A sampler for DataLoader that yields the items.

    Attributes:
        pending: items whose batches have not arrived yet. A new loader begins with
            them.
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
    """Use a single thread, and leave signals to the main process.

    Ctrl-C, and SIGTERM from job schedulers, reach all processes of a run. The main
    process needs its workers until it has finished its iteration.
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    ForkingPickler.register(Tensor, _reduce)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):  # not on Windows
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_SECONDS))


def _reduce(tensor: Tensor) -> Any:
    """Pickle a small tensor by value, see the pickle module's ``__reduce__``."""
    if tensor.nbytes > _SMALL:
        return reduce_tensor(tensor)  # type: ignore[no-untyped-call]
    return torch.from_numpy, (tensor.numpy(),)


class _Results:
    """The results of newly started workers, which end together with this object.

    After an error, tracebacks may leave it to the garbage collector to delete this
    object, in any thread: also in the one that sends items to the workers. There,
    DataLoader would wait 5 s and `_GRACE_SECONDS` for workers that only this thread can
    tell to end. The finalizer's reference keeps its iterator from being garbage.
    """

    def __init__(self, loader: "DataLoader[Any]") -> None:
        self._results = _start(loader)
        if loader.num_workers:
            weakref.finalize(self, _end_workers, self._results)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._results)


def _end_workers(results: Any) -> None:
    """End the workers of DataLoader's iterator, but not in a thread that feeds them."""
    if threading.current_thread() is threading.main_thread():
        results._shutdown_workers()
    else:
        threading.Thread(target=results._shutdown_workers).start()


def _start(loader: "DataLoader[Any]") -> Iterator[Any]:
    """Start the workers, and have dead workers noticed only while a batch is awaited.

    DataLoader installs a handler of SIGCHLD that raises an error at any time, also in
    the middle of a step or of a save.
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


def _report_death(error: RuntimeError, deaths: int) -> None:
    """Warn of a killed worker; raise ChildProcessError after too many of them."""
    text = f"a process that prepares batches was killed ({error})"
    if deaths >= _MOST_DEATHS:
        raise ChildProcessError(
            f"{text}, {deaths} times without a batch in between: memory or "
            "/dev/shm is too small; lower data.workers or train.batch_size"
        ) from error
    logger.warning("%s; its images are prepared again", text)
