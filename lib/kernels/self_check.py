"""Small hard cases on which a kernel must agree with a readable reference.

They contain ties, boxes without area, empty slots, padding, RoIs outside the map, and
sizes that are no multiple of a vector.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import bilinear, mask_reference, reference
from .pooling_layout import MODES, Options

_POOLINGS = (  # mode, sampling ratio, aligned
    ("align", 0, False),
    ("align", 2, True),
    ("crop", 0, False),
    ("crop_stn", 0, False),
    ("pool", 0, False),
)


def fault_of(name: str, kernels: ModuleType, device_type: str) -> str | None:
    """Check a kernel, and describe its first error; None if there is none.

    Args:
        name: ``nms``, ``soft_nms``, ``match_boxes``, ``roi_pool``, ``draw_polygons`` or
            ``paste_masks``.
        kernels: module with the functions of ``cpu``.
        device_type: device to run on.
    """
    check = {
        "nms": _nms,
        "soft_nms": _soft_nms,
        "match_boxes": _match_boxes,
        "roi_pool": _roi_pool,
        "draw_polygons": _draw_polygons,
        "paste_masks": _paste_masks,
    }[name]
    # A new thread has none of the caller's modes: no_grad, inference mode, autocast, a
    # default device.
    with ThreadPoolExecutor(1) as executor:
        try:
            return executor.submit(check, kernels, device_type).result()
        except Exception as error:  # after any error the kernel cannot be used
            return f"{type(error).__name__}: {error}"


def _nms(kernels: ModuleType, device_type: str) -> str | None:
    candidates = boxes, scores, valid, groups = _candidates()
    there = [tensor.to(device_type) for tensor in candidates]
    for limit, offset, slots in ((0.5, 0.0, 200), (0.7, 1.0, 20), (0.0, 0.0, 50)):
        found = kernels.nms(*there, limit, slots, offset)
        index, kept = (tensor.cpu() for tensor in found)
        for i in range(2):
            expected = _slow_nms(
                boxes[i], scores[i], valid[i], groups[i], limit, offset
            )
            expected = expected[:slots]
            if index[i, kept[i]].tolist() != expected or kept[i].sum() != len(expected):
                return f"other boxes kept at an IoU limit of {limit}"
    return None


def _soft_nms(kernels: ModuleType, device_type: str) -> str | None:
    candidates: tuple[Any, ...] = tuple(x.to(device_type) for x in _candidates())
    for gaussian in (False, True):
        options: tuple[Any, ...] = (40, gaussian, 0.5, 0.3, 0.05, 1.0)
        found = kernels.soft_nms(*candidates, *options)
        expected = reference.soft_nms_by_steps(*candidates, *options)
        if not all(torch.allclose(a, b) for a, b in zip(found, expected, strict=True)):
            return f"other boxes with {'gaussian' if gaussian else 'linear'} decay"
    return None


def _candidates() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Make boxes, scores, valid mask and groups: ties, one without area, one huge."""
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
    """Suppress boxes by the definition."""
    far = boxes + torch.tensor([0, 0, offset, offset])
    sides = far[:, 2:] - far[:, :2]
    areas = sides[:, 0] * sides[:, 1]
    low = torch.maximum(far[:, None, :2], far[:, :2])
    high = torch.minimum(far[:, None, 2:], far[:, 2:])
    inter = (high - low).clamp(min=0).prod(dim=2)
    over = inter / (areas[:, None] + areas - inter) > limit
    # Lists, since reading single values of a tensor is slow.
    rivals = (over & (groups[:, None] == groups)).tolist()
    usable = valid.tolist()
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if usable[i] and not any(rivals[i][j] for j in kept):
            kept.append(i)
    return kept


def _match_boxes(kernels: ModuleType, device_type: str) -> str | None:
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
        expected = reference.match_by_matrix(*inputs)
        there = [x.to(device_type) if isinstance(x, Tensor) else x for x in inputs]
        found = kernels.match_boxes(*there)
        for field, a, b in zip(reference.Matches._fields, found, expected, strict=True):
            if not torch.equal(a.cpu(), b):
                return f"another {field} with offset {offset}"
    return None


