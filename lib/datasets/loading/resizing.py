"""Which part of an image is seen, and at which scale."""

import math
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from ..records import FloatArray

_Pixel = TypeVar("_Pixel", np.uint8, np.float32)


def resize_scale(height: int, width: int, short_side: int, long_side: int) -> float:
    """Scale that brings the short side to its target unless the long one forbids it.

    The short side keeps at least one pixel, however thin the image is.

    Args:
        height: pixels of the stored image.
        width: pixels of the stored image.
        short_side: target of the shorter side in pixels.
        long_side: cap of the longer side in pixels.
    """
    scale = short_side / min(height, width)
    if round(scale * max(height, width)) > long_side:
        scale = max(long_side / max(height, width), 1 / min(height, width))
    return scale


def resize_image(pixels: npt.NDArray[_Pixel], scale: float) -> npt.NDArray[_Pixel]:
    """Resize an image bilinearly, without antialiasing, as the family does.

    The sampling step is exactly ``1 / scale``; that of a target size would be a ratio
    of rounded sizes, and the boxes would be off.

    Args:
        pixels: ``(H, W, 3)`` uint8, rounded to the nearest in the end, or float32.
        scale: output pixels per input pixel.

    Returns:
        ``(round(scale * H), round(scale * W), 3)``.
    """
    if scale == 1:
        return pixels
    # OpenCV resizes uint8 in 11 bits, off by up to 0.8 of a step, by -0.12 on average;
    # uint16 in float32, rounded once, and most images no slower.
    wide = pixels.astype(np.uint16) if pixels.dtype == np.uint8 else pixels
    linear = cv2.INTER_LINEAR
    resized = cv2.resize(wide, None, fx=scale, fy=scale, interpolation=linear)
    return resized.astype(pixels.dtype, copy=False)


class Cut(NamedTuple):
    """A part of an image that is resized and shown.

    Cutting before the resize keeps the work to what is seen; whole pixels keep the
    sampling step and the boxes exact.

    Attributes:
        x: left edge, in whole pixels of the image.
        y: top edge.
        width: pixels of the image.
        height: pixels of the image.
        scale: output pixels per pixel of the image.
        shown: height and width of the output, less than the resized part's where that
            exceeds what was asked for by a part of a pixel of the image.
    """

    x: int
    y: int
    width: int
    height: int
    scale: float
    shown: tuple[int, int]

    def resize(self, pixels: npt.NDArray[_Pixel]) -> npt.NDArray[_Pixel]:
        """The part, resized: ``(*shown, 3)``."""
        part = pixels[self.y : self.y + self.height, self.x : self.x + self.width]
        return resize_image(part, self.scale)[: self.shown[0], : self.shown[1]]

    def move(self, boxes: FloatArray, *, offset: float) -> FloatArray:
        """Boxes of the image become those of the output, cut at its border.

        Args:
            boxes: ``(G, 4)`` pixels of the image, in the convention of ``offset``.
            offset: 1 for legacy boxes, 0 for continuous ones.
        """
        corner = np.array([self.x, self.y, self.x, self.y], np.float32)
        height, width = self.shown
        # An edge of the image at the border becomes that too.
        limit = np.array([width, height] * 2, np.float32) - offset * self.scale
        return np.asarray(((boxes - corner) * self.scale).clip(0, limit), np.float32)

    def visible_share(self, edges: FloatArray) -> FloatArray:
        """Which part of each box's area is seen, 0 to 1.

        Args:
            edges: ``(G, 4)`` pixel edges of the image.
        """
        # Rounding the output's size may hide half a pixel of it.
        right = self.x + min(self.width, (self.shown[1] + 0.5) / self.scale)
        bottom = self.y + min(self.height, (self.shown[0] + 0.5) / self.scale)
        first, last = edges[:, :2], edges[:, 2:]
        seen = np.minimum(last, (right, bottom)) - np.maximum(first, (self.x, self.y))
        share = (seen.clip(0) / (last - first)).prod(axis=1)
        return np.asarray(share, np.float32)


def choose_cut(
    height: int,
    width: int,
    *,
    scale: float,
    window: tuple[int, int],
    place: tuple[float, float],
) -> Cut:
    """The part of an image that fills a window at some scale, or all of the image.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        scale: output pixels per pixel of the image.
        window: greatest height and width of the output.
        place: of the part within the image, each in [0, 1): from left to right and from
            top to bottom.
    """
    tall = min(height, math.ceil(window[0] / scale))
    wide = min(width, math.ceil(window[1] / scale))
    # Of an image that would vanish, a pixel is kept.
    scale = max(scale, 1 / min(tall, wide))
    return Cut(
        x=int(place[0] * (width - wide + 1)),
        y=int(place[1] * (height - tall + 1)),
        width=wide,
        height=tall,
        scale=scale,
        shown=(
            min(window[0], round(scale * tall)),
            min(window[1], round(scale * wide)),
        ),
    )
