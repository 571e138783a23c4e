"""Prepare images for an exported detector: resize, pad or crop, and stack."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..datasets.loading.images import IMAGE_SUFFIXES, read_image
from ..datasets.loading.resizing import resize_image, resize_scale
from ..datasets.shapes_scene import draw_scene
from .about import About
from .export_error import ExportError
from .program import Inputs

Picture = npt.NDArray[np.uint8]
"""``(h, w, 3)`` RGB."""


def find_photos(folder: Path, count: int) -> list[Path]:
    """Choose at most ``count`` image files of a folder, spread evenly over their names.

    Raises:
        ExportError: there are none.
    """
    paths = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES
    )
    if not paths:
        raise ExportError(
            f"{folder}: expected images ({', '.join(IMAGE_SUFFIXES)}), found none; "
            "name another folder"
        )
    return spread(paths, count)


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """Choose at most ``count`` paths, spread evenly."""
    count = min(count, len(paths))
    return [paths[i * len(paths) // count] for i in range(count)]


def drawn_pictures(count: int) -> list[Picture]:
    """Return scenes of drawn shapes, for lack of photos."""
    scenes = (draw_scene(np.random.default_rng([0, i])).pixels for i in range(count))
    return [
        np.ascontiguousarray(np.broadcast_to(p[..., None], (*p.shape, 3)))
        if p.ndim == 2
        else p[:, :, ::-1].copy()
        for p in scenes
    ]


def batches(
    pictures: Sequence[Picture | Path], about: About, *, batch: int = 1
) -> Iterator[Inputs]:
    """Load all images in batches that an exported detector accepts.

    Args:
        pictures: images, or their files.
        about: the file's facts.
        batch: images per batch if the file leaves it free; if not, the last batch is
            filled up with its last picture.
    """
    count = about.batch or batch
    for start in range(0, len(pictures), count):
        chosen = [
            read_image(p) if isinstance(p, Path) else p
            for p in pictures[start : start + count]
        ]
        if about.batch is not None:
            chosen += chosen[-1:] * (count - len(chosen))
        yield make_inputs(chosen, about)


def make_inputs(pictures: Sequence[Picture], about: About) -> Inputs:
    """Resize N pictures by the detector's rule, or to fit its fixed input, and stack.

    Without padding, pictures are cropped to the input at the right and at the bottom.
    """
    resized, scales, originals = [], [], []
    for picture in pictures:
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
                max(side // about.multiple, 1) * about.multiple
                for side in small.shape[:2]
            )
            small = small[:rows, :columns]
        resized.append(small)
        scales.append(scale)
        originals.append(
            (height, width)
            if about.padded
            else tuple(
                min(round(now / scale), full)
                for now, full in zip(small.shape[:2], (height, width), strict=True)
            )
        )
    sizes = np.array([small.shape[:2] for small in resized], np.int64)
    height, width = about.size or (
        max(-(-int(side) // about.multiple) * about.multiple, about.shape.least)
        for side in sizes.max(axis=0)
    )
    canvas = np.zeros((len(resized), height, width, 3), np.uint8)
    for slot, small in zip(canvas, resized, strict=True):
        slot[: small.shape[0], : small.shape[1]] = small
    return Inputs(
        pixels=torch.from_numpy(canvas).permute(0, 3, 1, 2).contiguous(),
        sizes=torch.from_numpy(sizes),
        scales=torch.tensor(scales, dtype=torch.float32),
        original_sizes=torch.tensor(originals),
    )
