"""Faster R-CNN: backbone, pyramid, proposals, pooled regions, classified boxes.

Letters: N images, R RoIs per image, C classes, H x W padded network input.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..config.settings import PoolingConfig
from ..layer_utils.anchor_targets import AnchorTargets
from ..layer_utils.proposal_targets import RoISamples
from ..layer_utils.roi_pooling import pool_rois
from ..layer_utils.structures import (
    FeatureMaps,
    GroundTruth,
    Images,
    Proposals,
    RPNOutput,
)
from ..nets.backbone import Backbone
from ..nets.fpn import FeaturePyramid
from ..nets.layers import zero_padding
from ..nets.region_head import RegionHead
from ..utils.torch_versions import exporting
from .box_head import BoxHead
from .normalisation import Normalisation
from .region_proposals import RegionProposalNetwork


class TrainOutput(NamedTuple):
    """Output of a training step.

    Attributes:
        losses: scalars by name; their sum is minimised.
        counts: sampled foreground and background of RPN and head, by name.
        activations: detached tensors by name, for histograms.
    """

    losses: dict[str, Tensor]
    counts: dict[str, Tensor]
    activations: dict[str, Tensor]


class Predictions(NamedTuple):
    """Predictions for each proposal, in pixels of the network input.

    Attributes:
        proposals: the RoIs, ``(N, R, 4)`` with scores and valid mask.
        class_scores: ``(N, R, C)`` probabilities, background first.
        pred_deltas: ``(N, R, C, 4)``, with 1 in place of C if class-agnostic;
            denormalised.
    """

    proposals: Proposals
    class_scores: Tensor
    pred_deltas: Tensor


class FasterRCNN(nn.Module):
    """The detector (Faster R-CNN, figure 2; FPN, section 4).

    Each of its two modules alone is in `single_module.py`.

    Args:
        backbone: computes the feature maps.
        rpn: proposes regions on all maps; None for Fast R-CNN alone.
        box_head: classifies and refines the regions; None for a proposal network alone.
        pooling: how regions are pooled.
        normalisation: normalisation of the input pixels.
        pyramid: neck over the backbone's maps; None to use the maps themselves.
        region_head: turns pooled regions into vectors; None if the backbone does.

    Attributes:
        pixel_mean: ``(3, 1, 1)`` RGB mean of the input, 0..255. Part of the state dict,
            like ``pixel_std``, so that weights keep the normalisation they need.
        pixel_std: ``(3, 1, 1)`` RGB standard deviation.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    rpn: RegionProposalNetwork
    box_head: BoxHead

    def __init__(
        self,
        backbone: Backbone,
        rpn: RegionProposalNetwork | None,
        box_head: BoxHead | None,
        *,
        pooling: PoolingConfig,
        normalisation: Normalisation,
        pyramid: FeaturePyramid | None = None,
        region_head: RegionHead | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = pyramid
        self.region_head = region_head
        self.pooled_strides = pooled_strides(backbone.strides)
        if rpn is not None:
            self.rpn = rpn
        if box_head is not None:
            self.box_head = box_head
        self.pooling = pooling
        self.register_buffer(
            "pixel_mean", torch.tensor(normalisation.mean)[:, None, None]
        )
        self.register_buffer(
            "pixel_std", torch.tensor(normalisation.std)[:, None, None]
        )

    def forward(
        self,
        images: Images,
        ground_truth: GroundTruth | None = None,
        generator: torch.Generator | None = None,
    ) -> TrainOutput | Predictions:
        """Return losses if ground truth is given, else predictions.

        Args:
            images: the batch.
            ground_truth: objects of the same images, for training.
            generator: random number generator for sampling, on the images' device; if
                None, PyTorch's default.
        """
        features = self.features(images)
        regions = self.rpn(features)
        proposals = self.rpn.propose(regions, images.sizes)
        if ground_truth is None:
            return self.predict(features, proposals)
        targets = self.rpn.sample(regions, ground_truth, images.sizes, generator)
        samples = self.box_head.sample(proposals, ground_truth, generator)
        return self.losses(features, regions, targets, samples)

    def predict(self, features: FeatureMaps, proposals: Proposals) -> Predictions:
        """Predict classes and boxes of proposals from the given feature maps."""
        logits, deltas = self.classify(features, proposals.boxes)
        deltas = deltas * self.box_head.delta_std
        return Predictions(proposals, logits.softmax(dim=2), deltas)

    def losses(
        self,
        features: FeatureMaps,
        regions: RPNOutput,
        targets: AnchorTargets,
        samples: RoISamples,
    ) -> TrainOutput:
        """Compute the four losses for given targets, however they were sampled."""
        of_rpn = self.rpn_losses(features, regions, targets)
        of_head = self.head_losses(features, samples)
        return TrainOutput(*(a | b for a, b in zip(of_rpn, of_head, strict=True)))

    def rpn_losses(
        self, features: FeatureMaps, regions: RPNOutput, targets: AnchorTargets
    ) -> TrainOutput:
        """Compute the two losses of the RPN."""
        losses, counts = self.rpn.losses(features, regions, targets)
        activations = {
            "features": features.maps[0].detach(),
            "objectness": regions.objectness_logits.detach().sigmoid(),
            "rpn_deltas": regions.pred_deltas.detach(),
        }
        return TrainOutput(losses, counts, activations)

    def head_losses(self, features: FeatureMaps, samples: RoISamples) -> TrainOutput:
        """Compute the two losses of the box head."""
        logits, deltas = self.classify(features, samples.rois)
        losses, counts = self.box_head.losses(logits, deltas, samples)
        activations = {
            "features": features.maps[0].detach(),
            "class_scores": logits.detach().softmax(dim=2),
            "head_deltas": deltas.detach(),
        }
        return TrainOutput(losses, counts, activations)

    def features(self, images: Images) -> FeatureMaps:
        """Compute the feature maps that the RPN and the head share."""
        sizes = images.sizes if images.padded else None
        pixels = (images.pixels.float() - self.pixel_mean) / self.pixel_std
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        features = self.backbone.trunk(zero_padding(pixels, sizes), sizes)
        return features if self.pyramid is None else self.pyramid(features)

    def classify(self, features: FeatureMaps, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Predict class logits ``(N, R, C)`` and normalised deltas of the RoIs."""
        if self.region_head is None:
            vectors = self.backbone.head(self.pool(self.lifted(features, rois), rois))
        else:
            vectors = self.region_head(self.pool(features, rois))
        logits, deltas = self.box_head(vectors, rois.shape[0])
        return logits, deltas

    def lifted(self, features: FeatureMaps, rois: Tensor) -> FeatureMaps:
        """Run the head's first layers on the maps, where that takes less time."""
        pooling, cells = self.pooling, features.maps[0][0, 0].numel()
        if pooling.mode != "align" or pooling.max_pool or exporting():
            return features  # maxima do not commute; exported sizes may be dynamic
        if rois.shape[1] * pooling.size**2 <= cells:
            return features
        return self.backbone.lift(features) or features

    def pool(self, features: FeatureMaps, rois: Tensor) -> Tensor:
        """Pool the features of RoIs ``(N, R, 4)`` to P x P: ``(N * R, C, P, P)``."""
        pooling = self.pooling
        pooled = pool_rois(
            features.of(len(self.pooled_strides)),
            rois,
            mode=pooling.mode,
            size=pooling.size,
            strides=self.pooled_strides,
            sampling_ratio=pooling.sampling_ratio,
            aligned=pooling.aligned,
            max_pool=pooling.max_pool,
            box_gradient=pooling.box_gradient,
        )
        return pooled.contiguous(memory_format=torch.channels_last)


def pooled_strides(strides: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of the maps that regions are pooled from.

    These are the leading maps of which each has twice the stride of the previous one.
    The coarser maps of a pyramid serve the RPN alone (FPN, section 4.2). If several
    maps share a stride, as in torchvision's MobileNet v3, regions are pooled from the
    first.
    """
    count = 1
    while count < len(strides) and strides[count] == 2 * strides[count - 1]:
        count += 1
    return tuple(strides[:count])
