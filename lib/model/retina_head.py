"""RetinaNet's head: classes and boxes of every anchor (Lin et al. 2017, "Focal Loss").

Letters: N images, A anchors, C classes, B candidates per image.
"""

from typing import ClassVar

import torch
from torch import Tensor

from ..config.settings import BoxConfig, DenseConfig
from ..layer_utils.anchor_grid import AnchorGrid
from ..layer_utils.anchor_targets import AnchorCriteria, dense_targets, match_anchors
from ..layer_utils.dense_candidates import dense_candidates
from ..layer_utils.dense_losses import dense_box_losses, dense_class_losses
from ..layer_utils.losses import Loss
from ..layer_utils.outputs import Predictions, TrainOutput
from ..layer_utils.running_count import RunningCount
from ..layer_utils.structures import DenseOutput, FeatureMaps, GroundTruth, Proposals
from ..nets.dense_predictor import DensePredictor
from ..nets.layers import on_levels
from .one_stage import DenseHead


class RetinaHead(DenseHead):
    """Classify and regress every anchor; all anchors are trained on (section 4.1)."""

    timed: ClassVar[dict[str, str]] = {
        "forward": "head",
        "targets": "targets",
        "losses": "losses",
    }

    def __init__(
        self,
        in_channels: int,
        grid: AnchorGrid,
        num_classes: int,
        *,
        boxes: BoxConfig,
        dense: DenseConfig,
    ) -> None:
        super().__init__()
        self.boxes = boxes
        self.settings = dense
        self.criteria = AnchorCriteria(
            positive_overlap=dense.positive_overlap,
            negative_overlap=dense.negative_overlap,
            border=-1,
            offset=boxes.offset,
            best_positive=dense.best_positive,
            crowd_overlap=dense.crowd_overlap,
        )
        self.grid = grid
        self.predictor = DensePredictor(
            in_channels,
            self.grid.per_cell,
            num_classes,
            convs=dense.convs,
            norm=dense.norm,
            prior=dense.prior,
        )
        self.positives = None
        if dense.normaliser == "running":
            self.positives = RunningCount()

    def forward(self, features: FeatureMaps) -> DenseOutput:
        """Predict every anchor of every level with shared weights."""
        logits, deltas = on_levels(self.predictor, features)
        anchors = self.grid(features)
        return DenseOutput(
            anchors.boxes, logits, deltas, anchors.usable, anchors.levels
        )

    def predict(self, output: DenseOutput, image_sizes: Tensor) -> Predictions:
        """Pick the best candidates of each level; see `DenseHead.predict`."""
        index, classes, logits = dense_candidates(output, count=self.settings.pre_nms)
        deltas = output.pred_deltas.gather(1, index[:, :, None].expand(-1, -1, 4))
        # Background takes part in the selection, as in torchvision, and ends here.
        valid = (logits > -torch.inf) & (classes > 0)
        return Predictions(
            Proposals(output.anchors[index], logits, valid),
            class_scores=logits.sigmoid()[:, :, None],
            pred_deltas=deltas[:, :, None],
            classes=classes,
        )

    def losses(
        self,
        features: FeatureMaps,
        output: DenseOutput,
        ground_truth: GroundTruth,
        image_sizes: Tensor,
        generator: torch.Generator | None = None,
    ) -> TrainOutput:
        """Compute the focal loss and the box loss of all anchors."""
        classes, gt_boxes = self.targets(output, ground_truth, image_sizes)
        dense, boxes = self.settings, self.boxes
        of_classes = dense_class_losses(
            output.class_logits, classes, alpha=dense.alpha, gamma=dense.gamma
        )
        of_boxes = dense_box_losses(
            output,
            classes,
            gt_boxes,
            kind=dense.box_loss,
            sigma=dense.sigma,
            offset=boxes.offset,
            max_log_size=boxes.max_log_size,
        )
        positives = (classes > 0).sum(dim=1)  # (N,)
        return TrainOutput(
            {
                "dense_cls": self._loss(of_classes, positives),
                "dense_box": self._loss(of_boxes, positives),
            },
            {"dense_fg": positives.sum(), "dense_bg": (classes == 0).sum()},
            {
                "features": features.maps[0].detach(),
                "class_scores": output.class_logits.detach().sigmoid(),
                "dense_deltas": output.pred_deltas.detach(),
            },
        )

    def targets(
        self, output: DenseOutput, ground_truth: GroundTruth, image_sizes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the class of each anchor, and the box it is to find."""
        matches = match_anchors(
            output.anchors,
            ground_truth,
            image_sizes,
            self.criteria,
            usable=output.usable,
        )
        return dense_targets(matches, ground_truth)

    def _loss(self, sums: Tensor, positives: Tensor) -> Loss:
        """Normalise the sums ``(N,)`` of images with so many positives."""
        if self.settings.normaliser == "image":
            images = torch.full_like(positives.sum(), len(positives))
            return Loss((sums / positives.clamp(min=1)).sum(), images, per_image=1)
        running = None if self.positives is None else self.positives.value.clone()
        return Loss(sums.sum(), positives.sum(), running=running)

    def settle(self, output: TrainOutput) -> None:
        """Take the positives of a whole update into their running mean."""
        if self.positives is not None:
            self.positives.value.copy_(output.terms["dense_cls"].divisor)
