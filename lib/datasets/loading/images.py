"""Reading image files.

VOC and COCO annotations refer to the pixels as they are stored, so an orientation noted
in EXIF is not applied, neither to the pixels nor to the size.
"""

import io
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

# The order in which files of one stem are preferred.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

_TIFF_STARTS = (b"II*\0", b"MM\0*")
_ORIENTATION = 274
"""The TIFF and EXIF tag of how an image is to be turned for showing."""

# What Pillow raises for a file that it cannot read.
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class ImageError(ValueError):
    """An image file is missing, truncated or no image; the message names it."""


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Decode an image file.

    Grayscale, palette and CMYK images become RGB, transparency is dropped, of 16 bits
    the upper 8 are kept. The pixels are as stored, whatever EXIF says.

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
    pixels = _decode_tiff(data) if data.startswith(_TIFF_STARTS) else _decode(data)
    if pixels is None:
        raise ImageError(
            f"{path}: expected an image, found {len(data)} bytes that no decoder "
            "knows; replace the file or take it out of the list"
        )
    return pixels


def image_size(path: Path) -> tuple[int, int]:
    """Read an image's width and height, in pixels as stored, from its header alone.

    Raises:
        ImageError: the file cannot be read or is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                # Of a TIFF alone, Pillow gives the size after turning.
                width, height = image.tag_v2[256], image.tag_v2[257]
            return int(width), int(height)
    except _PILLOW_ERRORS as error:
        raise ImageError(
            f"{path}: expected an image, cannot read its size ({error}); replace the "
            "file or take it out of the list"
        ) from error


def _decode(data: bytes) -> npt.NDArray[np.uint8] | None:
    """Decode with OpenCV; None if it cannot."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        return None
    if pixels is None:
        return None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, pixels), np.uint8)


def _decode_tiff(data: bytes) -> npt.NDArray[np.uint8] | None:
    """Decode with Pillow; None if it cannot, or if no range of values is implied.

    OpenCV turns a TIFF by its orientation and darkens it by its transparency.
    """
    try:
        with Image.open(io.BytesIO(_unturned(data))) as image:
            if image.mode in ("I", "F"):
                return None
            if image.mode.startswith("I;16"):
                grey = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            if image.mode == "RGBa":  # multiplied by the transparency
                image = image.convert("RGBA")
            return np.array(image.convert("RGB"))
    except _PILLOW_ERRORS:
        return None


def _unturned(data: bytes) -> bytes:
    """A TIFF file with its orientation, the first directory's, set to that stored."""
    order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    directory = number(4, 4)
    for i in range(number(directory, 2)):
        entry = directory + 2 + 12 * i
        if number(entry, 2) == _ORIENTATION:
            value = entry + 8
            return data[:value] + (1).to_bytes(2, order) + data[value + 2 :]
    return data


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
