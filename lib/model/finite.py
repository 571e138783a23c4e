"""Stops training where a number is NaN or infinite."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..datasets.loading.batches import Batch
from ..utils import distributed


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite."""


def check_finite(
    values: dict[str, Tensor], iteration: int, image_ids: tuple[str, ...]
) -> None:
    """Raise if any value is NaN or infinite.

    Raises:
        NonFiniteLossError: naming the value, the iteration and the images.
    """
    # One copy to the host for all of them.
    numbers = torch.stack([v.detach().float() for v in values.values()]).tolist()
    for name, number in zip(values, numbers, strict=True):
        if not math.isfinite(number):
            raise NonFiniteLossError(
                f"{name} is {number} at iteration {iteration + 1}, images "
                f"{', '.join(image_ids)}. The checkpoints before it are intact. Lower "
                "train.lr, set train.clip_norm or a longer train.warmup_iterations, "
                "and check the boxes of these images."
            )


def check_finite_together(
    values: dict[str, Tensor], iteration: int, batches: Sequence[Batch]
) -> None:
    """Raise if any value, which all processes have alike, is NaN or infinite.

    Raises:
        NonFiniteLossError: naming the value, the iteration and all processes' images.
    """
    image_ids = tuple(name for batch in batches for name in batch.image_ids)
    if distributed.together():
        finite = torch.stack([v.detach().float() for v in values.values()]).isfinite()
        if not finite.all():
            of_all = distributed.gather(image_ids)  # empty but on the main process
            image_ids = tuple(itertools.chain(*of_all)) or image_ids
    check_finite(values, iteration, image_ids)
