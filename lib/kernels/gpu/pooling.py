"""RoI pooling on GPUs, in Triton, with the semantics of ``csrc/roi_*.c``.

Letters: N images, R RoIs per image, C channels, P output cells per side, L levels.

Forward, one launch covers all levels: a program selects its RoI's level itself.
Backward, each level has a launch whose programs own cells of its map (see
``roi_backward.py``), so there are no atomics and no zeroed float32 copy of the map.
Everything that depends on a RoI is computed in the kernels, and nothing waits for the
host. Map sizes are passed as floats, because Triton recompiles for integers that are
multiples of 16.
"""

from collections.abc import Sequence

import torch
import triton  # type: ignore[import-untyped, unused-ignore]
from torch import Tensor

from ..pooling_layout import Options, empty_grads, format_of, outputs_like
from .roi_backward import roi_backward, touched_cells
from .roi_forward import roi_forward

CHANNELS = 128  # channels of one program
WIDTH = 8  # neighbouring cells of one program of the backward pass
AT_ONCE = 128  # number of RoIs that one test for touched cells covers


def roi_pool(
    features: Sequence[Tensor],
    rois: Tensor,
    sizes: Sequence[Tensor] | None,
    options: Options,
) -> tuple[Tensor, Tensor]:
    """Pool every RoI from its level.

    Args:
        features: L maps ``(N, C, H, W)`` of float32, bfloat16 or float16, finest
            first, all contiguous or all channels_last (the faster of the two).
        rois: ``(N, R, 4)`` float32 in pixels of the network input, contiguous.
        sizes: per level ``(N, 2)`` int64 true rows and columns; None if unpadded.
        options: see ``pooling.roi_pool``; the mode is a number.

    Returns:
        ``(N * R, C, P, P)`` in the features' dtype and memory format, and the positions
        of maxima for the backward pass, channels_last: for pool the cell, int32 (-1 for
        none); with ``max_pool`` the sample, uint8; else nothing.
    """
    scales, size, mode, sampling_ratio, aligned, max_pool, *canonical = options
    first, last = features[0], format_of(features) == torch.channels_last
    per_image, channels = rois.shape[1], first.shape[1]
    pooled, places = outputs_like(features, rois, options)
    if pooled.numel() == 0:
        return pooled, places
    cells = triton.next_power_of_2(size)
    block = min(triton.next_power_of_2(channels), CHANNELS if last else CHANNELS // 2)
    # channels_last: two 16-byte loads per thread. Otherwise one load per number, 8
    # each.
    bytes_per_thread = 32 if last else 8 * first.itemsize
    warps = cells * block * first.itemsize // (32 * bytes_per_thread)
    with torch.cuda.device(rois.get_device()):
        roi_forward[(len(pooled) * size, triton.cdiv(channels, block))](
            tuple(features),
            None if sizes is None else tuple(sizes),
            tuple(float(f.shape[2]) for f in features),
            tuple(float(f.shape[3]) for f in features),
            tuple(scales),
            rois, pooled, places, channels, per_image, *canonical,
            LEVELS=len(features), P=size, CELLS=cells, BLOCK=block, LAST=last,
            MODE=mode, RATIO=sampling_ratio, ALIGNED=aligned, MAXIMA=max_pool,
            num_warps=min(max(warps, 1), 8), enable_fp_fusion=False,
        )  # fmt: skip
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
    """Compute the features' gradients; repeated runs give identical bits.

    Args:
        grad: ``(N * R, C, P, P)`` gradient of `roi_pool`'s output.
        places: positions of maxima that `roi_pool` returned.
        rois: RoIs as given to `roi_pool`; likewise all further arguments.
        sizes: per level ``(N, 2)`` int64.
        shapes: H and W of each level, one after the other.
        channels_last: the memory format of the gradients.
        options: options as given to `roi_pool`.

    Returns:
        Per level ``(N, C, H, W)`` in the gradient's dtype.
    """
    scales, size, mode, sampling_ratio, aligned, max_pool, *canonical = options
    images, per_image = rois.shape[:2]
    channels, count = grad.shape[1], rois.shape[0] * rois.shape[1]
    grad = grad.contiguous(memory_format=torch.channels_last)
    grads = empty_grads(grad, rois, shapes, channels_last)
    if count == 0 or channels == 0:
        return [g.zero_() for g in grads]
    side = 2 * size if max_pool else size
    cells = triton.next_power_of_2(side)
    # One warp, so that the sums over a RoI's rows stay in a thread's registers.
    block = min(
        triton.next_power_of_2(channels), CHANNELS if cells <= 16 else CHANNELS // 2
    )
    how = {"MODE": mode, "RATIO": sampling_ratio, "ALIGNED": aligned, "num_warps": 1}
    how["enable_fp_fusion"] = False
    table = torch.empty((5, count), dtype=torch.int32, device=rois.device)
    with torch.cuda.device(rois.get_device()):
        touched_cells[(triton.cdiv(count, 128),)](
            None if sizes is None else tuple(sizes),
            tuple(map(float, shapes[::2])), tuple(map(float, shapes[1::2])),
            tuple(scales), rois, table, per_image, count, *canonical,
            LEVELS=len(grads), SIDE=side, BLOCK=128, **how,
        )  # fmt: skip
        for level, out in enumerate(grads):
            height, width = out.shape[2:]
            if out.numel() == 0:
                continue
            grid = (
                height * triton.cdiv(width, WIDTH),
                triton.cdiv(channels, block),
                images,
            )
            roi_backward[grid](
                None if sizes is None else sizes[level],
                table, rois, grad, places, out, height, width, scales[level],
                channels, per_image, count,
                LEVEL=level, P=size, CELLS=cells, WIDTH=WIDTH, BLOCK=block,
                LAST=channels_last, MAXIMA=max_pool, AT_ONCE=AT_ONCE, **how,
            )  # fmt: skip
    return grads
