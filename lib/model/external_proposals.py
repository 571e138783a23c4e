"""Proposals from a file instead of a region proposal network."""

from typing import Any

import torch
from torch import Tensor, nn

from ..layer_utils.outputs import TrainOutput
from ..layer_utils.structures import FeatureMaps, GroundTruth, Proposals


class ExternalProposals(nn.Module):
    """The proposer of Fast R-CNN alone (section 2): it returns the batch's proposals.

    It has the methods of `RegionProposalNetwork`, but no weights and no losses.
    """

    reads_proposals = True

    def forward(
        self, features: FeatureMaps, proposals: Proposals | None = None
    ) -> Proposals:
        """Return the proposals of the batch.

        Raises:
            ValueError: the batch has no proposals.
        """
        if proposals is None:
            raise ValueError(
                "Fast R-CNN alone (net.modules fast_rcnn) needs proposals of the "
                "images, but none were given; name their file in data.proposals or "
                "data.test_proposals"
            )
        return proposals

    def propose(self, proposals: Proposals, image_sizes: Tensor) -> Proposals:
        """Return the proposals unchanged."""
        return proposals

    def sample(
        self,
        proposals: Proposals,
        ground_truth: GroundTruth,
        image_sizes: Tensor,
        generator: torch.Generator | None,
    ) -> None:
        """Return nothing, because there is nothing to train."""

    def losses(self, features: FeatureMaps, regions: Any, targets: Any) -> TrainOutput:
        """Return no losses."""
        return TrainOutput({}, {}, {})
