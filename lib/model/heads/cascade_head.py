"""Box heads in a row, each trained on the boxes of the one before (Cascade R-CNN).

Letters: N images, R RoIs per image, C classes, K stages.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ...config.settings import BoxConfig, HeadConfig
from ...layer_utils.boxes import BoxCoder
from ...layer_utils.outputs import Predictions, TrainOutput, together
from ...layer_utils.proposal_targets import RoICriteria, RoISamples, label_rois
from ...layer_utils.structures import FeatureMaps, GroundTruth, Proposals, replace
from ...nets.roi_features import RoIFeatures
from .box_head import BoxHead
from .head import ClassifyingHead


class CascadeHead(ClassifyingHead):
    """Classify and refine regions K times (Cai and Vasconcelos 2018, section 4).

    The first stage trains on sampled RoIs at an IoU of ``head.fg_overlap``; each later
    one on the moved boxes of all of them, at its IoU of ``head.cascade`` and with
    deltas divided by a smaller deviation: ``boxes.delta_std / k`` of stage k = 1 ... K.
    Boxes are class-agnostic. The scores are the mean of all stages' (section 4.2).

    Args:
        regions: pooling and body of each stage. Bodies are registered here, except the
            last stage of a backbone, which all stages share.
        num_classes: C, background included.
        boxes: the box convention.
        head: settings; ``cascade`` has K - 1 overlaps.
    """

    timed = ()  # those of its box heads

    def __init__(
        self,
        regions: Sequence[RoIFeatures],
        num_classes: int,
        *,
        boxes: BoxConfig,
        head: HeadConfig,
    ) -> None:
        super().__init__()
        self.coder = BoxCoder(boxes.offset, boxes.max_log_size)
        self.regions = regions[-1]
        self.criteria = [
            RoICriteria(overlap, overlap, 0.0, boxes.offset, head.crowd_overlap)
            for overlap in head.cascade
        ]
        bodies = [each.body for each in regions if isinstance(each.body, nn.Module)]
        self.body = nn.ModuleList(bodies)
        self.stage = nn.ModuleList(
            BoxHead(
                each,
                num_classes,
                boxes=boxes.model_copy(
                    update={"delta_std": tuple(std / k for std in boxes.delta_std)}
                ),
                head=head.model_copy(update={"class_agnostic": True}),
                name="head" if k == 1 else f"head{k}",
            )
            for k, each in enumerate(regions, start=1)
        )

    @property
    def box_heads(self) -> list[BoxHead]:
        """Return the stages, first to last."""
        return cast(list[BoxHead], list(self.stage))

    def sample(
        self,
        proposals: Proposals,
        ground_truth: GroundTruth,
        generator: torch.Generator | None,
    ) -> RoISamples:
        """Sample RoIs for the first stage, with their targets."""
        return self.box_heads[0].sample(proposals, ground_truth, generator)

    def losses(
        self,
        features: FeatureMaps,
        samples: RoISamples,
        ground_truth: GroundTruth | None,
        image_sizes: Tensor | None,
    ) -> TrainOutput:
        """Compute the two losses of each stage, on the boxes of the stage before."""
        assert ground_truth is not None and image_sizes is not None
        outputs = []
        rois, valid = samples.rois, samples.valid
        for number, stage in enumerate(self.box_heads):
            if number:
                samples = label_rois(
                    rois,
                    valid,
                    ground_truth,
                    self.criteria[number - 1],
                    delta_std=stage.boxes.delta_std,
                )
            logits, deltas = stage(features, rois)
            outputs.append(stage.output(logits, deltas, samples))
            rois = self.move(stage, rois, deltas, image_sizes)
            # Clipping leaves nothing of a box outside the image.
            far = rois[..., 2:] + self.coder.offset
            valid = valid & (far > rois[..., :2]).all(dim=2)
        return together(outputs)

    def predict(
        self,
        features: FeatureMaps,
        proposals: Proposals,
        image_sizes: Tensor | None = None,
    ) -> Predictions:
        """Predict classes and boxes; the deltas are those of the last stage's RoIs."""
        assert image_sizes is not None
        scores: list[Tensor] = []
        moved = proposals.boxes
        for stage in self.box_heads:
            rois = moved
            logits, deltas = stage(features, rois)
            scores.append(logits.softmax(dim=2))
            moved = self.move(stage, rois, deltas, image_sizes)
        return Predictions(
            replace(proposals, boxes=rois),
            torch.stack(scores).mean(dim=0),  # (N, R, C)
            deltas * stage.delta_std,
        )

    def move(
        self, stage: BoxHead, rois: Tensor, deltas: Tensor, image_sizes: Tensor
    ) -> Tensor:
        """Move RoIs ``(N, R, 4)`` by a stage's deltas, clipped and as constants."""
        deltas = deltas.detach()[:, :, 0] * stage.delta_std
        moved = self.coder.decode(rois.detach(), deltas, image_sizes)
        # Pooling a box that is not finite may crash.
        return moved.masked_fill(~moved.isfinite().all(dim=2, keepdim=True), 0.0)
