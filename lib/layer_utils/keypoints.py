"""Keypoints as cells of heatmaps, and back (Mask R-CNN, section 5).

Letters: N images, R RoIs per image, D boxes, K keypoints of an object, S cells per side
of a heatmap.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_COARSE = 112  # positions per side that are looked at first
_BEST = 8  # peaks around which all positions are looked at
_CUBIC = -0.75  # PyTorch's bicubic kernel
_AT_ONCE = 256  # heatmaps that are decoded at once: some 150 MB


class KeypointTargets(NamedTuple):
    """The cell of each keypoint.

    Attributes:
        cells: ``(N, R, K)`` int64, row * S + column; 0 where not valid.
        valid: ``(N, R, K)`` bool, keypoints that are labelled and inside their RoI.
    """

    cells: Tensor
    valid: Tensor


def keypoint_targets(
    keypoints: Tensor, rois: Tensor, matched: Tensor, *, size: int
) -> KeypointTargets:
    """Find the cell of each keypoint in the frame of its RoI.

    Args:
        keypoints: ``(N, G, K, 3)`` x, y in pixels of the network input, and visibility,
            above 0 if labelled. Detectron2 adds half a pixel to COCO's coordinates
            beforehand, torchvision does not.
        rois: ``(N, R, 4)`` in pixels of the network input.
        matched: ``(N, R)`` int64, slot of each RoI's object.
        size: S.
    """
    image = torch.arange(len(rois), device=rois.device)[:, None]
    own = keypoints[image, matched]  # (N, R, K, 3)
    low, high = rois[:, :, None, :2], rois[:, :, None, 2:]
    points = own[..., :2]
    cells = ((points - low) * (size / (high - low))).floor()
    # A keypoint on the far edge belongs to the last cell.
    cells = torch.where(points == high, cells.new_tensor(size - 1), cells)
    valid = ((cells >= 0) & (cells < size)).all(3) & (own[..., 2] > 0)
    columns, rows = cells.masked_fill(~valid[..., None], 0).long().unbind(3)
    return KeypointTargets(rows * size + columns, valid)


def decode_keypoints(
    heatmaps: Tensor, boxes: Tensor, *, max_side: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the best pixel of each heatmap, enlarged to its box.

    Bicubic interpolation enlarges it to as many pixels as its box has, rounded up; the
    centre of the best one is the keypoint. To find it without shapes that depend on the
    boxes:

    1. Interpolate at up to 112 x 112 of the pixels, evenly spread: at all of them in
       smaller boxes, and four times in each cell of a heatmap of 56 x 56 otherwise.
    2. Interpolate at all pixels around the 8 highest peaks among them, and keep the
       best one.

    Args:
        heatmaps: ``(D, K, S, S)`` logits.
        boxes: ``(D, 4)`` in pixels.
        max_side: pixels of the longest side that a box can have.

    Returns:
        Points ``(D, K, 2)`` x and y in the frame of the boxes; the logits ``(D, K)``
        there, torchvision's scores; and Detectron2's scores ``(D, K)``, the probability
        of a cell with that logit.
    """
    if torch.compiler.is_compiling():  # one graph, whatever D is
        return _decode(heatmaps, boxes, max_side=max_side)
    count = max(1, _AT_ONCE // heatmaps.shape[1])
    parts = [
        _decode(*part, max_side=max_side)
        for part in zip(
            torch.split(heatmaps, count), torch.split(boxes, count), strict=True
        )
    ]
    points, logits, scores = map(torch.cat, zip(*parts, strict=True))
    return points, logits, scores


def _decode(
    heatmaps: Tensor, boxes: Tensor, *, max_side: int
) -> tuple[Tensor, Tensor, Tensor]:
    heatmaps = heatmaps.float()
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)  # (D, 2)
    pixels = sides.ceil().clamp(max=max_side)
    padded = F.pad(heatmaps, (2, 2, 2, 2), mode="replicate")
    # 1. Of every `step` pixels one, (D, 2, 112).
    step = (pixels / _COARSE).ceil()[..., None]
    places = torch.arange(_COARSE, device=boxes.device) * step
    last = pixels[..., None] - 1
    columns, rows = torch.minimum(places + (step / 2).floor(), last).unbind(1)
    width, height = pixels.unbind(1)
    coarse = _at(padded, rows[:, None], columns[:, None], height, width)
    # Small boxes have fewer pixels: there the last one is repeated.
    beyond = places > last
    unused = (beyond[:, 1, :, None] | beyond[:, 0, None])[:, None]
    used = coarse.masked_fill(unused, -torch.inf)
    peak = used == _highest(_highest(used).mT).mT
    heights = _heights(coarse).masked_fill(unused | ~peak, -torch.inf)
    best = heights.flatten(2).topk(_BEST, dim=2).indices  # (D, K, 8)
    # 2. All pixels around them, (D, K, 8, F).
    reach = -(-max_side // _COARSE)
    around = torch.arange(-reach, reach + 1, device=boxes.device)
    near = (best // _COARSE, best % _COARSE)
    fine_rows, fine_columns = (
        torch.minimum(
            (
                at[:, None].expand(-1, best.shape[1], -1).gather(2, i)[..., None]
                + around
            ).clamp(min=0),
            (count - 1)[:, None, None, None],
        )
        for at, i, count in zip((rows, columns), near, (height, width), strict=True)
    )
    fine = _around(padded, fine_rows, fine_columns, height, width)
    logits, index = fine.flatten(2).max(dim=2)  # (D, K)
    span = around.shape[0]  # len() would fix it in an exported graph
    which = index // span**2
    y = fine_rows.flatten(2).gather(2, (which * span + index // span % span)[..., None])
    x = fine_columns.flatten(2).gather(2, (which * span + index % span)[..., None])
    points = (torch.cat((x, y), 2) + 0.5) * (sides / pixels)[:, None]
    scores = (logits - heatmaps.flatten(2).logsumexp(2)).exp()
    return points + boxes[:, None, :2], logits, scores


def _highest(x: Tensor) -> Tensor:
    """Take the maximum of each value and its neighbours in the last dimension.

    Twice this is much faster on a CPU than `max_pool2d`.
    """
    wide = F.pad(x, (1, 1), value=-torch.inf)
    return wide[..., :-2].maximum(wide[..., 2:]).maximum(x)


def _heights(x: Tensor) -> Tensor:
    """Estimate how high each peak between samples is, by parabolas along both axes."""
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    heights = x
    for a, b in (
        (wide[:, :, :-2, 1:-1], wide[:, :, 2:, 1:-1]),
        (wide[:, :, 1:-1, :-2], wide[:, :, 1:-1, 2:]),
    ):
        bend = (2 * x - a - b).clamp(min=1e-6)
        heights = heights + (a - b) ** 2 / (8 * bend)
    return heights


def _at(
    padded: Tensor, rows: Tensor, columns: Tensor, height: Tensor, width: Tensor
) -> Tensor:
    """Interpolate at pixels of the enlarged heatmaps.

    Args:
        padded: ``(D, K, S + 4, S + 4)`` with two more cells on all sides.
        rows: ``(D, 1, A)`` rows of the enlarged heatmap.
        columns: ``(D, 1, B)`` columns.
        height: ``(D,)`` rows that it has.
        width: ``(D,)`` columns.

    Returns:
        ``(D, K, A, B)``.
    """
    down = _bicubic(rows, height, padded.shape[-1])
    across = _bicubic(columns, width, padded.shape[-1])
    return down @ padded @ across.mT


def _around(
    padded: Tensor, rows: Tensor, columns: Tensor, height: Tensor, width: Tensor
) -> Tensor:
    """Do the same with rows and columns ``(D, K, P, F)`` around P peaks of each.

    Returns:
        ``(D, K, P, F, F)``.
    """
    down = _bicubic(rows.flatten(2), height, padded.shape[-1]) @ padded
    across = _bicubic(columns, width, padded.shape[-1])
    return down.view(*rows.shape, padded.shape[-1]) @ across.mT


def _bicubic(at: Tensor, pixels: Tensor, cells: int) -> Tensor:
    """Compute the weights ``(..., A, cells)`` of the cells for pixels ``(..., A)``."""
    scale = ((cells - 4) / pixels).view(-1, *[1] * (at.dim() - 1))
    source = (at + 0.5) * scale - 0.5 + 2  # two cells were added before the first
    first = source.floor() - 1
    taps = first[..., None] + torch.arange(4, device=at.device)
    away = (source[..., None] - taps).abs()
    near = ((_CUBIC + 2) * away - (_CUBIC + 3)) * away * away + 1
    far = ((away - 5) * away + 8) * away * _CUBIC - 4 * _CUBIC
    weights = torch.where(away <= 1, near, far)
    index = taps.long().clamp(0, cells - 1)  # of undefined boxes
    return weights.new_zeros(*at.shape, cells).scatter(-1, index, weights)
