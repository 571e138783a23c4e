"""The Fast R-CNN stage: RoI sampling, prediction and losses.

Letters: N images, R RoIs per image, C classes.
"""

import torch
from torch import Tensor

from ...config.settings import BoxConfig, HeadConfig
from ...layer_utils.losses import Loss, head_loss_sums
from ...layer_utils.outputs import Predictions, TrainOutput
from ...layer_utils.proposal_targets import (
    RoICriteria,
    RoISamples,
    RoISampling,
    sample_rois,
)
from ...layer_utils.structures import FeatureMaps, GroundTruth, Proposals
from ...nets.box_predictor import BoxPredictor
from ...nets.roi_features import RoIFeatures
from .head import ClassifyingHead


class BoxHead(ClassifyingHead):
    """Classify and refine regions (Fast R-CNN, section 2).

    Args:
        regions: pools RoIs and turns them into vectors.
        num_classes: C, background included.
        boxes: the box convention.
        head: settings of sampling, predictor and losses.
        name: prefix of the losses' and the counts' names.
    """

    timed = (
        ("sample", "targets"),
        ("regions.pool", "pooling"),
        ("regions.vectors", "head"),
        ("predictor.forward", "head"),
        ("terms", "losses"),
    )
    delta_std: Tensor
    class_weights: Tensor | None = None  # set by training
    class_offsets: Tensor | None = None  # likewise

    def __init__(
        self,
        regions: RoIFeatures,
        num_classes: int,
        *,
        boxes: BoxConfig,
        head: HeadConfig,
        name: str = "head",
    ) -> None:
        super().__init__()
        self.name = name
        self.regions = regions
        self.boxes = boxes
        self.settings = head
        self.criteria = RoICriteria(
            fg_overlap=head.fg_overlap,
            bg_overlap_high=head.bg_overlap_high,
            bg_overlap_low=head.bg_overlap_low,
            offset=boxes.offset,
            crowd_overlap=head.crowd_overlap,
        )
        self.sampling = RoISampling(
            batch_size=head.rois_per_image,
            fg_fraction=head.fg_fraction,
            add_ground_truth=head.add_ground_truth,
            replacement=head.replacement,
        )
        self.predictor = BoxPredictor(
            regions.body.out_channels, num_classes, class_agnostic=head.class_agnostic
        )
        delta_std = torch.tensor(boxes.delta_std)
        self.register_buffer("delta_std", delta_std, persistent=False)

    def sample(
        self,
        proposals: Proposals,
        ground_truth: GroundTruth,
        generator: torch.Generator | None,
    ) -> RoISamples:
        """Sample RoIs to train on, with their targets."""
        return sample_rois(
            proposals,
            ground_truth,
            criteria=self.criteria,
            sampling=self.sampling,
            delta_std=self.boxes.delta_std,
            generator=generator,
        )

    def forward(self, features: FeatureMaps, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Predict classes and boxes of RoIs ``(N, R, 4)``.

        Returns:
            Class logits ``(N, R, C)`` and normalised deltas ``(N, R, C, 4)``, with 1 in
            place of C if class-agnostic.
        """
        logits, deltas = self.predictor(self.regions(features, rois))
        shape = (rois.shape[0], -1)
        return logits.unflatten(0, shape), deltas.unflatten(0, shape)

    def predict(
        self,
        features: FeatureMaps,
        proposals: Proposals,
        image_sizes: Tensor | None = None,
    ) -> Predictions:
        """Predict classes and boxes of proposals."""
        logits, deltas = self(features, proposals.boxes)
        return Predictions(proposals, logits.softmax(dim=2), deltas * self.delta_std)

    def losses(
        self,
        features: FeatureMaps,
        samples: RoISamples,
        ground_truth: GroundTruth | None = None,
        image_sizes: Tensor | None = None,
    ) -> TrainOutput:
        """Compute the two losses of sampled RoIs."""
        logits, deltas = self(features, samples.rois)
        return self.output(logits, deltas, samples)

    def output(
        self, class_logits: Tensor, pred_deltas: Tensor, samples: RoISamples
    ) -> TrainOutput:
        """Compare predictions with their targets."""
        foreground = samples.valid & (samples.classes > 0)
        scores = "class_scores" if self.name == "head" else f"{self.name}_class_scores"
        return TrainOutput(
            self.terms(class_logits, pred_deltas, samples),
            {
                f"{self.name}_fg": foreground.sum(),
                f"{self.name}_bg": (samples.valid & ~foreground).sum(),
            },
            {
                scores: class_logits.detach().softmax(dim=2),
                f"{self.name}_deltas": pred_deltas.detach(),
            },
        )

    def terms(
        self, class_logits: Tensor, pred_deltas: Tensor, samples: RoISamples
    ) -> dict[str, Loss]:
        """Compute the losses by name."""
        cls_loss, box_loss = head_loss_sums(
            class_logits,
            pred_deltas,
            *(samples.classes, samples.target_deltas, samples.valid),
            sigma=self.settings.sigma,
            per_image=self.settings.rois_per_image,
            class_weights=self.class_weights,
            class_offsets=self.class_offsets,
        )
        return {f"{self.name}_cls": cls_loss, f"{self.name}_box": box_loss}
