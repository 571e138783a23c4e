"""The compiled CPU kernels behind the operators.

Arguments are not checked here, but by the operators. ``gpu`` has the same functions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..utils.forking import survive_forks
from . import _cpu
from .pooling_layout import MAXIMA, Options, empty_grads, outputs_like
from .reference import empty_matches

INTERFACE = 5
if getattr(_cpu, "interface", 0) != INTERFACE:
    raise ImportError("the kernels were built from another version of the sources")

survive_forks()  # the kernels run in OpenMP's threads

_DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
if not _cpu.float16:
    del _DTYPES[torch.float16]

POOLED_DTYPES = frozenset(_DTYPES)
"""Feature dtypes that `roi_pool` supports."""


def nms(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    groups: Tensor,
    limit: float,
    max_outputs: int,
    offset: float,
) -> tuple[Tensor, Tensor]:
    """Keep the best boxes of each image, and drop boxes that overlap a better one.

    Args:
        boxes: ``(N, R, 4)``.
        scores: ``(N, R)``; NaN sorts first, ties by index.
        valid: ``(N, R)`` bool.
        groups: ``(N, R)`` int64 below 2**31; boxes suppress only boxes of their own
            group.
        limit: largest IoU that two kept boxes may have, a float32.
        max_outputs: K.
        offset: added to widths and heights.

    Returns:
        Indices ``(N, K)`` int64, best first, 0 where a slot is empty, and ``(N, K)``
        bool, True where a slot holds a box.
    """
    boxes, scores = boxes.float().contiguous(), scores.float().contiguous()
    valid, groups = valid.contiguous(), groups.long().contiguous()
    shape, device = (boxes.shape[0], max_outputs), boxes.device
    index = torch.empty(shape, dtype=torch.int64, device=device)
    kept = torch.empty(shape, dtype=torch.bool, device=device)
    _cpu.nms(
        boxes.data_ptr(),
        scores.data_ptr(),
        valid.data_ptr(),
        groups.data_ptr(),
        boxes.shape[0],
        boxes.shape[1],
        limit,
        offset,
        max_outputs,
        index.data_ptr(),
        kept.data_ptr(),
        torch.get_num_threads(),
    )
    return index, kept


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    groups: Tensor,
    max_outputs: int,
    gaussian: bool,
    sigma: float,
    threshold: float,
    min_score: float,
    offset: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the fields of ``nms.soft_nms.SoftlyKept``; see there for arguments."""
    boxes, scores = boxes.float().contiguous(), scores.float().contiguous()
    valid, groups = valid.contiguous(), groups.long().contiguous()
    chosen = scores.new_empty((boxes.shape[0], max_outputs))
    index = torch.empty_like(chosen, dtype=torch.int64)
    kept = torch.empty_like(chosen, dtype=torch.bool)
    _cpu.soft_nms(
        boxes.data_ptr(),
        scores.data_ptr(),
        valid.data_ptr(),
        groups.data_ptr(),
        boxes.shape[0],
        boxes.shape[1],
        gaussian,
        sigma,
        threshold,
        min_score,
        offset,
        max_outputs,
        index.data_ptr(),
        kept.data_ptr(),
        chosen.data_ptr(),
        torch.get_num_threads(),
    )
    return index, kept, chosen


