"""The mask head (Mask R-CNN, section 3).

Letters: N images, R RoIs per image, D detections per image, S cells per side.
"""

from torch import Tensor

from ...config.settings import Config, MaskConfig
from ...layer_utils.instance_losses import mask_loss_sum
from ...layer_utils.mask_targets import annotated, mask_targets
from ...layer_utils.outputs import TrainOutput
from ...layer_utils.proposal_targets import RoISamples, foreground_of
from ...layer_utils.structures import Detections, FeatureMaps, GroundTruth, replace
from ...nets.instance_layers import MaskLayers, MaskPredictor
from ...nets.roi_features import HeadContext, LastStage
from .head import Head


class MaskHead(Head):
    """Predict the mask of each box for its class.

    With one map (c4) its layers stand on the backbone's last stage, which all heads
    share.
    """

    def __init__(
        self, settings: MaskConfig, config: Config, context: HeadContext
    ) -> None:
        super().__init__()
        self.settings = settings
        self.fg_slots = context.fg_slots
        c4, backbone = config.net.features == "c4", context.backbone
        self.layers = MaskLayers(
            backbone.head_channels if c4 else context.channels,
            settings.channels,
            convs=settings.convs,
            norm=settings.norm,
        )
        classes = 1 if settings.class_agnostic else context.num_classes
        self.predictor = MaskPredictor(settings.channels, classes)
        self.last_stage = LastStage(backbone, average=False) if c4 else None
        body = self.last_stage or self.layers
        self.regions = context.roi_features(body, size=settings.size)

    def forward(self, features: FeatureMaps, boxes: Tensor, classes: Tensor) -> Tensor:
        """Predict mask logits ``(N, R, S, S)`` of boxes ``(N, R, 4)`` of classes."""
        maps = self.regions(features, boxes)
        if self.last_stage is not None:
            maps = self.layers(maps)
        logits = self.predictor.of_classes(maps, classes.flatten())
        return logits.view(*classes.shape, *logits.shape[1:])

    def losses(
        self,
        features: FeatureMaps,
        samples: RoISamples,
        ground_truth: GroundTruth | None,
        image_sizes: Tensor | None,
    ) -> TrainOutput:
        """Compute the mask loss of the foreground RoIs.

        An object without a mask, in a data set that has masks, does not count.

        Raises:
            ValueError: the ground truth has no masks.
        """
        if ground_truth is None or ground_truth.masks is None:
            raise ValueError(
                "mask.enabled: expected ground truth with masks, found boxes alone; "
                "the mask head cannot be trained on them"
            )
        samples = foreground_of(samples, self.fg_slots)
        masks = ground_truth.masks
        wanted = samples.valid & annotated(masks).gather(1, samples.matched)
        logits = self(features, samples.rois, samples.classes)
        targets = mask_targets(
            masks,
            samples.rois,
            samples.matched,
            size=logits.shape[-1],
            soft=self.settings.targets == "soft",
        )
        loss = mask_loss_sum(logits, targets, wanted)
        return TrainOutput({"mask": loss}, {}, {})

    def finish(self, features: FeatureMaps, found: Detections) -> Detections:
        """Add the masks of the final detections."""
        logits = self(features, found.boxes, found.classes)
        return replace(found, masks=logits.sigmoid())
