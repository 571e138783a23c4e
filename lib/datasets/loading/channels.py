"""Images of any number of channels, as stored: TIFF, NPY, PNG; 8 or 16 bits, floats.

A detector with ``net.pixel_mean`` reads its images in this way; all others read 8-bit
RGB, see `images`.
"""

import contextlib
import io
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from .images import MAX_PIXELS, ImageError, encoded_image, read_image, unturned

Pixels: TypeAlias = npt.NDArray[Any]
"""``(H, W, C)`` uint8, or float32."""

_TIFF = (".tif", ".tiff")
_FIRST, _LAST = 1, 99  # percentiles of the values that a picture shows


def read_channels(path: Path, channels: int | None = None) -> Pixels:
    """Decode an image with all its channels and its full depth.

    Args:
        path: a TIFF, PNG or other image, or an array ``(H, W)`` or ``(H, W, C)`` that
            NumPy saved.
        channels: the number that a detector needs; None for any.

    Returns:
        ``(H, W, C)`` uint8 as stored, or float32 of any other numbers, which 16 bits
        fit into; three or four channels of an image are red, green, blue, alpha.

    Raises:
        ImageError: the file cannot be decoded, or has other channels.
    """
    array = open_npy(path) if path.suffix.lower() == ".npy" else _decode(path)
    return as_channels(np.asarray(array), channels, name=str(path))


def as_channels(array: npt.NDArray[Any], channels: int | None, *, name: str) -> Pixels:
    """Check an array's channels, and convert it to 8 bits as given or to float32.

    Raises:
        ImageError: it has other channels, or values that are no finite numbers.
    """
    whole = array[:, :, None] if array.ndim == 2 else array
    if whole.ndim != 3 or 0 in whole.shape or whole.dtype.kind not in "uif":
        raise ImageError(
            f"{name}: expected numbers of shape (H, W) or (H, W, C), found "
            f"{array.shape} {array.dtype}"
        )
    found = whole.shape[2]
    if channels not in (None, found):
        raise ImageError(
            f"{name}: expected {channels} channels (net.in_channels), found {found} of "
            f"type {array.dtype}; correct net.in_channels, or the file"
        )
    if whole.dtype == np.uint8:
        return np.ascontiguousarray(whole)
    pixels = np.ascontiguousarray(whole, np.float32)
    if not np.isfinite(pixels).all():
        raise ImageError(
            f"{name}: expected finite numbers, found NaN or infinity; fill these pixels"
        )
    return pixels


def open_npy(path: Path) -> npt.NDArray[Any]:
    """Map an array that NumPy saved; its size is checked before it is read.

    Raises:
        ImageError: the file is damaged, holds Python objects, or is too large.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ImageError(
            f"{path}: expected an array of numbers as numpy.save writes it ({error})"
        ) from error
    if array.ndim not in (2, 3) or array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ImageError(
            f"{path}: expected an array (H, W) or (H, W, C) of at most {MAX_PIXELS} "
            f"pixels, found {array.shape}"
        )
    return np.asarray(array)


def _decode(path: Path) -> npt.NDArray[Any]:
    data = encoded_image(path)
    is_tiff = path.suffix.lower() in _TIFF
    bits = np.frombuffer(unturned(data) if is_tiff else data, np.uint8)
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = None
    if not (is_tiff and _pages(data) > 1):  # of which OpenCV reads the first
        with contextlib.suppress(cv2.error, MemoryError):
            pixels = cv2.imdecode(bits, flags)
    if pixels is None and is_tiff:
        return _decode_tiff(path, data)
    if pixels is None:
        raise ImageError(f"{path}: expected an image, found none that OpenCV decodes")
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        return pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]  # from OpenCV's BGR
    return np.asarray(pixels)


def _pages(data: bytes) -> int:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # Pillow knows few kinds of channels
        return 1


def _decode_tiff(path: Path, data: bytes) -> npt.NDArray[Any]:
    """Decode kinds of TIFF that OpenCV does not, such as five channels."""
    try:
        import tifffile
    except ImportError as error:
        raise ImageError(
            f"{path}: OpenCV does not decode this kind of TIFF; pip install tifffile, "
            "or save the image as NPY"
        ) from error
    try:
        array = np.asarray(tifffile.imread(io.BytesIO(data)))
    except Exception as error:  # damaged bytes raise errors of any type
        raise ImageError(f"{path}: expected a TIFF, cannot decode it ({error})") from (
            error
        )
    # Pages and separate planes come first.
    planes = array.ndim == 3 and array.shape[0] < min(array.shape[1:])
    return np.moveaxis(array, 0, -1) if planes else array


def shown(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Convert ``(H, W, C)`` to an RGB picture for people; 8-bit RGB is unchanged.

    These are the first three channels, or the first one as grey; values of more than 8
    bits are stretched from their first percentile to the last one.
    """
    some = pixels[:, :, : 3 if pixels.shape[2] >= 3 else 1]
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(np.repeat(some, 3 // some.shape[2], axis=2))
    some = some.astype(np.float32)
    low, high = np.percentile(some[:: max(len(some) // 256, 1)], (_FIRST, _LAST))
    grey = (some - low) * (255 / max(high - low, 1e-6))
    return np.repeat(grey.clip(0, 255).astype(np.uint8), 3 // some.shape[2], axis=2)


def read_shown(path: Path) -> npt.NDArray[np.uint8]:
    """Decode any image as an RGB picture for people, see `shown`.

    Raises:
        ImageError: the file cannot be decoded.
    """
    return shown(read_channels(path)) if is_deep(path) else read_image(path)


def is_deep(path: Path) -> bool:
    """Return whether a file may have more than 8 bits or other channels than RGB."""
    suffix = path.suffix.lower()
    if suffix != ".png":
        return suffix in (".npy", *_TIFF)
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(25)[24:] == b"\x10"  # bits per channel
    return False
