"""Convert images of all supported types to RGB arrays.

Data sets are read as stored, because their annotations refer to stored pixels
(``datasets/loading/images.py``). Here there are no annotations, and images are rotated
upright as viewers show them.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..datasets.loading.channels import (
    Pixels,
    as_channels,
    read_channels,
    read_shown,
    shown,
)
from ..datasets.loading.images import (
    Decoded,
    ImageError,
    read_image,
    read_reduced,
)
from ..datasets.loading.orientation import orientation_of, turn_upright, upright
from ..datasets.loading.resizing import reduction, resize_scale
from ..utils.drawing import Picture

ImageInput: TypeAlias = (
    str | os.PathLike[str] | npt.NDArray[Any] | Image.Image | Tensor | Decoded
)
"""Types of a single image; `Decoded` as `Detector.read` returns it."""

_KINDS = (
    "the path of a file, a uint8 array (H, W, 3) RGB, a PIL image, or a tensor "
    "(3, H, W)"
)
_ROUNDING = 1e-3
"""How far values of a float tensor may leave [0, 1], as after resizing."""

# Errors that Pillow raises for a file that it cannot read.
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def is_one_image(images: object) -> bool:
    """Return whether this is one image; a tensor of four dimensions is a batch."""
    if isinstance(images, Tensor):
        return images.ndim != 4
    return isinstance(images, str | os.PathLike | np.ndarray | Image.Image | Decoded)


def as_images(images: ImageInput | Iterable[ImageInput]) -> Iterable[ImageInput]:
    """Return one image or several as an iterable that is not yet consumed.

    Raises:
        ValueError: the argument is neither.
    """
    if is_one_image(images):
        return [images]  # type: ignore[list-item]
    if isinstance(images, Iterable) and not isinstance(images, bytes | dict | Decoded):
        return images
    raise ValueError(
        f"expected {_KINDS}, or several of them, found {type(images).__name__}"
    )


def to_pixels(
    image: ImageInput,
    *,
    exif: bool = True,
    name: str = "image",
    channels: int | None = None,
) -> Pixels:
    """Convert an image of any supported type to pixels.

    Grey becomes RGB, transparency is dropped, and the upper 8 of 16 bits are kept; but
    with ``channels`` all channels and values stay as they are.

    Args:
        image: a file's path; uint8 ``(H, W, 3)`` RGB, ``(H, W, 4)`` or grey ``(H, W)``;
            a PIL image; or a ``(3, H, W)`` RGB tensor, uint8 or floats from 0 to 1.
        exif: rotate files and PIL images upright by their EXIF data.
        name: name of the image in error messages if it has no path.
        channels: the number of channels that the detector reads as stored: arrays are
            ``(H, W, channels)`` or, of one, ``(H, W)``, and tensors ``(channels, H,
            W)``, of any number type. None for RGB.

    Returns:
        ``(H, W, 3)`` uint8 RGB, or ``(H, W, channels)``.

    Raises:
        ImageError: the file or PIL image cannot be read; the message names the file.
        ValueError: the type or shape is not supported.
    """
    if channels is not None:
        return _as_stored(image, channels, exif=exif, name=name)
    if isinstance(image, str | os.PathLike):
        pixels = read_image(Path(image))
        return upright(pixels, orientation_of(Path(image))) if exif else pixels
    if isinstance(image, Image.Image):
        return _from_pil(image, exif=exif, name=getattr(image, "filename", "") or name)
    if isinstance(image, Tensor):
        return _from_tensor(image, name)
    if isinstance(image, np.ndarray):
        return _from_array(image, name)
    raise ValueError(f"{name}: expected {_KINDS}, found {type(image).__name__}")


def decode(
    image: ImageInput,
    sides: tuple[int, int] | None,
    *,
    exif: bool = True,
    name: str = "image",
    channels: int | None = None,
) -> Decoded:
    """Convert an image like `to_pixels`, a large JPEG file at a fraction of its size.

    Args:
        image: see `to_pixels`; an image that is decoded stays as it is.
        sides: short side and limit of the long side of the network input, see
            `reduction`; None for the image in full.
        exif: see `to_pixels`.
        name: see `to_pixels`.
        channels: see `to_pixels`.

    Raises:
        ImageError, ValueError: see `to_pixels`.
    """
    if isinstance(image, Decoded):
        return image
    if channels is not None or not isinstance(image, str | os.PathLike):
        return Decoded.full(to_pixels(image, exif=exif, name=name, channels=channels))
    orientation = orientation_of(Path(image)) if exif else 1

    def by(height: int, width: int) -> int:
        if sides is None:
            return 1
        scale = resize_scale(height, width, *sides)
        return reduction(scale, height, width, turned=orientation > 1)

    return turn_upright(read_reduced(Path(image), by), orientation)


def to_picture(image: ImageInput, *, exif: bool = True) -> Picture:
    """Convert an image of any channels to RGB for people.

    Raises:
        ImageError, ValueError: see `to_pixels`.
    """
    if isinstance(image, str | os.PathLike):
        pixels = read_shown(Path(image))
        return upright(pixels, orientation_of(Path(image))) if exif else pixels
    if isinstance(image, np.ndarray) and (image.dtype != np.uint8 or image.ndim == 3):
        return shown(as_channels(image, None, name="image"))
    if isinstance(image, Tensor) and len(image) != 3:
        return to_picture(image.detach().cpu().permute(1, 2, 0).numpy())
    return np.asarray(to_pixels(image, exif=exif), np.uint8)


def _as_stored(image: ImageInput, channels: int, *, exif: bool, name: str) -> Pixels:
    """Convert an image with all its channels and values."""
    if isinstance(image, str | os.PathLike):
        pixels = read_channels(Path(image), channels)
        return upright(pixels, orientation_of(Path(image))) if exif else pixels
    if isinstance(image, Tensor):
        planes = image.detach().cpu()
        image = planes.permute(1, 2, 0).numpy() if planes.ndim == 3 else planes.numpy()
    elif isinstance(image, Image.Image):
        image = np.asarray(ImageOps.exif_transpose(image) if exif else image)
    if not isinstance(image, np.ndarray):
        raise ValueError(f"{name}: expected {_KINDS}, found {type(image).__name__}")
    return as_channels(image, channels, name=name)


def _from_pil(image: Image.Image, *, exif: bool, name: str) -> Picture:
    try:
        if exif:
            image = ImageOps.exif_transpose(image)
        if image.mode in ("I", "F"):
            raise ValueError(
                f"mode {image.mode} defines no range of values; convert the image to 8 "
                "bits, or give the file's path"
            )
        if image.mode.startswith("I;16"):
            return _from_array((np.asarray(image) >> 8).astype(np.uint8), name)
        if image.mode == "RGBa":  # premultiplied by the transparency
            image = image.convert("RGBA")
        return _from_array(np.asarray(image.convert("RGB")), name)
    except _PILLOW_ERRORS as error:
        raise ImageError(f"{name}: cannot read the PIL image ({error})") from error


def _from_array(array: npt.NDArray[Any], name: str) -> Picture:
    shape = array.shape
    shaped = array.ndim == 2 or (array.ndim == 3 and shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not shaped or 0 in shape:
        raise ValueError(
            f"{name}: expected an array of shape (H, W, 3), (H, W, 4) or (H, W) and "
            f"type uint8, found {shape} {array.dtype}; pass several images as a list"
        )
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[2] == 1:
        array = array.repeat(3, axis=2)
    return np.ascontiguousarray(array[:, :, :3])


def _from_tensor(tensor: Tensor, name: str) -> Picture:
    known = tensor.dtype == torch.uint8 or tensor.is_floating_point()
    if not known or tensor.ndim != 3 or len(tensor) != 3 or not tensor.numel():
        raise ValueError(
            f"{name}: expected a tensor of shape (3, H, W) and type uint8, or floats "
            f"from 0 to 1, found {tuple(tensor.shape)} {tensor.dtype}"
        )
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()
        low, high = tensor.min().item(), tensor.max().item()
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # nor NaN
            raise ValueError(
                f"{name}: expected floats from 0 to 1, found {low:g} to {high:g}; give "
                "pixels that are not normalised, or convert them to uint8"
            )
        tensor = (tensor * 255).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(tensor.permute(1, 2, 0).numpy())
