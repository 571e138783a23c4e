"""The best boxes of every level of a one-stage detector (Focal Loss, section 4).

Letters: N images, A anchors, C classes, B candidates per image.
"""

import torch
from torch import Tensor

from ..utils.torch_versions import least
from .outputs import Predictions
from .structures import DenseOutput, Proposals


def dense_candidates(output: DenseOutput, *, count: int) -> Predictions:
    """Find the pairs of anchor and class with the highest logits on each level.

    Args:
        output: predictions for every anchor.
        count: pairs per level, if it has as many.

    Returns:
        B candidates of each image, level after level, best first: anchors as proposals,
        each with its class. Cells outside the image and background are not valid.
    """
    index, classes, logits = _best_pairs(output, count)
    deltas = output.pred_deltas.gather(1, index[:, :, None].expand(-1, -1, 4))
    # Background takes part in the selection, as in torchvision, and ends here.
    valid = (logits > -torch.inf) & (classes > 0)
    every = index[:, :, None].expand(-1, -1, output.class_logits.shape[2])
    return Predictions(
        Proposals(output.anchors[index], logits, valid),
        class_scores=logits.sigmoid()[:, :, None],
        pred_deltas=deltas[:, :, None],
        classes=classes,
        anchor_scores=output.class_logits.gather(1, every).sigmoid(),
    )


def _best_pairs(output: DenseOutput, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return anchors, classes and logits ``(N, B)``, -inf outside the image."""
    logits = output.class_logits.detach()
    if output.usable is not None:
        logits = logits.masked_fill(~output.usable[:, :, None], -torch.inf)
    anchors, classes, scores, start = [], [], [], 0
    for part in torch.split(logits, list(output.level_anchors), 1):
        # The best pairs are of the anchors whose best class has the highest logits:
        # sorting these first leaves few of the A * C pairs to sort.
        number = part.shape[2]
        best = part.amax(dim=2).topk(least(count, part.shape[1]), dim=1).indices
        pairs = part.gather(1, best[:, :, None].expand(-1, -1, number)).flatten(1)
        top, index = pairs.topk(least(count, pairs.shape[1]), dim=1)
        anchors.append(best.gather(1, index // number) + start)
        classes.append(index % number)
        scores.append(top)
        start += part.shape[1]
    return torch.cat(anchors, 1), torch.cat(classes, 1), torch.cat(scores, 1)
