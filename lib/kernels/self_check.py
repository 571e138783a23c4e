"""Small hard cases on which a kernel must agree with a readable reference.

They hold ties, boxes without area, empty slots, padding, RoIs off the map, and sizes
that are no multiple of a vector.
"""

from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..layer_utils import bilinear
from . import matching, pooling


def fault_of(name: str, kernels: ModuleType) -> str | None:
    """What an operator gets wrong, None if nothing.

    Args:
        name: ``nms``, ``soft_nms``, ``match_boxes`` or ``roi_pool``.
        kernels: module with the functions of ``_cpu.pyi``.
    """
    check = {
        "nms": _nms,
        "soft_nms": _soft_nms,
        "match_boxes": _match_boxes,
        "roi_pool": _roi_pool,
    }[name]
    # In a thread of its own no mode of the caller's holds: no_grad, inference mode,
    # autocast, a default device.
    with ThreadPoolExecutor(1) as executor:
        try:
            return executor.submit(check, kernels).result()
        except Exception as error:  # whatever it is, the kernel cannot be used
            return f"{type(error).__name__}: {error}"


def _nms(kernels: ModuleType) -> str | None:
    from .suppression import nms_by_kernel

    boxes, scores, valid, groups = _candidates()
    for limit, offset, slots in ((0.5, 0.0, 200), (0.7, 1.0, 20), (0.0, 0.0, 50)):
        index, kept = nms_by_kernel(
            kernels, boxes, scores, valid, groups, limit, slots, offset
        )
        for i in range(2):
            expected = _slow_nms(
                boxes[i], scores[i], valid[i], groups[i], limit, offset
            )
            expected = expected[:slots]
            if index[i, kept[i]].tolist() != expected or kept[i].sum() != len(expected):
                return f"other boxes kept at an IoU limit of {limit}"
    return None


def _soft_nms(kernels: ModuleType) -> str | None:
    from ..nms.soft_nms import soft_nms_by_steps
    from .suppression import soft_nms_by_kernel

    candidates = _candidates()
    for gaussian in (False, True):
        options: tuple[Any, ...] = (40, gaussian, 0.5, 0.3, 0.05, 1.0)
        found = soft_nms_by_kernel(kernels, *candidates, *options)
        expected = soft_nms_by_steps(*candidates, *options)
        if not all(torch.allclose(a, b) for a, b in zip(found, expected, strict=True)):
            return f"other boxes with {'gaussian' if gaussian else 'linear'} decay"
    return None


def _candidates() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes with scores, valid mask and groups: ties, one without area, one huge."""
    generator = torch.Generator().manual_seed(0)
    boxes = _boxes(2, 150, generator)
    boxes[0, 20:40] = boxes[0, :20]
    boxes[1, 5, 2:] = boxes[1, 5, :2]
    boxes[1, 7] *= 1000
    scores = torch.randint(0, 40, (2, 150), generator=generator) / 40
    valid = torch.rand(2, 150, generator=generator) < 0.9
    return boxes, scores, valid, torch.randint(0, 3, (2, 150), generator=generator)


def _slow_nms(
    boxes: Tensor,
    scores: Tensor,
    valid: Tensor,
    groups: Tensor,
    limit: float,
    offset: float,
) -> list[int]:
    """Suppression by its definition."""
    far = boxes + torch.tensor([0, 0, offset, offset])
    sides = far[:, 2:] - far[:, :2]
    areas = sides[:, 0] * sides[:, 1]
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if not valid[i]:
            continue
        others = torch.tensor(kept, dtype=torch.int64)
        others = others[groups[others] == groups[i]]
        low = torch.maximum(far[i, :2], far[others, :2])
        high = torch.minimum(far[i, 2:], far[others, 2:])
        inter = (high - low).clamp(min=0).prod(dim=1)
        if not (inter / (areas[i] + areas[others] - inter) > limit).any():
            kept.append(i)
    return kept


def _match_boxes(kernels: ModuleType) -> str | None:
    generator = torch.Generator().manual_seed(0)
    boxes = _boxes(2, 600, generator).round()
    gt_boxes = _boxes(2, 9, generator).round()
    boxes[:, :9] = gt_boxes
    gt_boxes[:, 3] = gt_boxes[:, 2]  # ties
    boxes[:, 30, 2:] = boxes[:, 30, :2]
    valid = torch.rand(2, 9, generator=generator) < 0.8
    usable = torch.rand(2, 600, generator=generator) < 0.7
    crowd = torch.rand(2, 9, generator=generator) < 0.3
    for offset in (0.0, 1.0):
        inputs = (boxes, gt_boxes, valid, offset, usable, crowd)
        found = matching.match_by_kernel(kernels, *inputs)
        expected = matching.match_by_matrix(*inputs)
        for field, a, b in zip(matching.Matches._fields, found, expected, strict=True):
            if not torch.equal(a, b):
                return f"another {field} with offset {offset}"
    return None


def _roi_pool(kernels: ModuleType) -> str | None:
    generator = torch.Generator().manual_seed(0)
    rois = _boxes(2, 12, generator) - 20
    rois[:, 3, 2:] = rois[:, 3, :2]
    rois[:, 4] += 500
    rois[:, 5] = torch.tensor([0.0, 0.0, 176.0, 144.0])
    wide = torch.randn(2, 19, 9, 11, generator=generator)
    for fmt in (torch.channels_last, torch.contiguous_format):
        features = wide.contiguous(memory_format=fmt)
        for mode, sampling, aligned in (
            ("align", 0, False),
            ("align", 2, True),
            ("crop", 0, False),
            ("crop_stn", 0, False),
        ):
            options = pooling.Options(
                [1 / 16], 3, pooling.MODES[mode], sampling, aligned, False, 224.0, 0
            )
            maps = features.clone().requires_grad_()
            corners = rois / 16
            if mode == "align":
                expected = bilinear.align(
                    maps, corners, size=3, sampling_ratio=sampling, aligned=aligned
                )
            else:
                beyond = mode == "crop_stn"
                expected = bilinear.crop(maps, corners, size=3, zeros_beyond=beyond)
            found, places = pooling.pool_by_kernel(
                kernels, [features], rois, None, options
            )
            grad = torch.randn(found.shape, generator=generator)
            (wanted,) = torch.autograd.grad(expected, maps, grad)
            (got,) = pooling.pool_backward_by_kernel(
                kernels,
                grad.contiguous(memory_format=fmt),
                places,
                rois,
                None,
                [9, 11],
                fmt == torch.channels_last,
                options,
            )
            for what, a, b in (("values", found, expected), ("gradients", got, wanted)):
                if not torch.allclose(a, b, rtol=1e-4, atol=1e-4):
                    return f"other {what} of {mode} in {fmt}"
    return None


def _boxes(images: int, count: int, generator: torch.Generator) -> Tensor:
    """``(images, count, 4)`` boxes in clusters on 176 x 144 pixels."""
    centre = torch.randint(1, 5, (images, count, 2), generator=generator) * 30.0
    centre += 6 * torch.randn(images, count, 2, generator=generator)
    sides = 20 + 40 * torch.rand(images, count, 2, generator=generator)
    return torch.cat((centre - sides / 2, centre + sides / 2), dim=2)