def match_boxes(
    boxes: Tensor,
    gt_boxes: Tensor,
    gt_valid: Tensor,
    offset: float,
    usable: Tensor | None,
    crowd: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the fields of `Matches` for contiguous tensors."""
    overlap, matched, is_best, crowd_share = empty_matches(boxes, gt_boxes)
    _cpu.match(
        boxes.data_ptr(),
        0 if boxes.dim() == 2 else boxes.stride(0),
        gt_boxes.data_ptr(),
        gt_valid.data_ptr(),
        0 if crowd is None else crowd.data_ptr(),
        0 if usable is None else usable.data_ptr(),
        gt_boxes.shape[0],
        boxes.shape[-2],
        gt_boxes.shape[1],
        offset,
        overlap.data_ptr(),
        matched.data_ptr(),
        is_best.data_ptr(),
        crowd_share.data_ptr(),
        torch.get_num_threads(),
    )
    return overlap, matched, is_best, crowd_share


def draw_polygons(
    vertices: Tensor,
    parts: Tensor,
    boxes: Tensor,
    matched: Tensor,
    size: int,
    num_parts: int,
) -> Tensor:
    """Draw polygons into boxes; see ``kernels.polygons`` for contiguous arguments."""
    masks = boxes.new_empty((*matched.shape, size, size), dtype=torch.bool)
    images, objects, slots = parts.shape
    _cpu.draw_polygons(
        vertices.data_ptr(),
        parts.data_ptr(),
        boxes.data_ptr(),
        matched.data_ptr(),
        images,
        objects,
        slots,
        matched.shape[1],
        size,
        masks.data_ptr(),
        torch.get_num_threads(),
    )
    return masks


def paste_masks(masks: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Paste masks; see ``kernels.pasting.paste`` for contiguous arguments."""
    height, width = rows.shape[1], columns.shape[1]
    # Zeros of the operating system: pages without an object are never written.
    pasted = torch.from_numpy(np.zeros((len(masks), height, width), np.bool_))
    _cpu.paste_masks(
        masks.data_ptr(),
        rows.data_ptr(),
        columns.data_ptr(),
        len(masks),
        masks.shape[1],
        height,
        width,
        pasted.data_ptr(),
        torch.get_num_threads(),
    )
    return pasted


def roi_pool(
    features: Sequence[Tensor],
    rois: Tensor,
    sizes: Sequence[Tensor] | None,
    options: Options,
) -> tuple[Tensor, Tensor]:
    """Pool regions, and return the positions of their maxima too.

    The C code reads maps in channels_last only: copying contiguous maps is faster than
    a variant of the code for them.
    """
    pooled, places = outputs_like(features, rois, options)
    maps = [f.contiguous(memory_format=torch.channels_last) for f in features]
    task = _task(maps, rois, sizes, options, pooled)
    run = task.max_forward if options.mode == MAXIMA else task.bilinear_forward
    run(pooled.data_ptr(), places.data_ptr())
    return pooled, places


def roi_pool_backward(
    grad: Tensor,
    places: Tensor,
    rois: Tensor,
    sizes: Sequence[Tensor] | None,
    shapes: Sequence[int],
    channels_last: bool,
    options: Options,
) -> list[Tensor]:
    """Compute the features' gradients, summed in float32 in a fixed order."""
    grads = empty_grads(grad, rois, shapes, channels_last=True)
    task = _task(grads, rois, sizes, options, grad)
    run = task.max_backward if options.mode == MAXIMA else task.bilinear_backward
    run(grad.data_ptr(), places.data_ptr())
    if channels_last:
        return grads
    return [_transpose(g, torch.empty(g.shape, dtype=g.dtype)) for g in grads]


def _transpose(source: Tensor, target: Tensor) -> Tensor:
    """Copy channels_last to contiguous ``(N, C, H, W)``, as N transposed matrices.

    PyTorch copies a transposed matrix in blocks, two to four times as fast as a tensor
    of four dimensions.
    """
    rows = source.permute(0, 2, 3, 1).flatten(1, 2)  # (N, H * W, C)
    for to, of in zip(target.flatten(2).unbind(), rows.unbind(), strict=True):
        to.copy_(of.t())
    return target


def _task(
    maps: Sequence[Tensor],
    rois: Tensor,
    sizes: Sequence[Tensor] | None,
    options: Options,
    pooled: Tensor,
) -> Any:
    """Describe the task for the C code, by addresses: the tensors must stay alive.

    The regions, or their gradient, are contiguous or channels_last.
    """
    levels = [
        (
            f.data_ptr(),
            f.shape[2],
            f.shape[3],
            0 if sizes is None else sizes[level].data_ptr(),
            options.scales[level],
        )
        for level, f in enumerate(maps)
    ]
    return _cpu.RoiPooling(
        levels,
        options.canonical_size,
        options.canonical_level,
        rois.shape[0],
        maps[0].shape[1],
        _DTYPES[maps[0].dtype],
        rois.data_ptr(),
        rois.shape[1],
        options.size,
        options.mode,
        options.sampling_ratio,
        options.aligned,
        options.max_pool,
        pooled.is_contiguous(),
        torch.get_num_threads(),
    )
