"""Photometric jitter: one affine map of the colours of an image."""

import math

import cv2
import numpy as np

from .channels import Pixels

# RGB to luma and two axes of chroma (YIQ): grey has no chroma, saturation is its
# length, hue its angle.
_TO_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]]
)


def recolour(
    pixels: Pixels,
    factors: tuple[float, float, float],
    *,
    hue: float = 0.0,
) -> Pixels:
    """Change brightness, contrast, saturation and hue in one pass of 8 bits.

    All four are affine in the colour, and so is their composition: brightness scales,
    contrast scales about the image's mean, saturation about the pixel's own grey, and
    hue rotates around the grey axis.

    Args:
        pixels: ``(H, W, 3)`` RGB; of other channels or depths, only brightness and
            contrast are changed.
        factors: factors of brightness, contrast and saturation; 1 for no change.
        hue: rotation as a fraction of the full circle.

    Returns:
        The shape and type of ``pixels``; 8 bits are clipped to 0..255.
    """
    brightness, contrast, saturation = factors
    if pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        wide = pixels.astype(np.float32)
        about = wide.mean(axis=(0, 1))
        changed = brightness * (contrast * (wide - about) + about)
        if pixels.dtype == np.uint8:
            changed = changed.round().clip(0, 255)
        return np.asarray(changed, pixels.dtype)
    angle = 2 * math.pi * hue
    cosine, sine = saturation * math.cos(angle), saturation * math.sin(angle)
    chroma = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix = np.linalg.inv(_TO_YIQ) @ chroma @ _TO_YIQ
    mean = brightness * sum(cv2.mean(pixels)[:3]) / 3
    # Grey stays grey under the matrix, so the mean can be added after it.
    affine = np.empty((3, 4), np.float32)
    affine[:, :3] = brightness * contrast * matrix
    affine[:, 3] = (1 - contrast) * mean
    return np.asarray(cv2.transform(pixels, affine), np.uint8)
