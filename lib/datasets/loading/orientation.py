"""The orientation that EXIF states, and images in the frame of their annotations.

An annotation with a width and a height says which way up its boxes are: the size is
that of the pixels as stored, or that of the picture as EXIF turns it by 90 degrees.
Where it does not say so (a square, a half turn, a mirrored image, no size), pixels are
taken as stored.
"""

from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from .channels import read_channels, read_shown
from .images import Decoded, expect_stated_size, image_size, read_reduced
from .resizing import reduction

_S = TypeVar("_S", bound=np.generic)

_TAG = 0x0112


def orientation_of(image: Path | Image.Image) -> int:
    """Read EXIF's orientation, 1 to 8; 1, which is upright, if none can be read."""
    try:
        if isinstance(image, Image.Image):
            value = image.getexif().get(_TAG, 1)
            return value if value in range(1, 9) else 1
        with Image.open(image) as opened:
            return orientation_of(opened)
    except Exception:  # damaged EXIF raises errors of any type in Pillow
        return 1


def upright(pixels: npt.NDArray[_S], orientation: int) -> npt.NDArray[_S]:
    """Rotate or mirror an image by its EXIF orientation, 1 (upright) to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def turn_upright(decoded: Decoded, orientation: int) -> Decoded:
    """Rotate or mirror an image like `upright`; a reduced one has no pixels beyond."""
    size = decoded.size[::-1] if orientation >= 5 else decoded.size
    return Decoded(upright(decoded.pixels, orientation), size, decoded.by)


def read_annotated(
    path: Path,
    stated: tuple[int, int],
    channels: int | None = None,
    scale: float = 1.0,
) -> Decoded:
    """Decode an image, turned if its annotation was made on the turned picture.

    Args:
        stated: width and height in its annotation.
        channels: the number of channels to read as stored; None for 8-bit RGB.
        scale: how large the image is shown, in pixels of the network input per pixel; a
            JPEG may be decoded at a fraction of its size, see `reduction`.

    Raises:
        ImageError: the file cannot be used, or its size is another one.
    """
    if channels is not None:
        return _as_stated(Decoded.full(read_channels(path, channels)), path, stated)

    def by(height: int, width: int) -> int:
        return reduction(scale, height, width, turned=(width, height) != stated)

    return _as_stated(read_reduced(path, by), path, stated)


def show_annotated(path: Path, stated: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Decode an image of any channels like `read_annotated`, as an RGB picture."""
    return _as_stated(Decoded.full(read_shown(path)), path, stated).pixels


def _as_stated(decoded: Decoded, path: Path, stated: tuple[int, int]) -> Decoded:
    height, width = decoded.size
    if is_turned(path, (width, height), stated):
        return turn_upright(decoded, orientation_of(path))
    expect_stated_size(path, (width, height), stated)
    return decoded


def is_annotated_turned(path: Path, stated: tuple[int, int]) -> bool:
    """Return whether an annotation was made on the turned picture, by the headers.

    Raises:
        ImageError: the file cannot be read, or its size is another one.
    """
    found = image_size(path)
    turned = is_turned(path, found, stated)
    if not turned:
        expect_stated_size(path, found, stated)
    return turned


def is_turned(path: Path, found: tuple[int, int], stated: tuple[int, int]) -> bool:
    """Return whether the stated size is the stored one as EXIF turns it."""
    return found != stated and found == stated[::-1] and orientation_of(path) >= 5
