"""Polygons and packed masks of the golden data."""

import numpy as np


def golden_outlines(inputs, image):
    """The parts of each object of an image of ``inputs.npz``."""
    ends = np.cumsum(inputs[f"{image}_poly_len"])
    flat = inputs[f"{image}_poly_flat"]
    objects = [[] for _ in inputs[f"{image}_boxes"]]
    for start, end, g in zip(
        [0, *ends[:-1]], ends, inputs[f"{image}_poly_owner"], strict=True
    ):
        objects[g].append(flat[start:end].reshape(-1, 2))
    return objects


def unpacked(bits, width):
    """Masks packed along their last axis."""
    return np.unpackbits(bits, axis=-1)[..., :width]
