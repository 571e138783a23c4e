"""Masks and keypoints of a record, moved into the network input with their image.

Letters: G objects, K keypoints of an object, V vertices.
"""

from collections.abc import Sequence

import numpy as np

from ..mask_encoding import decode_masks
from ..records import FloatArray, Mask, RunLengths
from .masks import ObjectBitmap, ObjectMask, cut_out
from .resizing import Cut
from .turns import Turn

_LEAST_CORNERS = 3


def place_masks(masks: Sequence[Mask], cut: Cut, turn: Turn) -> tuple[ObjectMask, ...]:
    """Move masks into the network input.

    Outlines keep the vertices that the crop leaves out: a sampled RoI lies inside the
    image, and they are drawn into it. Bitmaps keep the resolution of the stored image,
    so they are not resampled.

    Args:
        masks: in pixels of the stored image.
        cut: visible part of the image, after it was turned.
        turn: of the stored image.
    """
    return tuple(
        _place_bitmap(mask, cut, turn)
        if isinstance(mask, RunLengths)
        else tuple(_place_points(part, cut, turn) for part in mask)
        for mask in masks
    )


def place_keypoints(
    keypoints: FloatArray,
    cut: Cut,
    turn: Turn,
    flip_pairs: Sequence[tuple[int, int]],
) -> FloatArray:
    """Move ``(G, K, 3)`` keypoints into the network input; unlabel those outside."""
    if turn.mirrored:
        keypoints = exchange(keypoints, flip_pairs)
    points = _place_points(keypoints[..., :2], cut, turn)
    return seen_keypoints(points, keypoints[..., 2:], cut.shown)


def seen_keypoints(
    points: FloatArray, visibility: FloatArray, size: tuple[int, int]
) -> FloatArray:
    """Join points and visibilities; those outside a height and width are unlabelled."""
    inside = ((points >= 0) & (points <= size[::-1])).all(axis=2, keepdims=True)
    placed = np.concatenate([points, visibility], axis=2)
    return np.asarray(placed * (inside & (visibility > 0)), np.float32)


def exchange(
    keypoints: FloatArray, flip_pairs: Sequence[tuple[int, int]]
) -> FloatArray:
    """Exchange pairs of keypoints ``(G, K, 3)`` as in a mirrored image."""
    order = np.arange(keypoints.shape[1])
    for one, other in flip_pairs:
        order[[one, other]] = other, one
    return keypoints[:, order]


def _place_points(points: FloatArray, cut: Cut, turn: Turn) -> FloatArray:
    """Move points ``(..., 2)``."""
    points = turn.points(points)
    return np.asarray((points - (cut.x, cut.y)) * cut.scale, np.float32)


def _place_bitmap(mask: RunLengths, cut: Cut, turn: Turn) -> ObjectBitmap:
    whole = turn.mask(decode_masks([mask], mask.size)[0])
    values, frame = cut_out(
        whole[cut.y : cut.y + cut.height, cut.x : cut.x + cut.width]
    )
    return ObjectBitmap(values, frame * np.float32(cut.scale))


def tile(mask: ObjectMask, shift: FloatArray, limits: Sequence[float]) -> ObjectMask:
    """Move a mask into its place in a mosaic, and leave out what other images hide.

    Args:
        mask: in pixels of its image.
        shift: x and y of the image in the mosaic.
        limits: box of the pixels that its image has in the mosaic, infinite where the
            mosaic ends.
    """
    if isinstance(mask, ObjectBitmap):
        return _tile_bitmap(mask, shift, limits)
    parts = [part + shift for part in mask]
    for axis in (0, 1):
        for limit, sign in ((limits[axis], -1), (limits[axis + 2], 1)):
            parts = [_clip(part, axis, limit, sign) for part in parts]
    return [part for part in parts if len(part) >= _LEAST_CORNERS]


def _tile_bitmap(
    mask: ObjectBitmap, shift: FloatArray, limits: Sequence[float]
) -> ObjectBitmap:
    if not mask.frame.any():
        return mask
    frame = mask.frame + np.concatenate([shift, shift])
    seen = [
        (at > limits[axis]) & (at < limits[axis + 2])
        for axis, count in ((0, mask.values.shape[1]), (1, mask.values.shape[0]))
        for at in [
            frame[axis]
            + (frame[axis + 2] - frame[axis]) * (np.arange(count) + 0.5) / count
        ]
    ]
    values = mask.values * (seen[0] & seen[1][:, None])
    return ObjectBitmap(values, frame if values.any() else np.zeros(4, np.float32))


def _clip(part: FloatArray, axis: int, limit: float, sign: int) -> FloatArray:
    """Clip a polygon ``(V, 2)`` at x (axis 0) or y of a limit (Sutherland and Hodgman).

    The sign 1 keeps what is below the limit, -1 what is above.
    """
    beyond = sign * (part[:, axis] - limit)
    inside = beyond <= 0
    if inside.all():
        return part
    after, beyond_after = np.roll(part, -1, 0), np.roll(beyond, -1)
    crosses = inside != (beyond_after <= 0)
    share = np.divide(beyond, beyond - beyond_after, where=crosses, out=beyond * 0)
    crossings = part + share[:, None] * (after - part)
    crossings[:, axis] = limit
    pairs = np.stack([part, crossings], axis=1).reshape(-1, 2)
    kept = np.stack([inside, crosses], axis=1).ravel()
    return np.asarray(pairs[kept], np.float32)
