"""The Fast R-CNN stage: RoI sampling, prediction and losses."""

import torch
from torch import Tensor, nn

from ..config.settings import BoxConfig, HeadConfig
from ..layer_utils.losses import head_losses
from ..layer_utils.proposal_targets import RoISamples, sample_rois
from ..layer_utils.structures import GroundTruth, Proposals
from ..nets.box_predictor import BoxPredictor


class BoxHead(nn.Module):
    """Classify and refine regions (Fast R-CNN, section 2)."""

    delta_std: Tensor

    def __init__(
        self, in_channels: int, num_classes: int, *, boxes: BoxConfig, head: HeadConfig
    ) -> None:
        super().__init__()
        self.boxes = boxes
        self.settings = head
        self.predictor = BoxPredictor(
            in_channels, num_classes, class_agnostic=head.class_agnostic
        )
        self.register_buffer(
            "delta_std", torch.tensor(boxes.delta_std), persistent=False
        )

    def sample(
        self,
        proposals: Proposals,
        ground_truth: GroundTruth,
        generator: torch.Generator | None,
    ) -> RoISamples:
        """Sample RoIs to train on, with their targets."""
        head = self.settings
        return sample_rois(
            proposals,
            ground_truth,
            batch_size=head.rois_per_image,
            fg_fraction=head.fg_fraction,
            fg_overlap=head.fg_overlap,
            bg_overlap_high=head.bg_overlap_high,
            bg_overlap_low=head.bg_overlap_low,
            add_ground_truth=head.add_ground_truth,
            replacement=head.replacement,
            delta_std=self.boxes.delta_std,
            offset=self.boxes.offset,
            crowd_overlap=head.crowd_overlap,
            generator=generator,
        )

    def forward(self, vectors: Tensor, images: int) -> tuple[Tensor, Tensor]:
        """Predict classes and boxes.

        Args:
            vectors: ``(N * R, head_channels)``.
            images: N.

        Returns:
            Class logits ``(N, R, C)`` and normalised deltas ``(N, R, C, 4)``, with 1 in
            place of C if class-agnostic.
        """
        logits, deltas = self.predictor(vectors)
        return (
            logits.unflatten(0, (images, -1)),
            deltas.unflatten(0, (images, -1)),
        )

    def losses(
        self, class_logits: Tensor, pred_deltas: Tensor, samples: RoISamples
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute the losses by name, and count the sampled RoIs by name."""
        cls_loss, box_loss = head_losses(
            class_logits,
            pred_deltas,
            samples.classes,
            samples.target_deltas,
            samples.valid,
            sigma=self.settings.sigma,
        )
        foreground = samples.valid & (samples.classes > 0)
        return (
            {"head_cls": cls_loss, "head_box": box_loss},
            {
                "head_fg": foreground.sum(),
                "head_bg": (samples.valid & ~foreground).sum(),
            },
        )
