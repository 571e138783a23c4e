"""torchvision's heads of masks and keypoints for a recipe; see torchvision_peer.

Outputs are float32, also under autocast.
"""

from faster_rcnn.config.settings import Config
from torch import Tensor, nn
from torchvision.models.detection.keypoint_rcnn import (
    KeypointRCNNHeads,
    KeypointRCNNPredictor,
)
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign
from torchvision_parts import Net


class PeerMaskPredictor(MaskRCNNPredictor):
    """torchvision's deconvolution and output layer."""

    def forward(self, maps: Tensor) -> Tensor:
        """Compute the mask logits of each class in float32."""
        logits: Tensor = super().forward(maps)
        return logits.float()


class PeerKeypointPredictor(KeypointRCNNPredictor):
    """torchvision's deconvolution and enlargement."""

    def forward(self, maps: Tensor) -> Tensor:
        """Compute the heatmaps in float32, contiguous as its loss needs them."""
        heatmaps: Tensor = super().forward(maps)
        return heatmaps.float().contiguous()


def pooler(config: Config, levels: int, size: int) -> MultiScaleRoIAlign:
    """Build torchvision's RoIAlign from the finest maps."""
    names = [str(level) for level in range(levels)]
    return MultiScaleRoIAlign(names, size, config.pooling.sampling_ratio or -1)


def instance_heads(config: Config, net: Net, num_classes: int) -> dict[str, nn.Module]:
    """Build the head of masks or of keypoints, as arguments of torchvision's detector.

    Raises:
        ValueError: torchvision has no such head.
    """
    mask, keypoint = config.mask, config.keypoint
    if mask.enabled and (keypoint.enabled or mask.class_agnostic):
        raise ValueError(
            "torchvision's detectors predict masks of each class, or keypoints; leave "
            "out one of mask.enabled and keypoint.enabled, and mask.class_agnostic"
        )
    channels = net.backbone.out_channels
    if mask.enabled:
        norm = {"none": None, "batch": nn.BatchNorm2d}[mask.norm]
        widths = (mask.channels,) * mask.convs
        return {
            "mask_roi_pool": pooler(config, net.pooled, mask.size),
            "mask_head": MaskRCNNHeads(channels, widths, 1, norm),
            "mask_predictor": PeerMaskPredictor(
                mask.channels if mask.convs else channels, mask.channels, num_classes
            ),
        }
    if keypoint.enabled:
        widths = (keypoint.channels,) * keypoint.convs
        return {
            "keypoint_roi_pool": pooler(config, net.pooled, keypoint.size),
            "keypoint_head": KeypointRCNNHeads(channels, widths),
            "keypoint_predictor": PeerKeypointPredictor(
                keypoint.channels, keypoint.count
            ),
        }
    return {}
