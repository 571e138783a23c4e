"""Group images into batches, in order or by similar shape."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..datasets.loading.resizing import resize_image, resize_scale
from ..datasets.loading.samples import Sample
from ..datasets.loading.training_stream import shape_groups
from ..utils.drawing import Picture


class Prepared(NamedTuple):
    """An image prepared for a batch.

    Attributes:
        number: index of the image in its call.
        samples: the image at each scale.
        path: path of the file, if it is one.
    """

    number: int
    samples: list[Sample]
    path: Path | None


def to_sample(pixels: Picture, short_side: int, long_side: int) -> Sample:
    """Resize an image to one scale, as for data sets, without objects."""
    height, width = pixels.shape[:2]
    scale = resize_scale(height, width, short_side, long_side)
    return Sample(
        pixels=resize_image(pixels, scale),
        boxes=np.zeros((0, 4), np.float32),
        classes=np.zeros(0, np.int64),
        ignored=np.zeros((0, 4), np.float32),
        crowd=np.zeros(0, np.bool_),
        scale=scale,
        original_size=(height, width),
        image_id="",
    )


def in_order(prepared: Iterable[Prepared], batch_size: int) -> Iterator[list[Prepared]]:
    """Yield batches of images in order."""
    rest = iter(prepared)
    while group := list(itertools.islice(rest, batch_size)):
        yield group


def of_like_shape(
    prepared: Iterable[Prepared], batch_size: int
) -> Iterator[list[Prepared]]:
    """Yield batches of images from one bucket of aspect ratios, as in tests.

    At most one batch per bucket waits for more images, already resized.
    """
    waiting: dict[int, list[Prepared]] = {}
    for item in prepared:
        height, width = item.samples[0].original_size
        bucket = int(shape_groups(np.array([[width, height]], np.int32))[0])
        group = waiting.setdefault(bucket, [])
        group.append(item)
        if len(group) == batch_size:
            yield waiting.pop(bucket)
    yield from waiting.values()
