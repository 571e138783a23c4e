"""Reading image files.

VOC and COCO annotations refer to the pixels as they are stored, so an orientation noted
in EXIF is not applied, neither to the pixels nor to the size.
"""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

# The order in which files of one stem are preferred.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class ImageError(ValueError):
    """An image file is missing, truncated or no image; the message names it."""


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Decode an image file.

    Grayscale and palette images become RGB, transparency is dropped, 16 bits become 8.

    Returns:
        ``(H, W, 3)`` RGB.

    Raises:
        ImageError: the file cannot be read, is cut short or is no image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(
            f"{path}: expected an image, cannot read the file ({error.strerror}); "
            "restore it or take it out of the list"
        ) from error
    # A decoder fills what is missing with grey and says nothing, so it is asked first.
    if _is_cut_short(data):
        raise ImageError(
            f"{path}: expected a whole image, found one cut short after {len(data)} "
            "bytes; fetch the file again or take it out of the list"
        )
    pixels = None
    if data:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error:
            pixels = None
    if pixels is None:
        raise ImageError(
            f"{path}: expected an image, found {len(data)} bytes that no decoder "
            "knows; replace the file or take it out of the list"
        )
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, pixels), np.uint8)


def image_size(path: Path) -> tuple[int, int]:
    """Read an image's width and height, in pixels as stored, from its header alone.

    Raises:
        ImageError: the file cannot be read or is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            return int(width), int(height)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(
            f"{path}: expected an image, cannot read its size ({error}); replace the "
            "file or take it out of the list"
        ) from error


def _is_cut_short(data: bytes) -> bool:
    """Tell whether a JPEG or PNG lacks its end marker; bytes after the end are fine."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data.rfind(b"IEND") < 0
    if not data.startswith(b"\xff\xd8\xff"):
        return False
    # A thumbnail inside the header has an end marker of its own, so the search begins
    # at the scan, in which 0xFF is never followed by 0xD9 except at the end.
    at = 2
    while data[at : at + 1] == b"\xff":
        marker = data[at + 1 : at + 2]
        if marker == b"\xff":  # fill byte
            at += 1
        elif marker == b"\xda":  # start of scan
            return data.find(b"\xff\xd9", at) < 0
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at >= len(data)  # else an odd header, which the decoder may judge
