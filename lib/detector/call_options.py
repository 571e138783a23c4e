"""The options of a call of a detector."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..config.settings import TestConfig
from ..evaluation.score_thresholds import class_thresholds

Threshold: TypeAlias = float | Mapping[str, float] | None
"""A score, scores by class name, or None for the configuration's."""


class CallOptions(NamedTuple):
    """The checked options of a call.

    Attributes:
        test: thresholds and limits; its score threshold is the lowest of ``limits``.
        limits: ``(C,)`` score that each class must exceed.
        classes: names of the classes to return; None for all.
        batch_size: images, or tiles, in one pass.
        exif: whether images are rotated upright.
    """

    test: TestConfig
    limits: Tensor
    classes: Sequence[str] | None
    batch_size: int
    exif: bool


def limited_test(
    test: TestConfig, names: Sequence[str], threshold: Threshold, tiles: int | None
) -> tuple[TestConfig, Tensor]:
    """Return the settings of a call, and the score that each class must exceed.

    Args:
        test: the detector's settings.
        names: the C class names, background first.
        threshold: replaces the thresholds of the settings; by name, some of them.
        tiles: pixels, or None for those of the settings.

    Raises:
        ValueError: a number is out of its range, or a class is unknown.
    """
    if tiles is not None and (not isinstance(tiles, int) or tiles < 32):
        raise ValueError(f"expected tiles of 32 pixels or more, found {tiles}")
    usual, by_name = test.score_threshold, test.class_thresholds
    if isinstance(threshold, Mapping):
        by_name = {**by_name, **threshold}
    elif threshold is not None:
        if not 0 <= threshold <= 1:
            raise ValueError(
                f"expected a score_threshold from 0 to 1, found {threshold}"
            )
        usual, by_name = threshold, {}
    # Where boxes are averaged, boxes of lower score take part too: a higher threshold
    # returns fewer of the same detections, a lower one finds more.
    update = {
        "score_threshold": min(usual, *by_name.values(), test.least_score),
        "class_thresholds": {},
        "tiles": test.tiles if tiles is None else tiles,
    }
    limits = torch.from_numpy(class_thresholds(names, usual, by_name))
    return test.model_copy(update=update), limits
