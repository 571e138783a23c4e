"""Whole updates as CUDA graphs: recorded for each size of batch, then replayed.

An update launches thousands of kernels. For a small batch on a fast GPU, the host needs
longer to launch them than the GPU to run them. A replay is one launch.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, Protocol, TypeVar

import torch

from ..datasets.loading.batches import Batch
from .batch_gradient import BatchGradient, Update

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_EAGER = 2
"""Eager updates of each size before its recording: they choose kernels and allocate
memory, which a recording may not do."""

_MOST = 64
"""Largest number of recorded sizes; each needs some megabytes for its launches."""


class Recorder(Protocol):
    """Record work, and replay it."""

    def aside(self) -> AbstractContextManager[None]:
        """Return the context of eager work before a recording."""

    def record(self, work: Callable[[], _T]) -> tuple[_T, Callable[[], object]]:
        """Record ``work`` without running it.

        Returns:
            The result of ``work``, whose tensors get their values at each replay; and
            the function that replays it.
        """


class CudaRecorder:
    """Record CUDA graphs that share their memory.

    Args:
        generator: random number generator that the work uses besides PyTorch's own;
            each replay draws the next numbers.

    Raises:
        ValueError: the device is not a GPU.
    """

    def __init__(self, device: torch.device, generator: torch.Generator) -> None:
        if device.type != "cuda":
            raise ValueError(
                f"train.cuda_graphs needs an NVIDIA GPU, found {device}; leave it "
                "false here"
            )
        self._generator = generator
        # Autograd ties a parameter to the stream of its first use, and a recording may
        # not wait for another stream, so all work runs on one stream.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._memory = torch.cuda.graph_pool_handle()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Run on the stream of the recordings, in order with the current stream."""
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            yield
        here.wait_stream(self._stream)

    def record(self, work: Callable[[], _T]) -> tuple[_T, Callable[[], object]]:
        """Record ``work``, as `Recorder` describes."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        # thread_local: the thread that page-locks batches may allocate meanwhile.
        with torch.cuda.graph(
            graph,
            pool=self._memory,
            stream=self._stream,
            capture_error_mode="thread_local",
        ):
            result = work()
        return result, graph.replay


class GraphedUpdates:
    """Make whole updates: losses, gradient, clipping and the optimizer's step.

    The results are those of the `BatchGradient`. The ``grad`` of the parameters is not
    valid afterwards: it is in memory of the recording.

    Args:
        gradient: computes the gradient of updates of a single pass; several passes
            would have to be added up, or to wait for other processes.
        optimizer: the optimizer; only its learning rates may change between updates.

    Raises:
        ValueError: an update has several passes.
    """

    def __init__(
        self,
        gradient: BatchGradient,
        optimizer: torch.optim.Optimizer,
        recorder: Recorder,
    ) -> None:
        if gradient.passes.total > 1:
            raise ValueError(
                "train.cuda_graphs needs updates of one pass in one process, found "
                f"{gradient.passes.total} passes; leave it false, or train with one "
                "process and train.accumulate 1"
            )
        self.gradient = gradient
        self.optimizer = optimizer
        self.recorder = recorder
        self._seen: Counter[_Size] = Counter()
        self._recordings: dict[_Size, _Recording] = {}
        self._rates = [
            torch.zeros((), device=gradient.device) for _ in optimizer.param_groups
        ]

    def __call__(
        self, iteration: int, batches: Sequence[Batch], *, stopping: bool = False
    ) -> Update:
        """Make an update.

        Args:
            batches: the only batch, on the device.
        """
        (batch,) = batches
        size = _size(batch)
        if size not in self._recordings:
            if self._seen[size] < _EAGER or len(self._recordings) == _MOST:
                self._seen[size] += 1
                with self.recorder.aside():
                    return self._update(batch)._replace(stopping=stopping)
            self._recordings[size] = self._record(batch)
            if len(self._recordings) == _MOST:
                logger.warning(
                    "%d sizes of batches are recorded as CUDA graphs; updates of other "
                    "sizes run without. A larger data.size_multiple gives fewer sizes",
                    _MOST,
                )
        recording = self._recordings[size]
        for there, here in zip(recording.batch.tensors(), batch.tensors(), strict=True):
            there.copy_(here)
        for rate, group in zip(self._rates, self.optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])
        recording.replay()
        return recording.update._replace(
            problems=len(batch.problems), stopping=stopping
        )

    def _record(self, batch: Batch) -> "_Recording":
        own = batch.map(torch.clone)
        with self._recordable():
            update, replay = self.recorder.record(lambda: self._update(own))
        return _Recording(own, update, replay)

    def _update(self, batch: Batch) -> Update:
        update = self.gradient(0, [batch])
        self.optimizer.step()
        output = update.output
        terms = {
            name: loss._replace(total=loss.total.detach())
            for name, loss in output.terms.items()
        }
        return update._replace(output=output._replace(terms=terms), stepped=True)

    @contextmanager
    def _recordable(self) -> Iterator[None]:
        """Let the optimizer read its learning rates on the device."""
        groups = self.optimizer.param_groups
        kept = [group.copy() for group in groups]
        try:
            for group, rate in zip(groups, self._rates, strict=True):
                group["lr"] = rate
                if "capturable" in group:
                    group["capturable"] = True
            yield
        finally:
            for group, before in zip(groups, kept, strict=True):
                group.update(before)


class _Size(NamedTuple):
    """Properties that batches of one recording share."""

    padded: bool
    parts: int  # of polygons
    shapes: tuple[torch.Size, ...]


class _Recording(NamedTuple):
    """An update that ``replay`` makes of what is in ``batch``."""

    batch: Batch
    update: Update
    replay: Callable[[], object]


def _size(batch: Batch) -> _Size:
    parts = getattr(batch.ground_truth.masks, "num_parts", 0)
    return _Size(batch.images.padded, parts, tuple(x.shape for x in batch.tensors()))
