"""What becomes of an update in which a number is NaN or infinite."""

import itertools
import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..datasets.loading.batches import Batch
from ..nets.layers import Norm
from ..utils import distributed
from .checkpoint import Counts
from .settings import TrainConfig

logger = logging.getLogger(__name__)


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite."""


def find_fault(
    values: dict[str, Tensor], iteration: int, image_ids: tuple[str, ...]
) -> NonFiniteLossError | None:
    """An error that names the first value that is NaN or infinite, and the images.

    Args:
        values: numbers to look at.
        iteration: updates done before.
        image_ids: of the batch.

    Returns:
        None if all values are finite.
    """
    # One copy to the host for all of them.
    numbers = torch.stack([v.detach().float() for v in values.values()]).tolist()
    for name, number in zip(values, numbers, strict=True):
        if not math.isfinite(number):
            return NonFiniteLossError(
                f"{name} is {number} at iteration {iteration + 1}, images "
                f"{', '.join(image_ids)}. The checkpoints before it are intact. Lower "
                "train.lr, set train.clip_norm or a longer train.warmup_iterations, "
                "and check the boxes of these images; train.nonfinite skip leaves "
                "such updates out."
            )
    return None


def find_common_fault(
    values: dict[str, Tensor], iteration: int, batches: Sequence[Batch]
) -> NonFiniteLossError | None:
    """The same of values that all processes have alike; names all processes' images."""
    image_ids = tuple(name for batch in batches for name in batch.image_ids)
    if distributed.together():
        finite = torch.stack([v.detach().float() for v in values.values()]).isfinite()
        if not finite.all():
            of_all = distributed.gather(image_ids)  # empty but on the main process
            image_ids = tuple(itertools.chain(*of_all)) or image_ids
    return find_fault(values, iteration, image_ids)


def check_finite(
    values: dict[str, Tensor], iteration: int, image_ids: tuple[str, ...]
) -> None:
    """Raise if any value is NaN or infinite.

    Raises:
        NonFiniteLossError: naming the value, the iteration and the images.
    """
    fault = find_fault(values, iteration, image_ids)
    if fault is not None:
        raise fault


class FaultyUpdates:
    """Stops the run at an update that is not finite, or leaves the update out.

    All processes see the same numbers, so they decide alike.

    Args:
        model: in training mode. Of an update that is left out it keeps nothing:
            running means of trained norms are set back too.
        settings: ``nonfinite`` and ``nonfinite_limit``.
        counts: of the run; kept here.
    """

    def __init__(self, model: nn.Module, settings: TrainConfig, counts: Counts) -> None:
        self.settings = settings
        self.counts = counts
        # The forward pass changes these; all else changes only in the step.
        self._statistics = [
            buffer
            for part in model.modules()
            if isinstance(part, Norm) and not part.frozen
            for buffer in part.buffers()
            if settings.nonfinite == "skip"
        ]
        self._before = [buffer.clone() for buffer in self._statistics]

    def passed(self) -> None:
        """An update was finite."""
        self.counts.skipped_in_a_row = 0
        for before, buffer in zip(self._before, self._statistics, strict=True):
            before.copy_(buffer)

    def leave_out(self, fault: NonFiniteLossError) -> None:
        """Leave out the update with this fault.

        Raises:
            NonFiniteLossError: the run is to stop.
        """
        if self.settings.nonfinite == "stop":
            raise fault
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
