"""What a detector knows of a box besides class and score: features, all probabilities.

Letters: N images, R rows of predictions, D detections, C classes, F features of a box.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..layer_utils.outputs import Predictions
from ..layer_utils.structures import Detections, FeatureMaps, replace
from ..model.network import Network
from ..nets.roi_features import RoIFeatures


def embed_boxes(model: Network, features: FeatureMaps | None, boxes: Tensor) -> Tensor:
    """Compute the vectors ``(N, D, F)`` of boxes, as float32.

    A vector is what the predictor of classes and boxes gets of a RoI; of a cascade,
    what that of the last stage gets.

    Args:
        model: the detector.
        features: feature maps of the images.
        boxes: ``(N, D, 4)`` in pixels of the network input.

    Raises:
        ValueError: the detector has no box head.
    """
    regions = expect_box_head(model)
    assert features is not None
    vectors = regions(features, boxes).float()
    return vectors.view(*boxes.shape[:2], vectors.shape[1])


def expect_box_head(model: Network) -> RoIFeatures:
    """Return what turns boxes into vectors.

    Raises:
        ValueError: the detector has no box head.
    """
    if model.regions is None:
        raise ValueError(
            "expected a detector with a box head, whose vectors are the features of "
            f"boxes, found {type(model).__name__}, which has none; use a two-stage net"
        )
    return model.regions


def network_boxes(boxes: Any, *, offset: float) -> Tensor:
    """Return given boxes ``(D, 4)``, pixel edges, as a detector's layers have them.

    Args:
        boxes: x1, y1, x2, y2 of each.
        offset: 1 for legacy boxes, whose far corner is the last pixel inside.

    Raises:
        ValueError: they are not four finite numbers in order.
    """
    edges = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    if not edges.isfinite().all() or (edges[:, 2:] < edges[:, :2]).any():
        raise ValueError(
            "expected finite boxes (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, found "
            f"{edges.tolist()!r:.200}"
        )
    return edges - torch.tensor([0, 0, offset, offset])


def every_score(predictions: Predictions) -> Tensor:
    """Return the probabilities ``(N, R, C)`` of all classes of each row."""
    scores = predictions.anchor_scores
    return predictions.class_scores if scores is None else scores


def with_class_scores(found: Detections, scores: Sequence[Tensor]) -> Detections:
    """Add the probabilities of all classes of the row that each detection is from.

    Args:
        found: detections with ``rows``.
        scores: ``(N, R, C)`` of each view, in the order of the rows.

    Raises:
        ValueError: detections are averages of several rows.
    """
    if found.rows is None:
        raise ValueError(
            "expected detections that each come from one RoI, found test.suppression "
            "weighted, which averages several; choose another, or leave out all_scores"
        )
    every = torch.cat(list(scores), dim=1).float()
    rows = found.rows[:, :, None].expand(-1, -1, every.shape[2])
    return replace(found, class_scores=every.gather(1, rows))
