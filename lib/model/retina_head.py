"""RetinaNet's head: classes and boxes of every anchor (Lin et al. 2017, "Focal Loss").

Letters: N images, A anchors, C classes, B candidates per image.
"""

from functools import partial

import torch
from torch import Tensor

from ..config.settings import BoxConfig, DenseConfig
from ..layer_utils.anchor_grid import AnchorGrid
from ..layer_utils.anchor_targets import AnchorCriteria, dense_targets, match_anchors
from ..layer_utils.dense_candidates import dense_candidates
from ..layer_utils.dense_losses import (
    dense_box_losses,
    dense_class_losses,
    over_positives,
)
from ..layer_utils.outputs import Predictions, TrainOutput
from ..layer_utils.running_count import RunningCount
from ..layer_utils.structures import DenseOutput, FeatureMaps, GroundTruth
from ..nets.dense_predictor import DensePredictor
from ..nets.layers import on_levels
from .one_stage import DenseHead


class RetinaHead(DenseHead):
    """Classify and regress every anchor; all anchors are trained on (section 4.1)."""

    timed = (("forward", "head"), ("targets", "targets"), ("losses", "losses"))
    class_weights: Tensor | None = None  # set by training

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
        self.positives = RunningCount() if dense.normaliser == "running" else None

    def forward(self, features: FeatureMaps) -> DenseOutput:
        """Predict every anchor of every level with shared weights."""
        logits, deltas = on_levels(self.predictor, features)
        anchors = self.grid(features)
        return DenseOutput(
            anchors.boxes, logits, deltas, anchors.usable, anchors.levels
        )

    def predict(self, output: DenseOutput, image_sizes: Tensor) -> Predictions:
        """Pick the best candidates of each level; see `DenseHead.predict`."""
        return dense_candidates(output, count=self.settings.pre_nms)

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
        dense, boxes, weights = self.settings, self.boxes, self.class_weights
        of_classes = dense_class_losses(
            output.class_logits, classes, weights, alpha=dense.alpha, gamma=dense.gamma
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
        running = None if self.positives is None else self.positives.value.clone()
        per_image = dense.normaliser == "image"
        normalise = partial(
            over_positives, positives=positives, per_image=per_image, running=running
        )
        return TrainOutput(
            {"dense_cls": normalise(of_classes), "dense_box": normalise(of_boxes)},
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

    def settle(self, output: TrainOutput) -> None:
        """Take the positives of a whole update into their running mean."""
        if self.positives is not None:
            self.positives.value.copy_(output.terms["dense_cls"].divisor)
