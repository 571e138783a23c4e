"""One-stage detectors: features, and a dense head on every cell of them."""

import torch
from torch import Tensor, nn

from ..layer_utils.outputs import Predictions, TrainOutput
from ..layer_utils.structures import (
    DenseOutput,
    FeatureMaps,
    GroundTruth,
    Images,
    Proposals,
)
from ..nets.backbone import Backbone
from ..nets.fpn import FeaturePyramid
from ..nets.normalisation import Normalisation
from .network import Network


class DenseHead(nn.Module):
    """A module on feature maps, with its own layers, targets, losses and settings."""

    def forward(self, features: FeatureMaps) -> DenseOutput:
        """Compute the raw outputs of every cell of every level."""
        raise NotImplementedError

    def losses(
        self,
        features: FeatureMaps,
        output: DenseOutput,
        ground_truth: GroundTruth,
        image_sizes: Tensor,
        generator: torch.Generator | None,
    ) -> TrainOutput:
        """Compute the losses, numbers of samples and activations by name.

        Args:
            features: the feature maps.
            output: result of `forward`.
            ground_truth: objects of the images.
            image_sizes: ``(N, 2)`` height and width.
            generator: random number generator, for heads that sample.
        """
        raise NotImplementedError

    def predict(self, output: DenseOutput, image_sizes: Tensor) -> Predictions:
        """Pick the best candidates: anchors as proposals, each with its class.

        Args:
            output: result of `forward`.
            image_sizes: ``(N, 2)`` height and width.

        Returns:
            R candidates of each image, with ``classes``, before suppression. They are
            not decoded, so that inference can decode them in original pixels.
        """
        raise NotImplementedError

    def settle(self, output: TrainOutput) -> None:
        """See `Network.settle`."""


class OneStage(Network):
    """A detector without proposals (RetinaNet, figure 3).

    Args:
        backbone: computes the feature maps.
        neck: pyramid over the backbone's maps; None to use the maps themselves.
        dense_head: predicts classes and boxes on every cell; ``dense_head.`` is the
            prefix of its keys.
        normalisation: normalisation of the input pixels.
    """

    dense_head: DenseHead

    def __init__(
        self,
        backbone: Backbone,
        neck: FeaturePyramid | None,
        dense_head: DenseHead,
        *,
        normalisation: Normalisation,
    ) -> None:
        super().__init__(backbone, neck, normalisation=normalisation)
        self.dense_head = dense_head

    def run(
        self,
        images: Images,
        ground_truth: GroundTruth | None,
        generator: torch.Generator | None,
        proposals: Proposals | None,
        *,
        predict: bool,
    ) -> tuple[TrainOutput | None, Predictions | Proposals | None]:
        """Compute losses, predictions or both from one pass; see `Network.run`."""
        features = self.features(images)
        output = self.dense_head(features)
        losses = found = None
        if ground_truth is not None:
            losses = self.dense_head.losses(
                features, output, ground_truth, images.sizes, generator
            )
        if predict:
            found = self.dense_head.predict(output, images.sizes)
        return losses, found

    def settle(self, output: TrainOutput) -> None:
        """See `Network.settle`."""
        self.dense_head.settle(output)
