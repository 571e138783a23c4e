"""Merge the detections of overlapping tiles to those of their image.

A tile sees a part of an object that crosses its border: a *cut* detection, which ends
at a border inside the image. Most of them are redundant. An object that is no larger
than the overlap is whole in another tile, and what a tile sees of a larger one may be
whole in another tile, too. Therefore:

1. Drop what another tile sees better: a detection that is cut, or of the reduced whole
   image, and lies inside a tile with its borders clear.
2. Drop cut detections that lie in a whole one of their class (by the intersection over
   their own area): of an object larger than the overlap.
3. Join the remaining cut detections of one class that agree where their tiles overlap,
   to the object that no view shows whole.
4. Suppress duplicates by IoU.

Letters: D detections of an image, T tiles, P parts of an object.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ..config.settings import BoxConfig, TestConfig
from ..datasets.loading.tiling import Tile
from ..layer_utils.boxes import pairwise_intersection, pairwise_iou
from ..layer_utils.mask_pasting import paste_probabilities
from ..layer_utils.structures import Detections, join, map_tensors, replace
from ..nms import nms

_NEAR = 0.05
"""Distance from a border at which a detection counts as cut, in its own sides: boxes
are not exact."""
_LEAST_NEAR = 2.0
"""The same in pixels of the network input."""
_INSIDE = 0.7
"""Share of a cut detection that lies in a whole one of the same object."""
_PAIRS = 1 << 22
"""Pairs of detections that are compared at once, to bound the memory."""
_AGREE = 0.5
"""Least IoU of two parts of an object within the overlap of their tiles."""


def merge_tiles(
    found: Sequence[Detections],
    tiles: Sequence[Tile],
    scales: Sequence[float],
    *,
    boxes: BoxConfig,
    test: TestConfig,
) -> Detections:
    """Merge the detections of an image's tiles.

    Args:
        found: detections of each tile, ``(1, D, ...)`` on the host, in its own pixels.
        tiles: the tiles; one of them may be the whole image.
        scales: input pixels per original pixel of each tile.
        boxes: the box convention.
        test: thresholds and limits.

    Returns:
        ``(1, D, ...)`` detections of the image, best first; boxes in the convention.
    """
    whole = _in_image(found, tiles, offset=boxes.offset)
    if len(tiles) > 1:
        counts = torch.tensor([each.valid.shape[1] for each in found])
        owner = torch.arange(len(tiles)).repeat_interleave(counts)
        rule = partial(_suppress, boxes=boxes, test=test)
        whole = rule(_Merging(whole, owner, tiles, scales).merged(rule))
    far = torch.tensor([0, 0, boxes.offset, boxes.offset])
    return replace(whole, boxes=whole.boxes - far)


def _suppress(found: Detections, *, boxes: BoxConfig, test: TestConfig) -> Detections:
    """Return the best detections without duplicates, best first."""
    picked, kept = nms(
        found.boxes,
        found.scores,
        found.valid,
        threshold=test.nms_threshold,
        max_outputs=test.detections_per_image,
        groups=found.classes,
        inclusive=boxes.nms_inclusive,
    )
    return _rows(found, picked[0][kept[0]])


def _in_image(
    found: Sequence[Detections], tiles: Sequence[Tile], *, offset: float
) -> Detections:
    """Move detections from tiles to the image, as pixel edges."""
    moved = []
    for each, tile in zip(found, tiles, strict=True):
        corner = torch.tensor([tile.x, tile.y])
        far = torch.cat([corner, corner + offset])
        points = each.keypoints
        if points is not None:
            points = points + torch.tensor([tile.x, tile.y, 0])
        moved.append(replace(each, boxes=each.boxes.float() + far, keypoints=points))
    return join(moved, dim=1)


def _rows(found: Detections, index: Tensor) -> Detections:
    """Return the detections of these places or of a mask, ``(D,)``."""
    return map_tensors(found, lambda field: field[:, index])


class _Merging:
    """The detections of an image's tiles while they are merged.

    Attributes:
        found: ``(1, D, ...)``, as pixel edges of the image.
        owner: ``(D,)`` the tile of each.
        frames: ``(T, 4)`` the tiles, as pixel edges.
        borders: ``(T, 4)`` the tiles, infinite where the image ends.
        scales: ``(T,)`` input pixels per original pixel.
        reduced: ``(T,)`` which tile is the whole image.
    """

    def __init__(
        self,
        found: Detections,
        owner: Tensor,
        tiles: Sequence[Tile],
        scales: Sequence[float],
    ) -> None:
        width, height = tiles[0].image_width, tiles[0].image_height
        self.found, self.owner = found, owner
        corners = [(t.x, t.y, t.x + t.width, t.y + t.height) for t in tiles]
        self.frames = torch.tensor(corners, dtype=torch.float32)
        ends = torch.tensor([0, 0, width, height])
        beyond = torch.tensor([-torch.inf, -torch.inf, torch.inf, torch.inf])
        self.borders = torch.where(self.frames == ends, beyond, self.frames)
        self.scales = torch.tensor(scales)
        self.reduced = torch.tensor([tile.whole for tile in tiles])

    def merged(self, suppress: Callable[[Detections], Detections]) -> Detections:
        """Return whole detections, and those that are joined from parts.

        Args:
            suppress: leaves the best of the whole ones, without duplicates.
        """
        cut = ~self._clear(self.owner)
        small = self.reduced[self.owner]
        better = torch.zeros_like(cut)
        # Not all at once, since an image may have hundreds of tiles.
        for tile in (~self.reduced).nonzero()[:, 0]:
            better |= self._clear(tile)
        kept = ~((cut | small) & better)
        self.found, self.owner = _rows(self.found, kept), self.owner[kept]
        parts, joined = cut[kept], list[Detections]()
        whole = suppress(_rows(self.found, ~parts))
        parts &= ~self._covered(parts, whole)
        while parts.any():
            group = self._group(parts)
            joined.append(_union(_rows(self.found, group)))
            parts[group] = False
            parts &= ~self._covered(parts, joined[-1])
        return join([whole, *joined], dim=1)

    def _clear(self, tile: Tensor) -> Tensor:
        """Decide which detections lie in a tile, or theirs, with its borders clear."""
        boxes, borders = self.found.boxes[0], self.borders[tile]
        sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
        least = (_LEAST_NEAR / self.scales[tile])[..., None]
        near = torch.maximum(_NEAR * sides, least)
        low = boxes[:, :2] >= (borders + near)[:, :2]
        high = boxes[:, 2:] <= (borders - near)[:, 2:]
        return (low & high).all(dim=1)

    def _covered(self, parts: Tensor, whole: Detections) -> Tensor:
        """Decide which detections lie in a whole one of their class."""
        covered = torch.zeros_like(parts)
        size = _PAIRS // max(whole.boxes.shape[1], 1)
        for rows in torch.split(parts.nonzero()[:, 0], max(size, 1)):
            own = self.found.boxes[0, rows]
            common = pairwise_intersection(own, whole.boxes[0], offset=0)
            areas = (own[:, 2:] - own[:, :2]).prod(dim=1)
            same = self.found.classes[0, rows, None] == whole.classes[0]
            covered[rows] = (same & (common > _INSIDE * areas[:, None])).any(dim=1)
        return covered

    def _group(self, parts: Tensor) -> Tensor:
        """Return the best part and those that complete it, one for each other tile."""
        boxes, scores = self.found.boxes[0], self.found.scores[0]
        first = int(scores.masked_fill(~parts, -1).argmax())
        group, waiting = [first], [first]
        free = parts & (self.found.classes[0] == self.found.classes[0, first])
        free &= self.owner != self.owner[first]
        while waiting and free.any():
            one, rows = waiting.pop(), free.nonzero()[:, 0]
            own, others = self.frames[self.owner[one]], self.frames[self.owner[rows]]
            low = torch.maximum(own[:2], others[:, :2])
            high = torch.minimum(own[2:], others[:, 2:])
            mine = _within(boxes[one].expand(len(rows), -1), low, high)[:, None]
            their = _within(boxes[rows], low, high)[:, None]
            agree = pairwise_iou(mine, their, offset=0)[:, 0, 0] >= _AGREE
            good = rows[agree]
            for row in good[scores[good].argsort(descending=True)].tolist():
                if free[row]:
                    group.append(row)
                    waiting.append(row)
                    free &= self.owner != self.owner[row]
        return torch.tensor(group)


def _within(boxes: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Clip boxes ``(P, 4)`` to windows; a box outside has no area."""
    first = torch.maximum(boxes[:, :2], low)
    return torch.cat([first, torch.minimum(boxes[:, 2:], high).maximum(first)], dim=1)


def _union(parts: Detections) -> Detections:
    """Join P parts ``(1, P, ...)`` of an object, the best first, to one ``(1, 1)``."""
    best = _rows(parts, torch.tensor([0]))
    if parts.boxes.shape[1] == 1:
        return best
    boxes = parts.boxes[0]
    low, high = boxes[:, :2].amin(dim=0), boxes[:, 2:].amax(dim=0)
    masks, keypoints = parts.masks, parts.keypoints
    if masks is not None:
        size = masks.shape[-1]
        cell = (high - low) / size
        frames = (boxes - low.repeat(2)) / cell.repeat(2)
        placed = paste_probabilities(masks[0], frames, height=size, width=size)
        masks = placed.amax(dim=0)[None, None]
    if keypoints is not None:
        surest = keypoints[0, :, :, 2].argmax(dim=0)  # (K,)
        keypoints = keypoints[:, surest, torch.arange(len(surest))][:, None]
    return replace(
        best, boxes=torch.cat([low, high])[None, None], masks=masks, keypoints=keypoints
    )
