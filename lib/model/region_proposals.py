"""The proposal stage: RPN, its targets and losses, and the proposal layer."""

import torch
from torch import Tensor, nn

from ..config.settings import BoxConfig, RPNConfig
from ..layer_utils.anchor_grid import AnchorGrid
from ..layer_utils.anchor_targets import (
    AnchorCriteria,
    AnchorTargets,
    anchor_targets,
)
from ..layer_utils.boxes import BoxCoder
from ..layer_utils.losses import rpn_loss_sums
from ..layer_utils.outputs import TrainOutput
from ..layer_utils.proposal_layer import propose, top_proposals
from ..layer_utils.structures import FeatureMaps, GroundTruth, Proposals, RPNOutput
from ..nets.layers import on_levels
from ..nets.rpn import RPNPredictor
from ..nms import Suppression
from ..utils.torch_versions import forget_casts


class RegionProposalNetwork(nn.Module):
    """Region proposal network (Faster R-CNN, section 3.1; FPN, section 4.1)."""

    reads_proposals = False
    timed = (
        ("forward", "RPN"),
        ("propose", "proposals"),
        ("sample", "targets"),
        ("losses", "losses"),
    )

    def __init__(
        self,
        in_channels: int,
        grid: AnchorGrid,
        *,
        boxes: BoxConfig,
        rpn: RPNConfig,
        box_gradient: bool = False,
    ) -> None:
        super().__init__()
        self.box_gradient = box_gradient
        self.coder = BoxCoder(boxes.offset, boxes.max_log_size, min_size=rpn.min_size)
        self.suppression = Suppression(
            rpn.nms_threshold, boxes.nms_offset, boxes.nms_inclusive
        )
        self.criteria = AnchorCriteria(
            positive_overlap=rpn.positive_overlap,
            negative_overlap=rpn.negative_overlap,
            border=rpn.border,
            offset=boxes.offset,
            clobber_positives=rpn.clobber_positives,
            crowd_overlap=rpn.crowd_overlap,
        )
        self.rpn = rpn
        self.grid = grid
        self.head = RPNPredictor(  # the prefix of its keys
            in_channels, rpn.channels, self.grid.per_cell, convs=rpn.convs
        )

    def forward(
        self, features: FeatureMaps, proposals: Proposals | None = None
    ) -> RPNOutput:
        """Score and regress every anchor of every level with shared weights.

        In training these predictions serve only the proposals, which carry no gradient:
        `losses` repeats the computation for the few sampled anchors if that is cheaper.
        """
        whole = self.box_gradient or not torch.is_grad_enabled()
        if whole or not self.head.is_cheaper_at(self.rpn.batch_size, features):
            return self._forward(features)
        with torch.no_grad():
            output = self._forward(features)
        forget_casts()
        return output

    def _forward(self, features: FeatureMaps) -> RPNOutput:
        logits, deltas = on_levels(self.head, features)
        anchors = self.grid(features)
        return RPNOutput(anchors.boxes, logits, deltas, anchors.usable, anchors.levels)

    def propose(self, output: RPNOutput, image_sizes: Tensor) -> Proposals:
        """Turn predictions into proposals; training mode keeps more of them."""
        rpn, training = self.rpn, self.training
        if rpn.test_mode == "top" and not training:
            return top_proposals(
                output, image_sizes, count=rpn.test_top, coder=self.coder
            )
        return propose(
            output,
            image_sizes,
            pre_nms=rpn.train_pre_nms if training else rpn.test_pre_nms,
            post_nms=rpn.train_post_nms if training else rpn.test_post_nms,
            coder=self.coder,
            suppression=self.suppression,
            score_threshold=rpn.score_threshold,
            box_gradient=self.box_gradient,
        )

    def sample(
        self,
        output: RPNOutput,
        ground_truth: GroundTruth,
        image_sizes: Tensor,
        generator: torch.Generator | None,
    ) -> AnchorTargets:
        """Sample anchors to train on, with their targets."""
        return anchor_targets(
            output.anchors,
            ground_truth,
            image_sizes,
            criteria=self.criteria,
            batch_size=self.rpn.batch_size,
            fg_fraction=self.rpn.fg_fraction,
            usable=output.usable,
            generator=generator,
        )

    def losses(
        self, features: FeatureMaps, output: RPNOutput, targets: AnchorTargets
    ) -> TrainOutput:
        """Compute the two losses of the sampled anchors."""
        labels, target_deltas = targets
        logits, deltas = output.objectness_logits, output.pred_deltas
        if torch.is_grad_enabled() and not logits.requires_grad:
            drawn = labels.float().topk(self.rpn.batch_size, dim=1).indices  # (N, S)
            labels = labels.gather(1, drawn)
            target_deltas = target_deltas.gather(1, drawn[:, :, None].expand(-1, -1, 4))
            logits, deltas = self.head.at_anchors(features, drawn)
        cls_loss, box_loss = rpn_loss_sums(
            logits,
            deltas,
            labels,
            target_deltas,
            sigma=self.rpn.sigma,
            positive_weight=self.rpn.positive_weight,
            per_image=self.rpn.batch_size,
        )
        return TrainOutput(
            {"rpn_cls": cls_loss, "rpn_box": box_loss},
            {"rpn_fg": (labels == 1).sum(), "rpn_bg": (labels == 0).sum()},
            {
                "objectness": output.objectness_logits.detach().sigmoid(),
                "rpn_deltas": output.pred_deltas.detach(),
            },
        )
