"""Conversions and checks of weights for which renaming is not enough."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from .checkpoint import CheckpointError
from .imported import BATCH_EPS, Layout, Numbers


def double_scores(state: dict[str, Tensor]) -> None:
    """Add a background score of 0 to each anchor's only score, in place.

    The softmax of the two scores is the sigmoid of the one.
    """
    for part in ("weight", "bias"):
        scores = state[f"rpn.head.scores.{part}"]  # (K, ...)
        both = torch.cat([torch.zeros_like(scores), scores])  # (2K, ...)
        state[f"rpn.head.scores.{part}"] = both


def add_never_present(state: dict[str, Tensor], anchors: int) -> None:
    """Add the background's logit to a one-stage detector without one, in place.

    It is so low that the class is never found, and its focal loss has no gradient.
    """
    for part, fill in ("weight", 0.0), ("bias", -100.0):
        scores = state[f"dense_head.predictor.scores.{part}"]
        per_anchor = scores.view(anchors, -1, *scores.shape[1:])  # (K, C - 1, ...)
        never = torch.full_like(per_anchor[:, :1], fill)
        both = torch.cat([never, per_anchor], dim=1)  # (K, C, ...)
        state[f"dense_head.predictor.scores.{part}"] = both.flatten(0, 1)


def move_eps(state: dict[str, Tensor], eps: float) -> None:
    """Convert a backbone whose norms have another epsilon to ours, in place.

    Only the sum of variance and epsilon matters, so the difference is added to the
    variance, and the norms compute the same as before.
    """
    if eps == BATCH_EPS:
        return
    for key, tensor in state.items():
        if key.startswith("backbone.") and key.endswith(".running_var"):
            state[key] = (tensor.double() + (eps - BATCH_EPS)).float()


def complete_norms(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add statistics to norms of scale and bias that leave their output unchanged."""
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
    """Check that a detector has the number of anchors that its program gives it.

    Raises:
        CheckpointError: the number differs, so the anchors are not those assumed.
    """
    settings = layout.settings
    sides = (settings.get("anchors.sizes") or (settings["anchors.scales"],))[0]
    ratios = settings["anchors.ratios"]
    expected = len(sides) * len(ratios)
    if numbers.anchors != expected:
        raise CheckpointError(
            f"{source}: expected {expected} anchors per cell ({len(sides)} sides, "
            f"{len(ratios)} ratios), as a {layout.kind} has; found {numbers.anchors}, "
            "and weights do not contain the anchors themselves"
        )
