"""Whole updates as CUDA graphs: recorded for each size of batch, then replayed.

The host launches thousands of kernels in an update, which takes it longer than a fast
GPU takes to run those of a small batch. A replay is one launch.
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
"""Updates of each size before it is recorded: kernels are chosen and memory is found in
these, neither of which a recording may do."""

_MOST = 64
"""Sizes that are recorded; each takes some megabytes for its launches."""


class Recorder(Protocol):
    """Records work to replay it."""

    def aside(self) -> AbstractContextManager[None]:
        """Context of work whose like is recorded later."""

    def record(self, work: Callable[[], _T]) -> tuple[_T, Callable[[], object]]:
        """Record ``work`` without doing it.

        Returns:
            What it gives, whose tensors hold values after each replay; and the replay.
        """


class CudaRecorder:
    """Records CUDA graphs, whose memory they share.

    Args:
        device: a GPU.
        generator: of the random numbers that the work draws beside PyTorch's own; each
            replay draws the next ones.

    Raises:
        ValueError: the device is no GPU.
    """

    def __init__(self, device: torch.device, generator: torch.Generator) -> None:
        if device.type != "cuda":
            raise ValueError(
                f"train.cuda_graphs needs an NVIDIA GPU; this run is on {device}. "
                "Leave it false here"
            )
        self._generator = generator
        # What autograd keeps of a parameter belongs to the stream it was first used on,
        # and a recording may not wait for another stream: hence all are made on one.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._memory = torch.cuda.graph_pool_handle()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Run on the recordings' stream, after what is queued and before the rest."""
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            yield
        here.wait_stream(self._stream)

    def record(self, work: Callable[[], _T]) -> tuple[_T, Callable[[], object]]:
        """See `Recorder`."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        # Meanwhile the thread that page-locks batches may allocate.
        with torch.cuda.graph(
            graph,
            pool=self._memory,
            stream=self._stream,
            capture_error_mode="thread_local",
        ):
            result = work()
        return result, graph.replay


class GraphedUpdates:
    """Makes updates whole: losses, gradient, clipping and the optimizer's step.

    Takes the place of its `BatchGradient`, whose numbers it gives. The parameters'
    ``grad`` is not meant to be read: only the recording knows where it lies.

    Args:
        gradient: of updates of a single pass; others have to add up passes, or wait
            for other processes.
        optimizer: its learning rates may change from update to update, nothing else.
        recorder: of graphs.

    Raises:
        ValueError: updates are of several passes.
    """

    def __init__(
        self,
        gradient: BatchGradient,
        optimizer: torch.optim.Optimizer,
        recorder: Recorder,
    ) -> None:
        if gradient.passes.total > 1:
            raise ValueError(
                "train.cuda_graphs is for updates of one pass of one process; found "
                f"{gradient.passes.total} passes. Leave it false, or train with one "
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
            iteration: updates done before.
            batches: the only one, on the device.
            stopping: whether this process was asked to stop.
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
                    "%d sizes of batches have been recorded as CUDA graphs; updates of "
                    "others are made without. A larger data.size_multiple leaves fewer "
                    "sizes",
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
        """Have the optimizer read its rates on the device, and not on the host."""
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
    """The properties that batches of one recording share."""

    padded: bool
    shapes: tuple[torch.Size, ...]


class _Recording(NamedTuple):
    """An update of one size.

    Attributes:
        batch: to be filled before each replay.
        update: what is known of it after each replay.
        replay: makes it.
    """

    batch: Batch
    update: Update
    replay: Callable[[], object]


def _size(batch: Batch) -> _Size:
    return _Size(batch.images.padded, tuple(x.shape for x in batch.tensors()))
