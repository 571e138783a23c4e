"""Choose the visible part of an image and its scale, and resize it."""

import math
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from ..records import FloatArray
from .tiling import Tile

_Pixel = TypeVar("_Pixel", np.uint8, np.float32)


def resize_scale(height: int, width: int, short_side: int, long_side: int) -> float:
    """Compute the scale that brings the short side to its target, within the long side.

    All are in pixels. The short side keeps at least one, however thin the image is.
    """
    scale = short_side / min(height, width)
    if round(scale * max(height, width)) > long_side:
        scale = max(long_side / max(height, width), 1 / min(height, width))
    return scale


def reduction(scale: float, height: int, width: int, *, turned: bool = False) -> int:
    """Return 8, 4, 2 or 1: an image may be decoded at 1 over this of its size.

    It keeps at least the pixels of the network input, so everything that can be seen
    there.

    Args:
        scale: pixels of the network input per pixel.
        turned: whether EXIF turns the image after decoding; then its sides must be
            multiples of the result, so that no pixel reaches beyond the image.
    """
    for by in (8, 4, 2):
        if by * scale <= 1 and not (turned and (height % by or width % by)):
            return by
    return 1


def resize_image(pixels: npt.NDArray[_Pixel], scale: float) -> npt.NDArray[_Pixel]:
    """Resize an image bilinearly, without antialiasing, as in tf-faster-rcnn.

    The sampling step is exactly ``1 / scale``. A resize to a target size would sample
    by a ratio of rounded sizes, and the boxes would be off.

    Args:
        pixels: ``(H, W, C)`` uint8, rounded to the nearest after the resize, or
            float32.
        scale: output pixels per input pixel; H and W times this are rounded.
    """
    if scale == 1:
        return pixels
    # OpenCV resizes uint8 in 11 bits, with errors of up to 0.8 and of -0.12 on average;
    # it resizes uint16 in float32, rounds once, and is as fast for most images.
    wide = pixels.astype(np.uint16) if pixels.dtype == np.uint8 else pixels
    linear = cv2.INTER_LINEAR
    resized = cv2.resize(wide, None, fx=scale, fy=scale, interpolation=linear)
    # OpenCV drops the axis of a single channel.
    rows, columns = resized.shape[:2]
    whole = resized.reshape(rows, columns, pixels.shape[2])
    return whole.astype(pixels.dtype, copy=False)


class Cut(NamedTuple):
    """The visible part of an image.

    The image is cropped before the resize, so that only visible pixels are resized; it
    is cropped at whole pixels, so that the sampling step and the boxes are exact.
    """

    x: int  # left edge, in whole pixels of the image
    y: int  # top edge
    width: int  # pixels of the image
    height: int  # pixels of the image
    scale: float  # output pixels per pixel of the image
    # height and width of the output; a fraction of an image pixel of the resized part
    # may lie beyond
    shown: tuple[int, int]

    @classmethod
    def whole(cls, height: int, width: int, scale: float) -> "Cut":
        """Return the cut that shows all of an image."""
        return cls(
            0, 0, width, height, scale, (round(scale * height), round(scale * width))
        )

    def aligned(self, by: int) -> "Cut":
        """Return a cut that begins at a whole pixel of an image decoded by 1 / ``by``.

        It moves by less than a pixel of the output.
        """
        return self._replace(x=self.x - self.x % by, y=self.y - self.y % by)

    def resize(self, pixels: npt.NDArray[_Pixel], by: int = 1) -> npt.NDArray[_Pixel]:
        """Crop and resize an image to ``(*shown, C)``.

        Args:
            pixels: ``(H, W, C)``, of the image in full or decoded at a fraction.
            by: the image was decoded at 1 over this, and the cut is `aligned`.
        """
        right, bottom = self.x + self.width, self.y + self.height
        part = pixels[
            self.y // by : -(-bottom // by),
            self.x // by : -(-right // by),
        ]
        return resize_image(part, self.scale * by)[: self.shown[0], : self.shown[1]]

    def move(self, boxes: FloatArray, *, offset: float) -> FloatArray:
        """Transform boxes of the image to the output, and clip them there.

        Args:
            boxes: ``(G, 4)`` pixels of the image, in the convention of ``offset``.
            offset: 1 for legacy boxes, 0 for continuous ones.
        """
        corner = np.array([self.x, self.y, self.x, self.y], np.float32)
        height, width = self.shown
        # For legacy boxes, the border is the last pixel inside.
        limit = np.array([width, height] * 2, np.float32) - offset * self.scale
        return np.asarray(((boxes - corner) * self.scale).clip(0, limit), np.float32)

    def visible_share(self, edges: FloatArray) -> FloatArray:
        """Return the visible shares, 0 to 1, of ``(G, 4)`` pixel edges of the image."""
        # Rounding the output's size may hide half an output pixel.
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
    around: FloatArray | None = None,
) -> Cut:
    """Choose the part of an image that fills a window, or the whole image if smaller.

    Args:
        scale: output pixels per pixel of the image.
        window: largest height and width of the output.
        place: position of the part, x and y in [0, 1), among all that it may have.
        around: box in pixels of the image that the part contains; if the box is larger,
            it contains the part. None for a part that may be anywhere.
    """
    tall = min(height, math.ceil(window[0] / scale))
    wide = min(width, math.ceil(window[1] / scale))
    # At least one output pixel remains.
    scale = max(scale, 1 / min(tall, wide))
    x1, y1, x2, y2 = (0, 0, width, height) if around is None else around.tolist()
    return Cut(
        x=_start(x1, x2, part=wide, whole=width, place=place[0]),
        y=_start(y1, y2, part=tall, whole=height, place=place[1]),
        width=wide,
        height=tall,
        scale=scale,
        shown=(
            min(window[0], round(scale * tall)),
            min(window[1], round(scale * wide)),
        ),
    )


def _start(low: float, high: float, *, part: int, whole: int, place: float) -> int:
    """Place a part of a side so that it contains an interval, or lies in it."""
    first, last = sorted((math.ceil(high) - part, math.floor(low)))
    first, last = max(first, 0), min(last, whole - part)
    return first + int(place * (max(last - first, 0) + 1))


def cut_tile(tile: Tile, short_side: int, long_side: int) -> Cut:
    """Return the cut that shows a tile, resized like a square image of its longer side.

    So all tiles have one scale, also those of an image that is lower than a tile. The
    whole image has its usual scale. The targets of the sides are in pixels.
    """
    x, y, width, height = tile[:4]
    longest = max(height, width)
    square = (height, width) if tile.whole else (longest, longest)
    scale = resize_scale(*square, short_side, long_side)
    shown = max(round(scale * height), 1), max(round(scale * width), 1)
    return Cut(x, y, width, height, scale, shown)
