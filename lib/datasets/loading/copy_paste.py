"""Copy-paste: objects of another image, cut out by their masks (Ghiasi et al. 2021).

Letters: H, W height and width of the image that objects are pasted into.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ..records import BoolArray, FloatArray
from .instances import seen_keypoints
from .masks import ObjectMask, cut_out, draw_whole, mask_bounds
from .samples import Sample

_CHOSEN = 0.5
"""Probability that an object of the other image is pasted."""


def paste_objects(base: Sample, other: Sample, *, offset: float, seed: int) -> Sample:
    """Paste a random subset of the objects of a sample into another one.

    Objects that are hidden in part keep the rest of their masks, and get its boxes;
    those hidden wholly are dropped. Hidden keypoints stay labelled, but not visible.

    Args:
        base: the image, with masks.
        other: an image to cut objects from, with masks; it is shifted at random.
        offset: 1 for legacy boxes, 0 for continuous ones.
    """
    rng = np.random.default_rng(seed)
    size = base.pixels.shape[0], base.pixels.shape[1]
    chosen = np.flatnonzero(rng.random(len(other.boxes)) < _CHOSEN)
    beyond = np.array(size) - other.pixels.shape[:2]  # negative if it is larger
    down, right = np.rint(rng.random(2) * beyond).astype(int).tolist()
    solid = _cut_objects(other, chosen, (down, right), size)
    chosen, solid = chosen[solid.any(axis=(1, 2))], solid[solid.any(axis=(1, 2))]
    if not len(chosen):
        return base
    hidden: BoolArray = np.logical_or.reduce(solid)
    inset = np.array([0, 0, offset, offset], np.float32)
    rest = _uncovered(base, hidden, inset * base.scale)
    shift = np.array([right, down], np.float32)
    boxes = other.boxes[chosen] + np.tile(shift, 2)
    limit = np.array(size[::-1]) - offset * other.scale
    cut = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > limit + 1e-3).any(axis=1)
    for g in np.flatnonzero(cut):
        boxes[g] = mask_bounds(solid[g]) - inset * other.scale
    pixels = base.pixels.copy()
    pixels[hidden] = _shifted(other.pixels, (down, right), size)[hidden]
    keypoints = rest.keypoints
    if keypoints is not None and other.keypoints is not None:
        own = other.keypoints[chosen]
        moved = seen_keypoints(own[..., :2] + shift, own[..., 2:], size)
        keypoints = np.concatenate([keypoints, moved])
    return rest._replace(
        pixels=pixels,
        boxes=np.concatenate([rest.boxes, boxes]),
        classes=np.concatenate([rest.classes, other.classes[chosen]]),
        masks=(*(rest.masks or ()), *map(cut_out, solid)),
        keypoints=keypoints,
        image_id=f"{base.image_id}+{other.image_id}",
        lost=rest.lost + other.lost,
    )


def _cut_objects(
    other: Sample,
    chosen: npt.NDArray[np.intp],
    place: tuple[int, int],
    size: tuple[int, int],
) -> BoolArray:
    """Return the masks of some objects, moved: ``(len(chosen), H, W)``."""
    assert other.masks is not None
    solid = np.zeros((len(chosen), *size), np.bool_)
    for row, g in enumerate(chosen):
        whole = draw_whole(
            other.masks[g], (other.pixels.shape[0], other.pixels.shape[1])
        )
        solid[row] = _shifted(whole, place, size)
    return solid


def _shifted(
    image: npt.NDArray[Any], place: tuple[int, int], size: tuple[int, int]
) -> npt.NDArray[Any]:
    """Put an image at a place, y and x, of an empty one of H x W."""
    canvas = np.zeros((*size, *image.shape[2:]), image.dtype)
    part = image[max(-place[0], 0) :, max(-place[1], 0) :]
    room = canvas[max(place[0], 0) :, max(place[1], 0) :]
    height, width = np.minimum(part.shape[:2], room.shape[:2]).tolist()
    room[:height, :width] = part[:height, :width]
    return canvas


def _uncovered(base: Sample, hidden: BoolArray, inset: FloatArray) -> Sample:
    """Leave out of the objects what is hidden; ``inset`` turns edges into boxes."""
    assert base.masks is not None
    boxes, masks = base.boxes.copy(), list(base.masks)
    kept = np.ones(len(boxes), np.bool_)
    for g, (mask, box) in enumerate(zip(masks, boxes, strict=True)):
        x, y, right, bottom = np.floor(box).astype(int).tolist()
        if not hidden[y : bottom + 2, x : right + 2].any():
            continue
        whole = draw_whole(mask, (hidden.shape[0], hidden.shape[1]))
        left = whole & ~hidden
        if not left.any():
            kept[g] = not whole.any()  # an object without a mask stays
        elif (left != whole).any():
            masks[g], boxes[g] = cut_out(left), mask_bounds(left) - inset
    keypoints = base.keypoints
    if keypoints is not None:
        keypoints = keypoints[kept]  # a copy
        limit = np.array(hidden.shape[::-1]) - 1
        x, y = keypoints[..., :2].astype(int).clip(0, limit).transpose(2, 0, 1)
        keypoints[..., 2] = np.where(
            hidden[y, x], keypoints[..., 2].clip(max=1), keypoints[..., 2]
        )
    remaining: list[ObjectMask] = [masks[g] for g in np.flatnonzero(kept)]
    return base._replace(
        boxes=boxes[kept],
        classes=base.classes[kept],
        masks=tuple(remaining),
        keypoints=keypoints,
        lost=base.lost + int((~kept).sum()),
    )
