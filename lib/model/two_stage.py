"""Two-stage detectors: features, proposals, and heads on the proposals.

Faster R-CNN has a region proposal network and a box head. A proposal network alone has
no heads. Fast R-CNN alone gets proposals from a file.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from ..layer_utils.outputs import Predictions, TrainOutput, together
from ..layer_utils.proposal_targets import RoISamples
from ..layer_utils.structures import (
    Detections,
    FeatureMaps,
    GroundTruth,
    Images,
    Proposals,
    replace,
)
from ..nets.backbone import Backbone
from ..nets.fpn import FeaturePyramid
from ..nets.normalisation import Normalisation
from ..nets.region_head import RegionHead
from .external_proposals import ExternalProposals
from .heads.head import ClassifyingHead, Head
from .network import Network
from .region_proposals import RegionProposalNetwork


class TwoStage(Network):
    """The detector (Faster R-CNN, figure 2; FPN, section 4).

    Args:
        backbone: computes the feature maps.
        neck: pyramid over the backbone's maps; None to use the maps themselves.
        proposer: turns features into proposals and, in training, into losses.
        heads: heads on RoIs by name; the first one classifies, the others add to its
            detections. Names are prefixes of the state dict's keys.
        normalisation: normalisation of the input pixels.
        region_head: the box head's layers, if the backbone has none for it. It is an
            attribute of the detector, to keep the keys of existing checkpoints.
    """

    def __init__(
        self,
        backbone: Backbone,
        neck: FeaturePyramid | None,
        proposer: RegionProposalNetwork | ExternalProposals,
        heads: Mapping[str, Head],
        *,
        normalisation: Normalisation,
        region_head: RegionHead | None = None,
    ) -> None:
        super().__init__(backbone, neck, normalisation=normalisation)
        self.region_head = region_head
        self.rpn = proposer  # the prefix of its keys
        self.head_names = tuple(heads)
        for name, head in heads.items():
            self.add_module(name, head)
        self.detects = bool(heads)
        self.regions = self.classifier.regions if heads else None
        self.reads_proposals = proposer.reads_proposals

    @property
    def proposer(self) -> RegionProposalNetwork | ExternalProposals:
        """Return the module that proposes regions."""
        return self.rpn

    @property
    def heads(self) -> list[Head]:
        """Return the heads, the one that classifies first."""
        return [cast(Head, getattr(self, name)) for name in self.head_names]

    @property
    def classifier(self) -> ClassifyingHead:
        """Return the first head, which classifies and localises objects."""
        return cast(ClassifyingHead, self.heads[0])

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
        sizes = images.sizes
        features = self.features(images)
        regions = self.proposer(features, proposals)
        proposals = self.proposer.propose(regions, sizes)
        output: TrainOutput | None = None
        found: Predictions | Proposals | None = proposals if predict else None
        if ground_truth is not None:
            targets = self.proposer.sample(regions, ground_truth, sizes, generator)
            samples = None
            if self.detects:
                samples = self.classifier.sample(proposals, ground_truth, generator)
            output = self.losses(
                features, regions, targets, samples, ground_truth, sizes
            )
        if predict and self.detects:
            found = self.predict(features, proposals, sizes)
        return output, found

    def propose(self, images: Images) -> Proposals:
        """Compute the proposals alone; see `Network.propose`."""
        regions = self.proposer(self.features(images))
        return self.proposer.propose(regions, images.sizes)

    def losses(
        self,
        features: FeatureMaps,
        regions: Any,
        targets: Any,
        samples: RoISamples | None,
        ground_truth: GroundTruth | None = None,
        image_sizes: Tensor | None = None,
    ) -> TrainOutput:
        """Compute the losses for given targets and samples.

        Args:
            features: result of `features`.
            regions: output of the proposer, an `RPNOutput` for an RPN.
            targets: targets of the proposer, `AnchorTargets` for an RPN.
            samples: RoIs for the heads; None without heads.
            ground_truth: objects of the images; box heads do not need them.
            image_sizes: ``(N, 2)`` height and width; box heads do not need them.
        """
        outputs = [
            TrainOutput({}, {}, {"features": features.maps[0].detach()}),
            self.proposer.losses(features, regions, targets),
        ]
        if samples is not None:
            outputs += [
                head.losses(features, samples, ground_truth, image_sizes)
                for head in self.heads
            ]
        return together(outputs)

    def predict(
        self,
        features: FeatureMaps,
        proposals: Proposals,
        image_sizes: Tensor | None = None,
    ) -> Predictions:
        """Predict classes and boxes of proposals from the given feature maps."""
        found = self.classifier.predict(features, proposals, image_sizes)
        # Predictions keep the features in memory, so only if they are needed.
        needed = self.keeps_features or len(self.heads) > 1
        return replace(found, features=features) if needed else found

    def finish(self, predictions: Predictions, found: Detections) -> Detections:
        """Run the other heads on final boxes, in pixels of the network input."""
        assert predictions.features is not None
        for head in self.heads[1:]:
            found = head.finish(predictions.features, found)
        return found
