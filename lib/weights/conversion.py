"""Conversions and checks of weights for which renaming is not enough."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from .checkpoint import CheckpointError
from .imported import BATCH_EPS, Layout, Numbers


def double_scores(state: dict[str, Tensor]) -> None:
    """Give each anchor a background score of 0 beside its only one, in place.

    Softmax of the two is the sigmoid of the one.
    """
    for part in ("weight", "bias"):
        scores = state[f"rpn.head.scores.{part}"]  # (K, ...)
        both = torch.cat([torch.zeros_like(scores), scores])  # (2K, ...)
        state[f"rpn.head.scores.{part}"] = both


def move_eps(state: dict[str, Tensor], eps: float) -> None:
    """Bring a backbone whose norms had another epsilon to ours, in place.

    Only the sum of variance and epsilon counts, so the variance takes up the
    difference, and the norms stay what they were.
    """
    if eps == BATCH_EPS:
        return
    for key, tensor in state.items():
        if key.startswith("backbone.") and key.endswith(".running_var"):
            state[key] = (tensor.double() + (eps - BATCH_EPS)).float()


def complete_norms(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put statistics beside norms of scale and bias that leave these as they are."""
    full: dict[str, Tensor] = {}
    for key, tensor in state.items():
        full[key] = tensor
        layer, _, part = key.rpartition(".")
        if part == "bias" and re.search(r"\.(bn\d|downsample\.1)$", layer):
            full[f"{layer}.running_mean"] = torch.zeros_like(tensor)
            full[f"{layer}.running_var"] = torch.full_like(tensor, 1 - BATCH_EPS)
            full[f"{layer}.num_batches_tracked"] = torch.tensor(0)
    return full


def check_anchors(layout: Layout, numbers: Numbers, *, source: str) -> None:
    """Make sure that a detector has as many anchors as its program gives it.

    Raises:
        CheckpointError: it has not, so they are others than those assumed.
    """
    settings = layout.settings
    sides = settings.get("anchors.sizes", (settings["anchors.scales"],))[0]
    ratios = settings["anchors.ratios"]
    expected = len(sides) * len(ratios)
    if numbers.anchors != expected:
        raise CheckpointError(
            f"{source}: expected {expected} anchors per cell ({len(sides)} sides, "
            f"{len(ratios)} ratios), as a {layout.kind} has; found {numbers.anchors}, "
            "and weights do not tell what those are"
        )
