"""The eight orientations of an image, and of what lies in it."""

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ..records import FloatArray
from .channels import Pixels

_ROTATIONS = (
    cv2.ROTATE_90_CLOCKWISE,
    cv2.ROTATE_180,
    cv2.ROTATE_90_COUNTERCLOCKWISE,
)


class Turn(NamedTuple):
    """An image mirrored or not, then turned."""

    width: int  # of the image before, in pixels
    height: int  # of the image before
    mirrored: bool = False  # left to right
    # turns by 90 degrees clockwise, 0 to 3. With ``mirrored``, 2 mirrors top to bottom
    # instead.
    quarters: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width of the image after it."""
        size = self.height, self.width
        return size[::-1] if self.quarters % 2 else size

    def image(self, pixels: Pixels) -> Pixels:
        """Turn an image ``(height, width, C)``."""
        turned = pixels
        if self.mirrored:
            turned = np.asarray(cv2.flip(turned, 1))
        if self.quarters:
            turned = np.asarray(cv2.rotate(turned, _ROTATIONS[self.quarters - 1]))
        # OpenCV drops the axis of a single channel.
        return turned.reshape(*turned.shape[:2], pixels.shape[2])

    def mask(self, mask: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a view of a mask ``(height, width)`` as it is turned."""
        return np.rot90(mask[:, ::-1] if self.mirrored else mask, -self.quarters)

    def points(self, points: FloatArray) -> FloatArray:
        """Move points ``(..., 2)``, in pixel edges."""
        x, y = points[..., 0], points[..., 1]
        height, width = self.height, self.width
        if self.mirrored:
            x = width - x
        for _ in range(self.quarters):
            x, y, height, width = height - y, x, width, height
        return np.stack([x, y], axis=-1)

    def boxes(self, edges: FloatArray) -> FloatArray:
        """Move boxes ``(G, 4)``, in pixel edges."""
        corners = self.points(edges.reshape(-1, 2, 2))
        return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