def _roi_pool(kernels: ModuleType, device_type: str) -> str | None:
    generator = torch.Generator().manual_seed(0)
    rois = _boxes(2, 6, generator) - 20
    rois[:, 3, 2:] = rois[:, 3, :2]
    rois[:, 4] += 500
    rois[:, 5] = torch.tensor([0.0, 0.0, 176.0, 144.0])
    wide = torch.randn(2, 19, 9, 11, generator=generator)
    formats = torch.channels_last, torch.contiguous_format
    for mode, sampling, aligned in _POOLINGS:
        options = Options([1 / 16], 3, MODES[mode], sampling, aligned, False, 224.0, 0)
        maps = wide.clone().requires_grad_()
        expected = _readable_pool(maps, rois, mode, sampling, aligned)
        grad = torch.randn(expected.shape, generator=generator)
        (wanted,) = torch.autograd.grad((expected * grad).sum(), maps)
        for fmt in formats:
            features = wide.contiguous(memory_format=fmt)
            there = features.to(device_type), rois.to(device_type)
            found, places = kernels.roi_pool([there[0]], there[1], None, options)
            (got,) = kernels.roi_pool_backward(
                grad.to(device_type).contiguous(memory_format=torch.channels_last),
                places,
                there[1],
                None,
                [9, 11],
                fmt == torch.channels_last,
                options,
            )
            for what, a, b in (("values", found, expected), ("gradients", got, wanted)):
                if not torch.allclose(a.cpu(), b, rtol=1e-4, atol=1e-4):
                    return f"other {what} of {mode} in {fmt}"
    return None


def _draw_polygons(kernels: ModuleType, device_type: str) -> str | None:
    """Check stars of two parts, half of them with all vertices on whole pixels."""
    generator = torch.Generator().manual_seed(0)
    vertices = 120 * torch.rand(2, 4, 12, 2, generator=generator) - 20
    vertices[:, ::2] = vertices[:, ::2].round()
    vertices[:, :, 6], vertices[:, :, 11] = vertices[:, :, 0], vertices[:, :, 7]
    parts = torch.tensor([0] * 7 + [1] * 5, dtype=torch.int16).expand(2, 4, 12)
    parts = parts.clone()
    parts[0, 1], parts[1, 2, 7:] = -1, -1
    boxes = _boxes(2, 9, generator)
    boxes[:, 3] = torch.tensor([10.0, 10.0, 30.0, 30.0])
    boxes[:, 4, 2:] = boxes[:, 4, :2]
    matched = torch.randint(0, 4, (2, 9), generator=generator)
    inputs = vertices, parts, boxes, matched
    expected = mask_reference.draw_by_columns(*inputs, 7, 2)
    found = kernels.draw_polygons(*(tensor.to(device_type) for tensor in inputs), 7, 2)
    return None if torch.equal(found.cpu(), expected) else "other cells"


def _paste_masks(kernels: ModuleType, device_type: str) -> str | None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(5, 9, 9, generator=generator)
    starts, steps = torch.tensor([[-4.0], [0.0], [-0.5], [4.0], [30.0]]), 0.37
    rows, columns = starts + steps * torch.arange(23), starts + steps * torch.arange(37)
    expected = mask_reference.paste_by_matrices(masks, rows, columns)
    there = (tensor.to(device_type) for tensor in (masks, rows, columns))
    found = kernels.paste_masks(*there)
    return None if torch.equal(found.cpu(), expected) else "other pixels"


def _readable_pool(
    features: Tensor, rois: Tensor, mode: str, sampling_ratio: int, aligned: bool
) -> Tensor:
    """Pool to 3x3 at a stride of 16 without the kernel."""
    if mode == "pool":
        images = zip(features, rois, strict=True)
        return torch.cat([_slow_max_pool(f, r) for f, r in images])
    if mode == "align":
        return bilinear.align(
            features, rois / 16, size=3, sampling_ratio=sampling_ratio, aligned=aligned
        )
    beyond = mode == "crop_stn"
    return bilinear.crop(features, rois / 16, size=3, zeros_beyond=beyond)


def _slow_max_pool(features: Tensor, rois: Tensor) -> Tensor:
    """Compute RoI max pooling of one image by its definition."""
    pooled = []
    for x1, y1, x2, y2 in (rois / 16).add(0.5).floor().tolist():
        for y in range(3):
            rows = _bin(y, y1, y2, features.shape[1])
            for x in range(3):
                cells = features[:, rows, _bin(x, x1, x2, features.shape[2])]
                empty = 0 in cells.shape
                pooled.append(cells.sum((1, 2)) if empty else cells.amax((1, 2)))
    return torch.stack(pooled).view(-1, 3, 3, len(features)).permute(0, 3, 1, 2)


def _bin(i: int, low: float, high: float, cells: int) -> slice:
    step = max(high - low + 1, 1) / 3
    first, last = low + math.floor(i * step), low + math.ceil((i + 1) * step)
    return slice(int(min(max(first, 0), cells)), int(min(max(last, 0), cells)))


def _boxes(images: int, count: int, generator: torch.Generator) -> Tensor:
    """Make ``(images, count, 4)`` boxes in clusters on 176 x 144 pixels."""
    centre = torch.randint(1, 5, (images, count, 2), generator=generator) * 30.0
    centre += 6 * torch.randn(images, count, 2, generator=generator)
    sides = 20 + 40 * torch.rand(images, count, 2, generator=generator)
    return torch.cat((centre - sides / 2, centre + sides / 2), dim=2)
