"""The interface of heads on RoIs."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from ...layer_utils.outputs import Predictions, TrainOutput
from ...layer_utils.proposal_targets import RoISamples
from ...layer_utils.structures import Detections, FeatureMaps, GroundTruth, Proposals
from ...nets.roi_features import RoIFeatures


class Head(nn.Module):
    """A module on RoIs, with its own pooling, layers, targets, losses and settings.

    A detector's first head is a `ClassifyingHead`, which detects the objects; the other
    heads add to its detections, and are built by ``Kind(settings, config, context)``.

    Attributes:
        timed: methods that a profile times in a training step, and their stages.
    """

    regions: RoIFeatures  # of a cascade, its last stage's
    timed: ClassVar[tuple[tuple[str, str], ...]] = (("losses", "head"),)

    def losses(
        self,
        features: FeatureMaps,
        samples: RoISamples,
        ground_truth: GroundTruth | None,
        image_sizes: Tensor | None,
    ) -> TrainOutput:
        """Compute the losses of sampled RoIs.

        Args:
            features: maps to pool from.
            samples: RoIs that the first head sampled; ``samples.matched`` are slots of
                the ground truth.
            ground_truth: objects of the images; None if no head needs them.
            image_sizes: ``(N, 2)`` height and width; None if no head needs them.

        Returns:
            Losses, numbers of samples and activations by names unique to this head.
        """
        raise NotImplementedError

    def finish(self, features: FeatureMaps, found: Detections) -> Detections:
        """Add to the final detections, whose boxes are in pixels of the input."""
        return found


class ClassifyingHead(Head):
    """A head that samples the RoIs for training, and predicts classes and boxes."""

    def sample(
        self,
        proposals: Proposals,
        ground_truth: GroundTruth,
        generator: torch.Generator | None,
    ) -> RoISamples:
        """Sample RoIs to train on, with their targets."""
        raise NotImplementedError

    def predict(
        self, features: FeatureMaps, proposals: Proposals, image_sizes: Tensor | None
    ) -> Predictions:
        """Predict classes and boxes of proposals."""
        raise NotImplementedError
