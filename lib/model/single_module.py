"""The two modules of Faster R-CNN, each alone (Faster R-CNN, section 3).

A region proposal network alone, and the Fast R-CNN detector alone, on given proposals.
The alternating training of section 3.2 uses both; they share the layers below.
"""

from typing import Any

import torch

from ..layer_utils.structures import GroundTruth, Images, Proposals
from .faster_rcnn import FasterRCNN, Predictions, TrainOutput


class ProposalNetwork(FasterRCNN):
    """A region proposal network alone (section 3.1): there is no box head."""

    def forward(  # type: ignore[override]  # returns proposals, not predictions
        self,
        images: Images,
        ground_truth: GroundTruth | None = None,
        generator: torch.Generator | None = None,
    ) -> TrainOutput | Proposals:
        """Return losses if ground truth is given, else proposals; see `FasterRCNN`."""
        features = self.features(images)
        regions = self.rpn(features)
        if ground_truth is None:
            return self.rpn.propose(regions, images.sizes)
        targets = self.rpn.sample(regions, ground_truth, images.sizes, generator)
        return self.rpn_losses(features, regions, targets)


class FastRCNN(FasterRCNN):
    """The Fast R-CNN detector alone (Fast R-CNN, section 2): there is no RPN."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.pyramid is not None:
            # Maps that no region is pooled from serve only the RPN.
            self.pyramid.output[len(self.pooled_strides) :].requires_grad_(False)

    def forward(
        self,
        images: Images,
        ground_truth: GroundTruth | None = None,
        generator: torch.Generator | None = None,
        proposals: Proposals | None = None,
    ) -> TrainOutput | Predictions:
        """Return losses if ground truth is given, else predictions; see `FasterRCNN`.

        Args:
            images: the batch.
            ground_truth: objects of the same images, for training.
            generator: random number generator for sampling.
            proposals: proposals of the same images, in pixels of the network input.

        Raises:
            ValueError: ``proposals`` is None.
        """
        if proposals is None:
            raise ValueError(
                "Fast R-CNN alone (net.modules fast_rcnn) needs proposals of the "
                "images, but none were given; name their file in data.proposals or "
                "data.test_proposals"
            )
        features = self.features(images)
        if ground_truth is None:
            return self.predict(features, proposals)
        samples = self.box_head.sample(proposals, ground_truth, generator)
        return self.head_losses(features, samples)


def shared_keys(model: FasterRCNN) -> set[str]:
    """Return the state dict keys that both modules share: input, trunk and pyramid."""
    shared = [module for block in model.backbone.blocks() for module in block]
    if model.pyramid is not None:
        shared.append(model.pyramid)
    tensors = {
        id(tensor)
        for module in shared
        for tensor in module.state_dict(keep_vars=True).values()
    }
    state = model.state_dict(keep_vars=True)
    trunk = {key for key, tensor in state.items() if id(tensor) in tensors}
    return trunk | {"pixel_mean", "pixel_std"}
