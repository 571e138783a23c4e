"""Mosaics: four training images in one (YOLOv4, section 3.3)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..formats.proposals import ScoredBoxes
from ..records import FloatArray
from .instances import tile
from .masks import ObjectMask
from .samples import Sample


def mosaic_windows(
    size: tuple[int, int], centre: tuple[float, float]
) -> list[tuple[int, int]]:
    """Return height and width of the four parts of a mosaic, row by row.

    Args:
        size: height and width of the mosaic.
        centre: point where the parts meet, x and y in [0, 1].
    """
    across = min(max(round(centre[0] * size[1]), 1), size[1] - 1)
    down = min(max(round(centre[1] * size[0]), 1), size[0] - 1)
    return [(h, w) for h in (down, size[0] - down) for w in (across, size[1] - across)]


def join_mosaic(parts: Sequence[Sample]) -> Sample:
    """Join four samples that fill the windows of `mosaic_windows`, in their order."""
    height, width = parts[0].pixels.shape[:2]
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    shifts = [np.array([x, y, x, y], np.float32) for x, y in corners]
    pairs = list(zip(parts, shifts, strict=True))
    pixels = np.vstack(
        [np.hstack([part.pixels for part in row]) for row in (parts[:2], parts[2:])]
    )
    given = [
        ScoredBoxes(part.proposals.boxes + shift, part.proposals.scores)
        for part, shift in pairs
        if part.proposals is not None
    ]
    return Sample(
        pixels=pixels,
        boxes=np.concatenate([part.boxes + shift for part, shift in pairs]),
        classes=np.concatenate([part.classes for part in parts]),
        ignored=np.concatenate([part.ignored + shift for part, shift in pairs]),
        crowd=np.concatenate([part.crowd for part in parts]),
        scale=1.0,
        original_size=(pixels.shape[0], pixels.shape[1]),
        image_id="+".join(part.image_id for part in parts),
        proposals=ScoredBoxes(*map(np.concatenate, zip(*given, strict=True)))
        if given
        else None,
        lost=sum(part.lost for part in parts),
        **_join_instances(parts, corners),
    )


def _join_instances(
    parts: Sequence[Sample], corners: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """Move masks and keypoints into the mosaic, if the samples have them."""
    masks: list[ObjectMask] = []
    keypoints: list[FloatArray] = []
    for part, corner in zip(parts, corners, strict=True):
        height, width = part.pixels.shape[:2]
        # Only a border to another image hides anything.
        limits = [
            *(place or -np.inf for place in corner),
            *(
                np.inf if place else side
                for place, side in zip(corner, (width, height), strict=True)
            ),
        ]
        shift = np.array(corner, np.float32)
        masks += [tile(mask, shift, limits) for mask in part.masks or ()]
        if part.keypoints is not None:
            labelled = part.keypoints[..., 2:] > 0
            moved = part.keypoints + np.append(shift, np.float32(0)) * labelled
            keypoints.append(moved)
    return {
        "masks": tuple(masks) if parts[0].masks is not None else None,
        "keypoints": np.concatenate(keypoints) if keypoints else None,
    }
