"""Outputs of a detector: losses in training, predictions otherwise.

Letters: N images, R RoIs per image, C classes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .losses import Loss
from .structures import FeatureMaps, Proposals


class TrainOutput(NamedTuple):
    """Output of a training step.

    Attributes:
        terms: the losses by name, as sums and counts; the sum of their means is
            minimised.
        counts: sampled foreground and background by name, for the log.
        activations: detached tensors by name, for histograms.
    """

    terms: dict[str, Loss]
    counts: dict[str, Tensor]
    activations: dict[str, Tensor]

    @property
    def losses(self) -> dict[str, Tensor]:
        """Return the losses as scalars by name: the means over their samples."""
        return {name: loss.mean for name, loss in self.terms.items()}

    def total(self) -> Tensor:
        """Return the sum of the losses, which training minimises."""
        return torch.stack(list(self.losses.values())).sum()


def together(outputs: list[TrainOutput]) -> TrainOutput:
    """Merge the outputs of a detector's parts, which have different names."""
    terms, counts, activations = {}, {}, {}
    for output in outputs:
        terms.update(output.terms)
        counts.update(output.counts)
        activations.update(output.activations)
    return TrainOutput(terms, counts, activations)


class Predictions(NamedTuple):
    """Predictions for each proposal, in pixels of the network input.

    Attributes:
        proposals: the RoIs, ``(N, R, 4)`` with scores and valid mask; in a one-stage
            detector, anchors.
        class_scores: ``(N, R, C)`` probabilities, background first; ``(N, R, 1)`` if
            ``classes`` gives the class of each row.
        pred_deltas: ``(N, R, C, 4)``, with 1 in place of C if class-agnostic;
            denormalised.
        classes: ``(N, R)`` int64, the only class of each row; None if every row has all
            classes.
        features: maps from which heads on final boxes pool; None without such heads.
        anchor_scores: ``(N, R, C)`` probabilities of all classes where ``classes``
            gives one; None otherwise.
    """

    proposals: Proposals
    class_scores: Tensor
    pred_deltas: Tensor
    classes: Tensor | None = None
    features: FeatureMaps | None = None
    anchor_scores: Tensor | None = None
