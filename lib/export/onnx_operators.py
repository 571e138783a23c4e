"""Convert the package's own operators to ONNX's standard ones, for any runtime.

Letters: N images, R boxes per image, K output slots, D masks, S cells per side of a
mask.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..nms.nms import _float32_limit
from .onnx_graph import FLOAT, Value, floats, integer, integers, number, op
from .onnx_pooling import roi_pool

_LOWEST = float(np.finfo(np.float32).min)


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Each operator of the package with its translation, for ``torch.onnx.export``."""
    return {
        torch.ops.faster_rcnn.nms.default: nms,
        torch.ops.faster_rcnn.roi_pool.default: roi_pool,
        torch.ops.faster_rcnn.paste_masks.default: paste_masks,
    }


def nms(
    boxes: Value,
    scores: Value,
    valid: Value,
    groups: Value,
    threshold: float,
    max_outputs: int,
    offset: float,
    inclusive: bool,
) -> tuple[Value, Value]:
    """``faster_rcnn::nms``, see ``nms.nms.nms``.

    NonMaxSuppression returns the kept boxes; they are marked among all boxes, and the
    best K marked boxes fill the slots.
    """
    limit = _float32_limit(threshold, inclusive=inclusive)
    edges = op.Add(boxes, floats(0, 0, offset, offset))
    scores = op.Where(valid, scores, number(-math.inf))
    # One row of scores per group, (N, groups, R); what is of another group is lowest.
    last = op.ReduceMax(groups, keepdims=0)
    each = op.Range(integer(0), op.Add(last, integer(1)), integer(1))
    mine = op.Equal(op.Unsqueeze(groups, integers(1)), op.Unsqueeze(each, integers(1)))
    by_group = op.Where(mine, op.Unsqueeze(scores, integers(1)), number(-math.inf))
    picked = op.NonMaxSuppression(
        edges, by_group, integers(max_outputs), floats(limit), floats(_LOWEST)
    )  # (kept, 3): image, group, box
    picked = op.Gather(picked, integers(0, 2), axis=1)
    nothing = op.Expand(number(-math.inf), op.Shape(scores))
    kept_scores = op.ScatterND(nothing, picked, op.GatherND(scores, picked))
    # Enough slots where there are fewer boxes.
    slots = op.Concat(op.Shape(scores, start=0, end=1), integers(max_outputs), axis=0)
    kept_scores = op.Concat(kept_scores, op.Expand(number(-math.inf), slots), axis=1)
    best, index = op.TopK(kept_scores, integers(max_outputs), axis=1)
    kept = op.Greater(best, number(-math.inf))
    return op.Where(kept, index, integer(0)), kept


def paste_masks(masks: Value, rows: Value, columns: Value) -> Value:
    """``faster_rcnn::paste_masks``, see ``kernels.pasting.paste``.

    Bilinear interpolation is a product of two matrices, for the rows and the columns.
    """
    cells = op.Shape(masks, start=2, end=3)
    cells = op.Range(integer(0), op.Squeeze(cells), integer(1))
    cells = op.Cast(cells, to=FLOAT)

    def weights(at: Value) -> Value:
        away = op.Abs(op.Sub(op.Unsqueeze(at, integers(2)), cells))
        return op.Max(op.Sub(number(1), away), number(0))

    across = op.Transpose(weights(columns), perm=(0, 2, 1))  # (D, S, W)
    values = op.MatMul(weights(rows), op.MatMul(masks, across))
    return op.GreaterOrEqual(values, number(0.5))
