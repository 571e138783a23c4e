"""One update of the weights: gradient, finite check, optimizer, average."""

from collections.abc import Sequence

from ..config.settings import Config
from ..datasets.loading.batches import Batch
from .batch_gradient import BatchGradient, Update
from .graphed_updates import CudaRecorder, GraphedUpdates
from .non_finite import FaultyUpdates
from .train_state import TrainState


class TrainStep:
    """Make the next update of a training state.

    A `BatchGradient` makes the forward and backward passes and clips the gradient, and
    this class calls the optimizer. With ``train.cuda_graphs``, `GraphedUpdates` does
    both.

    Args:
        state: state of the run, already loaded.

    Raises:
        ValueError: ``train.cuda_graphs`` without a GPU, or with several passes.
    """

    def __init__(
        self, state: TrainState, gradient: BatchGradient, config: Config
    ) -> None:
        self.state = state
        self.passes = gradient.passes
        self.dtype = gradient.dtype
        self._update: BatchGradient | GraphedUpdates = gradient
        if config.train.cuda_graphs:
            recorder = CudaRecorder(gradient.device, state.generator)
            self._update = GraphedUpdates(gradient, state.optimizer, recorder)
        self._faulty = FaultyUpdates(state.model, config.train, state.counts)

    def __call__(self, batches: Sequence[Batch], *, stopping: bool = False) -> Update:
        """Make an update, or skip it if a loss or the gradient norm is not finite.

        In float16, an update whose gradient overflowed by its scale is skipped, too,
        but is no fault: the next scale is smaller.

        Args:
            batches: batches of this process's passes, on the device.

        Raises:
            NonFiniteLossError: the run has to stop, at this update or the previous one.
        """
        state = self.state
        update = self._update(state.iteration, batches, stopping=stopping)
        watched = dict(update.output.losses)
        scaling = state.scaling
        overflowed = scaling is not None and scaling.overflowed(update.norm)
        if not overflowed:
            watched["gradient norm"] = update.norm
        fault = self._faulty.find(watched, state.iteration, batches)
        if fault is not None:
            self._faulty.leave_out(fault)
        elif not overflowed:
            if not update.stepped:
                state.optimizer.step()
            if state.average is not None:
                state.average.update()
            self._faulty.passed()
        state.iteration += 1
        state.counts.unreadable_images += update.problems
        return update._replace(left_out=overflowed or fault is not None)

    def settle(self) -> None:
        """Check the numbers that the host has not read from the GPU yet.

        Raises:
            NonFiniteLossError: the run has to stop.
        """
        self._faulty.settle()
