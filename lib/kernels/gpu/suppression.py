"""Suppression on GPUs, in Triton, with the arithmetic of ``../csrc/nms.c``.

Letters: N images, R boxes per image, K output slots.

Sorted boxes are split into panels of 4096. For all panels at once, on all
multiprocessors, one kernel writes as bits which earlier boxes of its panel each box
overlaps. Then, panel by panel, one kernel compares the panel's boxes with the boxes
kept so far, and one program per image resolves the panel: it tests 256 boxes at a time
against the bits of the kept boxes, which costs one load where a plain loop costs 32
overlaps, and settles them among themselves by repeating "keep each box that no kept box
overlaps" until nothing changes.

The reason: a loop in one program per image computes each of its millions of overlaps on
one multiprocessor. A matrix of all pairs, as in torchvision, uses all multiprocessors,
but takes R * R bits, computes unneeded overlaps once K boxes are kept, and does not fit
the cache. A panel's bits are 2 MB, memory grows with R only, and after the K-th kept
box the remaining kernels return at once.

Nothing waits for the host, and no shape depends on a value.
"""

import numpy as np
import torch
import triton  # type: ignore[import-untyped, unused-ignore]
from torch import Tensor

from . import suppression_kernels as kernels

PANEL = 4096  # boxes whose overlaps with each other are stored as bits
TILE = 512  # boxes of one program of the bits: 4 per thread, so that a load serves 4
BLOCK = 256  # boxes that are resolved together
SHARES = 16  # programs that share the kept boxes when a panel is compared with them
AT_ONCE = 64  # words of bits that one program loads together


def nms(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    groups: Tensor,
    limit: float,
    max_outputs: int,
    offset: float,
) -> tuple[Tensor, Tensor]:
    """Keep the best boxes; arguments and results are those of ``cpu.nms``."""
    images, count = scores.shape
    index = scores.new_zeros((images, max_outputs), dtype=torch.int64)
    kept = torch.zeros_like(index, dtype=torch.bool)
    if index.numel() == 0 or count == 0:
        return index, kept
    with torch.cuda.device(boxes.get_device()):
        keys, order, fields = _sorted(
            boxes.float().contiguous(),
            scores.float().contiguous(),
            valid,
            groups.long(),
            offset,
        )
        _walk(keys, order, fields, limit, index, kept)
    return index, kept


def _sorted(
    boxes: Tensor, scores: Tensor, valid: Tensor, groups: Tensor, offset: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Sort boxes, best first: keys, order, and x1, y1, x2, y2, area, group."""
    images, count = scores.shape
    keys = torch.empty_like(scores, dtype=torch.int32)
    kernels.score_keys[(triton.cdiv(keys.numel(), 1024),)](
        scores, valid.contiguous(), keys, keys.numel(), BLOCK=1024
    )
    keys, order = torch.sort(keys, dim=1, descending=True, stable=True)
    fields = boxes.new_empty((images, 6, count))
    kernels.gather[(triton.cdiv(count, 256), images)](
        boxes, groups.contiguous(), order, fields, count, offset, BLOCK=256,
        enable_fp_fusion=False,
    )  # fmt: skip
    return keys, order, fields


def _walk(
    keys: Tensor,
    order: Tensor,
    fields: Tensor,
    limit: float,
    index: Tensor,
    kept: Tensor,
) -> None:
    """Fill `index` and `kept` panel by panel."""
    (images, count), slots = keys.shape, index.shape[1]
    panel = min(PANEL, max(TILE, triton.next_power_of_2(count)))
    panels, words = triton.cdiv(count, panel), panel // 32
    half_step, divide = _rounding(limit)

    def empty(*shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=keys.device)

    bits = empty(images, panels, words, panel)
    hits = empty(images, SHARES, panel, dtype=torch.int8)
    kept_words = empty(images, words)
    kept_fields = empty(images, 6, slots, dtype=torch.float32)
    counts = torch.zeros(images, dtype=torch.int32, device=keys.device)
    kernels.overlap_bits[(panel // TILE * words, panels, images)](
        keys, fields, bits, count, limit, half_step,
        PANEL=panel, TILE=TILE, DIVIDE=divide, enable_fp_fusion=False, num_warps=4,
    )  # fmt: skip
    for first in range(0, count, panel):
        if first > 0:
            kernels.meet_kept[(panel // BLOCK, SHARES, images)](
                keys, fields, kept_fields, counts, hits, count, slots, first,
                limit, half_step,
                TILE=BLOCK, SHARES=SHARES, DIVIDE=divide, enable_fp_fusion=False,
                num_warps=2,
            )  # fmt: skip
        kernels.resolve_panel[(images,)](
            keys, order, fields, bits, hits, kept_words, kept_fields, counts,
            index, kept, count, slots, first,
            PANEL=panel, BLOCK=BLOCK, SHARES=SHARES, AT_ONCE=AT_ONCE, num_warps=16,
        )  # fmt: skip


def _rounding(limit: float) -> tuple[float, bool]:
    """Return half the step from limit to the next float32, and whether to divide."""
    following = np.nextafter(np.float32(limit), np.float32(np.inf))
    return (float(following) - limit) / 2, not 1e-3 <= limit <= 1e3
