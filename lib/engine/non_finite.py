"""Handling of updates in which a number is NaN or infinite."""

import itertools
import logging
import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ..config.settings import TrainConfig
from ..datasets.loading.batches import Batch
from ..utils.distributed import collectives
from ..utils.monitoring.async_scalars import AsyncScalars
from ..weights.checkpoint import Counts
from .running_statistics import trained_norms

logger = logging.getLogger(__name__)


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite."""


def check_finite(
    values: dict[str, Tensor], iteration: int, image_ids: Sequence[str]
) -> None:
    """Raise an error if any value is NaN or infinite.

    Raises:
        NonFiniteLossError: names the first such value, the iteration and the images.
    """
    numbers = {name: float(value.detach()) for name, value in values.items()}
    fault = _fault(numbers, iteration, image_ids)
    if fault is not None:
        raise fault


def _fault(
    numbers: Mapping[str, float], iteration: int, image_ids: Sequence[str]
) -> NonFiniteLossError | None:
    """Return an error that names the first non-finite number; None if there is none."""
    for name, number in numbers.items():
        if not math.isfinite(number):
            return NonFiniteLossError(
                f"{name} is {number} at iteration {iteration + 1}, images "
                f"{', '.join(image_ids)}. The checkpoints before it are intact. Lower "
                "train.lr, set train.clip_norm or a longer train.warmup_iterations, "
                "and check the boxes of these images; train.nonfinite skip leaves "
                "such updates out."
            )
    return None


class FaultyUpdates:
    """Stop the run at an update that is not finite, or skip the update.

    All processes see the same numbers at the same time, so all decide alike.

    Args:
        model: the detector in training mode. A skipped update leaves no trace in it:
            running means of trained norms are restored too.
        counts: counters of the run, updated here.
    """

    def __init__(self, model: nn.Module, settings: TrainConfig, counts: Counts) -> None:
        self.settings = settings
        self.counts = counts
        self._readback = AsyncScalars()
        # The forward pass changes these; only the optimizer changes the rest.
        self._statistics = [
            buffer
            for norm in trained_norms(model).values()
            for buffer in norm.buffers()
            if settings.nonfinite == "skip"
        ]
        self._before = [buffer.clone() for buffer in self._statistics]

    def find(
        self, values: dict[str, Tensor], iteration: int, batches: Sequence[Batch]
    ) -> NonFiniteLossError | None:
        """Return whether to skip the update, and why.

        A run that stops at such an update checks it afterwards: on a GPU the host reads
        its numbers one update later.

        Args:
            values: losses of the whole batch, and the gradient's norm.

        Raises:
            NonFiniteLossError: the run has to stop, at this update or the previous one.
        """
        image_ids = tuple(name for batch in batches for name in batch.image_ids)
        found: list[NonFiniteLossError] = []

        def look(numbers: Mapping[str, float]) -> None:
            fault = _fault(numbers, iteration, image_ids)
            if fault is None:
                return
            if collectives.is_distributed():
                of_all = collectives.gather(image_ids)  # empty but on the main process
                all_ids = tuple(itertools.chain(*of_all)) or image_ids
                fault = _fault(numbers, iteration, all_ids) or fault
            if self.settings.nonfinite == "stop":
                raise fault
            found.append(fault)

        self._readback.send(values, look)
        if self.settings.nonfinite == "skip":
            self._readback.flush()
        return found[0] if found else None

    def settle(self) -> None:
        """Check the numbers of the last update that have not been read yet.

        Raises:
            NonFiniteLossError: the run has to stop.
        """
        self._readback.flush()

    def passed(self) -> None:
        """Note that an update was finite."""
        self.counts.skipped_in_a_row = 0
        for before, buffer in zip(self._before, self._statistics, strict=True):
            before.copy_(buffer)

    def leave_out(self, fault: NonFiniteLossError) -> None:
        """Skip the update with this fault.

        Raises:
            NonFiniteLossError: too many updates in a row were skipped.
        """
        counts, limit = self.counts, self.settings.nonfinite_limit
        if counts.skipped_in_a_row >= limit:
            raise NonFiniteLossError(
                f"{fault} {limit} updates in a row have been left out before this one, "
                "as many as train.nonfinite_limit allows."
            ) from fault
        counts.skipped_updates += 1
        counts.skipped_in_a_row += 1
        for before, buffer in zip(self._before, self._statistics, strict=True):
            buffer.copy_(before)
        logger.warning(
            "update left out: %s (%d left out so far, %d in a row)",
            str(fault).partition(". ")[0],
            counts.skipped_updates,
            counts.skipped_in_a_row,
        )
