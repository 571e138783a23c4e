"""Read image files.

EXIF orientation is applied neither to the pixels nor to the size; see `orientation`.
"""

import contextlib
import io
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from .file_kinds import refusal

# Preferred order of files with the same stem.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"),
    ".npy",  # of any number of channels, see `channels`
)

_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8\xff"
_SCAN = 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG segments that contain the size."""

_TIFF_STARTS = (b"II*\0", b"MM\0*")
_ORIENTATION = 274
"""The TIFF and EXIF tag of the orientation in which to show an image."""

MAX_PIXELS = 178_956_970
"""Largest image, as in Pillow: a decompression bomb claims more pixels than fit into
memory."""


class ImageError(ValueError):
    """An image file is missing, truncated or not an image; the message names it."""


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Decode an image file.

    Grayscale, palette and CMYK images become RGB, transparency is dropped, and the
    upper 8 of 16 bits are kept. The pixels are as stored, whatever EXIF says.

    Returns:
        ``(H, W, 3)`` RGB.

    Raises:
        ImageError: the file cannot be read, is truncated, is not an image, or claims
            more than `MAX_PIXELS`.
    """
    data = encoded_image(path)
    pixels = _decode_tiff(data) if data.startswith(_TIFF_STARTS) else _decode(data)
    if pixels is None:
        raise ImageError(f"{path}: expected an image, found {refusal(data)}")
    return pixels


def encoded_image(path: Path) -> bytes:
    """Read an image file that is whole and claims no more than `MAX_PIXELS`.

    Raises:
        ImageError: it is not.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(
            f"{path}: expected an image, cannot read the file ({error.strerror}); "
            "restore it or remove it from the list"
        ) from error
    # Decoders silently fill missing data with grey, so this is checked first.
    if _is_cut_short(data):
        raise ImageError(
            f"{path}: expected a whole image, found one cut short after {len(data)} "
            "bytes; download the file again or remove it from the list"
        )
    _expect_size(path, data)
    return data


def image_size(path: Path) -> tuple[int, int]:
    """Read an image's width and height, in pixels as stored, from its header alone.

    Raises:
        ImageError: the file cannot be read, is not an image, or claims more than
            `MAX_PIXELS`.
    """
    try:
        if path.suffix.lower() == ".npy":
            shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
            height, width = shape[:2]
        else:
            try:
                width, height = _stored_size(path)
            except UnidentifiedImageError:
                size = _tiff_size(path)
                if size is None:
                    raise
                width, height = size
    except Exception as error:
        # Damaged bytes raise errors of any type in Pillow: struct.error, IndexError,
        # ...
        raise ImageError(f"{path}: expected an image, {_cause(path, error)}") from error
    _expect_pixels(path, width, height)
    return width, height


def expect_stated_size(
    path: Path, found: tuple[int, int], stated: tuple[int, int]
) -> None:
    """Raise an error if an image does not have the size its boxes were written for.

    Args:
        path: the image file, for the error.
        found: width and height in pixels as stored.
        stated: width and height in its annotation.

    Raises:
        ImageError: they differ.
    """
    if found == stated:
        return
    sizes = (
        f"{path}: expected {stated[0]} x {stated[1]} pixels as annotated, found "
        f"{found[0]} x {found[1]}"
    )
    if found == stated[::-1]:
        raise ImageError(
            f"{sizes}, and no EXIF orientation that exchanges the sides: correct the "
            "size in the annotation if the boxes fit the file, else rotate the image"
        )
    raise ImageError(
        f"{sizes}; if the boxes fit the file, correct the size in the annotation "
        "(frcnn check --fix writes such a copy), else restore the image that they were "
        "drawn on"
    )


def _cause(path: Path, error: Exception) -> str:
    """Describe why a file's size cannot be read."""
    if isinstance(error, UnidentifiedImageError):
        with contextlib.suppress(OSError), path.open("rb") as file:
            return f"found {refusal(file.read(1024))}"
    return (
        f"cannot read its size ({error}); replace the file or remove it from the list"
    )


def _stored_size(file: Path | io.BytesIO) -> tuple[int, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata and large images
        with Image.open(file) as image:
            width, height = image.size
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                # Only for a TIFF, Pillow gives the size after rotation.
                width, height = image.tag_v2[256], image.tag_v2[257]
            return int(width), int(height)


def _tiff_size(path: Path) -> tuple[int, int] | None:
    """Read the size of a TIFF that Pillow does not know, such as of five channels."""
    with contextlib.suppress(Exception):  # of any type, or tifffile is not installed
        import tifffile

        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            return int(page.imagewidth), int(page.imagelength)
    return None


def _expect_size(path: Path, data: bytes) -> None:
    """Check the claimed size before a decoder allocates memory for it."""
    try:
        width, height = _claimed_size(data)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: expected an image to train on: {error}") from error
    except Exception:
        return  # an unusual header: leave it to the decoder
    _expect_pixels(path, width, height)


def _expect_pixels(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{path}: expected an image of at most {MAX_PIXELS} pixels, found one that "
            f"claims {width} x {height}; split it or remove it from the list"
        )


def _decode(data: bytes) -> npt.NDArray[np.uint8] | None:
    """Decode with OpenCV; return None if it fails."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except (cv2.error, MemoryError):
        return None
    if pixels is None:
        return None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, pixels), np.uint8)


def _decode_tiff(data: bytes) -> npt.NDArray[np.uint8] | None:
    """Decode with Pillow; return None on failure or for an unknown range of values.

    OpenCV rotates a TIFF by its orientation and darkens it by its transparency.
    """
    try:
        with Image.open(io.BytesIO(unturned(data))) as image:
            if image.mode in ("I", "F"):
                return None
            if image.mode.startswith("I;16"):
                grey = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            if image.mode == "RGBa":  # premultiplied by the transparency
                image = image.convert("RGBA")
            return np.array(image.convert("RGB"))
    except Exception:  # damaged bytes raise errors of any type in Pillow
        return None


def unturned(data: bytes) -> bytes:
    """Set the orientation of a TIFF file's first directory to "as stored"."""
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
    """Return whether a JPEG or PNG lacks its end marker; bytes after it are allowed."""
    if data.startswith(_PNG_START):
        return data.rfind(b"IEND") < 0
    if not data.startswith(_JPEG_START):
        return False
    # A thumbnail in the header has its own end marker, so the search starts at the
    # scan, in which 0xFF is never followed by 0xD9 except at the end.
    at = 0
    for at, marker in _jpeg_segments(data):
        if marker == _SCAN:
            return data.find(b"\xff\xd9", at) < 0
    return at >= len(data)  # else an unusual header: leave it to the decoder


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield position and marker of each segment of a JPEG's header, up to the scan.

    The last position is the first without a marker; its marker is given as 0.
    """
    at = 2
    while data[at : at + 1] == b"\xff" and at + 1 < len(data):
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        yield at, marker
        if marker == _SCAN:
            return
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    yield at + (data[at : at + 1] == b"\xff"), 0


def _claimed_size(data: bytes) -> tuple[int, int]:
    """Read width and height from the header, without Pillow for common formats."""
    if data.startswith(_PNG_START):
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data.startswith(_JPEG_START):
        sizes = [
            (
                int.from_bytes(data[at + 7 : at + 9], "big"),
                int.from_bytes(data[at + 5 : at + 7], "big"),
            )
            for at, marker in _jpeg_segments(data)
            if marker in _FRAMES
        ]
        return max(sizes, key=math.prod, default=(0, 0))
    return _stored_size(io.BytesIO(data))
