"""Faster R-CNN: backbone, proposals, pooled regions, classified boxes.

Letters: N images, R RoIs per image, C classes, H x W padded network input.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..layer_utils.roi_pooling import pool_rois
from ..layer_utils.structures import GroundTruth, Images, Proposals
from ..nets import build_backbone
from ..nets.backbone import Backbone
from ..nets.layers import zero_padding
from .box_head import BoxHead
from .config import Config, PoolingConfig
from .region_proposals import RegionProposalNetwork

# Mean and standard deviation per RGB channel of the 0..255 input that each family of
# ImageNet weights was trained with, and whether it takes BGR.
NORMALISATIONS = {
    "torchvision": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False),
    "caffe": ((122.7717, 115.9465, 102.9801), (1.0, 1.0, 1.0), True),
}


class TrainOutput(NamedTuple):
    """What a training step yields.

    Attributes:
        losses: scalars by name; their sum is what is minimised.
        counts: sampled foreground and background of RPN and head, by name.
        activations: detached tensors by name, for histograms.
    """

    losses: dict[str, Tensor]
    counts: dict[str, Tensor]
    activations: dict[str, Tensor]


class Predictions(NamedTuple):
    """What the network says of each proposal, in pixels of the network input.

    Attributes:
        proposals: the RoIs, ``(N, R, 4)`` with scores and valid mask.
        class_scores: ``(N, R, C)`` probabilities, background first.
        pred_deltas: ``(N, R, C, 4)``, no longer normalised.
    """

    proposals: Proposals
    class_scores: Tensor
    pred_deltas: Tensor


class FasterRCNN(nn.Module):
    """The detector (Faster R-CNN, figure 2)."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        rpn: RegionProposalNetwork,
        box_head: BoxHead,
        *,
        pooling: PoolingConfig,
        normalisation: str,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.rpn = rpn
        self.box_head = box_head
        self.pooling = pooling
        mean, std, self.bgr = NORMALISATIONS[normalisation]
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], False)

    def forward(
        self,
        images: Images,
        ground_truth: GroundTruth | None = None,
        generator: torch.Generator | None = None,
    ) -> TrainOutput | Predictions:
        """Losses when given ground truth, predictions otherwise.

        Args:
            images: the batch.
            ground_truth: objects of the same images, in training.
            generator: source of the sampling's random numbers, on the images' device;
                None for PyTorch's default one.
        """
        features, sizes = self.features(images)
        regions = self.rpn(features, sizes)
        proposals = self.rpn.propose(regions, images.sizes)

        if ground_truth is None:
            logits, deltas = self.classify(features, proposals.boxes, sizes)
            deltas = deltas * self.box_head.delta_std
            return Predictions(proposals, logits.softmax(dim=2), deltas)

        rpn_losses, rpn_counts = self.rpn.losses(
            regions, ground_truth, images.sizes, generator
        )
        samples = self.box_head.sample(proposals, ground_truth, generator)
        logits, deltas = self.classify(features, samples.rois, sizes)
        head_losses, head_counts = self.box_head.losses(logits, deltas, samples)
        return TrainOutput(
            losses=rpn_losses | head_losses,
            counts=rpn_counts | head_counts,
            activations={
                "features": features.detach(),
                "objectness": regions.objectness_logits.detach().sigmoid(),
                "class_scores": logits.detach().softmax(dim=2),
                "rpn_deltas": regions.pred_deltas.detach(),
                "head_deltas": deltas.detach(),
            },
        )

    def features(self, images: Images) -> tuple[Tensor, Tensor | None]:
        """Feature map ``(N, C, Hf, Wf)`` and its true sizes, None if unpadded."""
        sizes = images.sizes if images.padded else None
        pixels = (images.pixels.float() - self.mean) / self.std
        if self.bgr:
            pixels = pixels.flip(1)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return self.backbone.trunk(zero_padding(pixels, sizes), sizes)

    def classify(
        self, features: Tensor, rois: Tensor, sizes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Class logits ``(N, R, C)`` and normalised deltas of RoIs ``(N, R, 4)``."""
        pooling = self.pooling
        pooled = pool_rois(
            features,
            rois,
            sizes,
            mode=pooling.mode,
            size=pooling.size,
            stride=self.backbone.stride,
            sampling_ratio=pooling.sampling_ratio,
            aligned=pooling.aligned,
            max_pool=pooling.max_pool,
        )
        pooled = pooled.contiguous(memory_format=torch.channels_last)
        logits, deltas = self.box_head(self.backbone.head(pooled), len(rois))
        return logits, deltas


def build_detector(config: Config, num_classes: int) -> FasterRCNN:
    """Assemble the detector that a configuration describes, with random weights.

    Args:
        config: the run's configuration.
        num_classes: C, background included.
    """
    net = config.net
    pretrained = net.weights != "none"
    norm = net.norm
    if norm == "auto":
        norm = "frozen" if pretrained else "batch"
    backbone = build_backbone(
        net.name,
        style=net.style,
        norm=norm,
        fixed_blocks=net.fixed_blocks if pretrained else 0,
        head_stride=net.head_stride,
        dropout=net.dropout,
    )
    rpn = RegionProposalNetwork(
        backbone.channels,
        backbone.stride,
        anchors=config.anchors,
        boxes=config.boxes,
        rpn=config.rpn,
    )
    box_head = BoxHead(
        backbone.head_channels, num_classes, boxes=config.boxes, head=config.head
    )
    model = FasterRCNN(
        backbone,
        rpn,
        box_head,
        pooling=config.pooling,
        normalisation=net.normalisation,
    )
    return model.to(memory_format=torch.channels_last)
