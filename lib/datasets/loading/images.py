"""Read image files.

EXIF orientation is applied neither to the pixels nor to the size; see `orientation`.
"""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from .file_kinds import refusal
from .headers import JPEG_START, claimed_size, is_cut_short, stored_size

# Preferred order of files with the same stem.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"),
    ".npy",  # of any number of channels, see `channels`
)

_TIFF_STARTS = (b"II*\0", b"MM\0*")
_ORIENTATION = 274
"""The TIFF and EXIF tag of the orientation in which to show an image."""

MAX_PIXELS = 178_956_970
"""Largest image, as in Pillow: a decompression bomb claims more pixels than fit into
memory."""

_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_REDUCED = {
    2: cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_IGNORE_ORIENTATION,
    4: cv2.IMREAD_REDUCED_COLOR_4 | cv2.IMREAD_IGNORE_ORIENTATION,
    8: cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION,
}


class ImageError(ValueError):
    """An image file is missing, truncated or not an image; the message names it."""


class Decoded(NamedTuple):
    """An image as decoded, perhaps at a fraction of its size."""

    pixels: npt.NDArray[Any]  # ``(h, w, C)``
    size: tuple[int, int]  # height and width of the image in full
    # 1, 2, 4 or 8: pixel k covers the pixels from ``by * k`` to ``by * (k + 1)`` of the
    # image in full. The last one may reach beyond it.
    by: int = 1

    @classmethod
    def full(cls, pixels: npt.NDArray[Any]) -> "Decoded":
        """Return an image that was decoded in full."""
        return cls(pixels, (pixels.shape[0], pixels.shape[1]))


def read_reduced(path: Path, reduction: Callable[[int, int], int]) -> Decoded:
    """Decode an image file like `read_image`, a JPEG at a fraction of its size.

    Of each block of 8 x 8 pixels, libjpeg then computes only 4 x 4, 2 x 2 or 1 from its
    low frequencies.

    Args:
        reduction: gives 1, 2, 4 or 8 for the height and width of a JPEG as stored.

    Raises:
        ImageError: see `read_image`.
    """
    data = encoded_image(path)
    width, height = claimed_size(data) if data.startswith(JPEG_START) else (0, 0)
    by = reduction(height, width) if width and height else 1
    if by > 1:
        pixels = _decode(data, _REDUCED[by])
        # An unusual header may claim another size.
        if pixels is not None and pixels.shape[:2] == (
            -(-height // by),
            -(-width // by),
        ):
            return Decoded(pixels, (height, width), by)
    return Decoded.full(_decode_whole(path, data))


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Decode an image file as ``(H, W, 3)`` RGB.

    Grayscale, palette and CMYK images become RGB, transparency is dropped, and the
    upper 8 of 16 bits are kept. The pixels are as stored, whatever EXIF says.

    Raises:
        ImageError: the file cannot be read, is truncated, is not an image, or claims
            more than `MAX_PIXELS`.
    """
    return _decode_whole(path, encoded_image(path))


def _decode_whole(path: Path, data: bytes) -> npt.NDArray[np.uint8]:
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
    if is_cut_short(data):
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
                width, height = stored_size(path)
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
        width, height = claimed_size(data)
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


def _decode(data: bytes, flags: int = _AS_STORED) -> npt.NDArray[np.uint8] | None:
    """Decode with OpenCV; return None if it fails."""
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
