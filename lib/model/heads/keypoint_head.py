"""The keypoint head (Mask R-CNN, section 5).

Letters: N images, R RoIs per image, D detections per image, K keypoints, S cells per
side of a heatmap.
"""

from typing import cast

import torch
from torch import Tensor

from ...config.settings import Config, KeypointConfig
from ...layer_utils.instance_losses import keypoint_loss_sum
from ...layer_utils.keypoints import decode_keypoints, keypoint_targets
from ...layer_utils.outputs import TrainOutput
from ...layer_utils.proposal_targets import RoISamples, foreground_of
from ...layer_utils.structures import Detections, FeatureMaps, GroundTruth, replace
from ...nets.instance_layers import KeypointLayers
from ...nets.roi_features import HeadContext
from .head import Head


class KeypointHead(Head):
    """Predict a heatmap of each keypoint of each box, whatever its class."""

    def __init__(
        self, settings: KeypointConfig, config: Config, context: HeadContext
    ) -> None:
        super().__init__()
        self.settings = settings
        self.fg_slots = context.fg_slots
        self.layers = KeypointLayers(
            context.channels,
            settings.channels,
            convs=settings.convs,
            keypoints=settings.count,
        )
        self.regions = context.roi_features(self.layers, size=settings.size)

    def forward(self, features: FeatureMaps, boxes: Tensor) -> Tensor:
        """Predict logits ``(N, R, K, S, S)`` of boxes ``(N, R, 4)``."""
        logits = self.regions(features, boxes)
        return logits.view(*boxes.shape[:2], *logits.shape[1:])

    def losses(
        self,
        features: FeatureMaps,
        samples: RoISamples,
        ground_truth: GroundTruth | None,
        image_sizes: Tensor | None,
    ) -> TrainOutput:
        """Compute the keypoint loss of the foreground RoIs.

        Raises:
            ValueError: the ground truth has no keypoints.
        """
        if ground_truth is None or ground_truth.keypoints is None:
            raise ValueError(
                "keypoint.enabled: expected ground truth with keypoints, found boxes "
                "alone; the keypoint head cannot be trained on them"
            )
        samples = foreground_of(samples, self.fg_slots)
        logits = self(features, samples.rois)
        targets = keypoint_targets(
            ground_truth.keypoints, samples.rois, samples.matched, size=logits.shape[-1]
        )
        loss = keypoint_loss_sum(logits, targets, samples.valid)
        return TrainOutput({"keypoint": loss}, {}, {})

    def finish(self, features: FeatureMaps, found: Detections) -> Detections:
        """Add the keypoints of the final detections."""
        boxes = found.boxes
        logits = self(features, boxes)
        # max() would fix which is larger in an exported graph.
        side = cast(int, torch.sym_max(*features.maps[0].shape[-2:]))
        points, scores, probabilities = decode_keypoints(
            logits.flatten(0, 1),
            boxes.flatten(0, 1),
            max_side=side * self.regions.strides[0],
        )
        if self.settings.score == "probability":
            scores = probabilities
        keypoints = torch.cat((points, scores[..., None]), 2)
        return replace(found, keypoints=keypoints.view(*boxes.shape[:2], -1, 3))
