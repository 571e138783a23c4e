"""Prepare images for an exported detector: resize, pad or crop, and stack."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..datasets.loading.channels import Pixels
from ..datasets.loading.resizing import resize_image, resize_scale
from ..datasets.loading.samples import Sample
from .about import About
from .batching import without_objects


class Inputs(NamedTuple):
    """Inputs of an exported detector, in this order and by these names.

    Attributes:
        pixels: ``(N, 3, H, W)`` uint8 RGB, or float32 of other channels; zero
            beyond each image's own size.
        sizes: ``(N, 2)`` int64, height and width of each image without padding.
        scales: ``(N,)`` float32, input pixels per original pixel.
        original_sizes: ``(N, 2)`` int64, height and width of each original image.
    """

    pixels: Tensor
    sizes: Tensor
    scales: Tensor
    original_sizes: Tensor


def fit(picture: Pixels, about: About) -> Sample:
    """Resize a picture by the detector's rule, or to fit the file's fixed input.

    Without padding, it is cropped to the input at the right and at the bottom.
    """
    height, width = picture.shape[:2]
    scale = resize_scale(height, width, about.short_side, about.long_side)
    if about.size is not None:
        ratios = about.size[0] / height, about.size[1] / width
        scale = min(scale, *ratios) if about.padded else max(ratios)
    small = resize_image(picture, scale)
    if about.size is not None:
        small = small[: about.size[0], : about.size[1]]
    elif not about.padded:
        rows, columns = (
            max(side // about.multiple, 1) * about.multiple for side in small.shape[:2]
        )
        small = small[:rows, :columns]
    return without_objects(small, scale, (height, width))


def stack(samples: Sequence[Sample], about: About) -> Inputs:
    """Stack N pictures that `fit` has resized."""
    sizes = np.array([sample.pixels.shape[:2] for sample in samples], np.int64)
    height, width = about.size or (
        max(-(-int(side) // about.multiple) * about.multiple, about.shape.least)
        for side in sizes.max(axis=0)
    )
    kind = np.uint8 if about.channels is None else np.float32
    canvas = np.zeros((len(samples), height, width, about.channels or 3), kind)
    originals = []
    for slot, sample in zip(canvas, samples, strict=True):
        rows, columns = sample.pixels.shape[:2]
        slot[:rows, :columns] = sample.pixels
        seen = (round(rows / sample.scale), round(columns / sample.scale))
        full = sample.original_size
        cropped = min(seen[0], full[0]), min(seen[1], full[1])
        originals.append(full if about.padded else cropped)
    return Inputs(
        pixels=torch.from_numpy(canvas).permute(0, 3, 1, 2).contiguous(),
        sizes=torch.from_numpy(sizes),
        scales=torch.tensor([sample.scale for sample in samples], dtype=torch.float32),
        original_sizes=torch.tensor(originals),
    )


def make_inputs(pictures: Sequence[Pixels], about: About) -> Inputs:
    """Resize and stack N pictures, ``(h, w, 3)`` uint8 RGB or other channels each."""
    return stack([fit(picture, about) for picture in pictures], about)
