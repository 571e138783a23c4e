"""Group images into batches, in order or by similar shape."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..datasets.loading.channels import Pixels
from ..datasets.loading.images import Decoded
from ..datasets.loading.resizing import Cut, cut_tile, resize_scale
from ..datasets.loading.samples import Sample
from ..datasets.loading.tiling import Tile
from ..datasets.loading.training_stream import shape_groups


class Prepared(NamedTuple):
    """An image prepared for a batch.

    Attributes:
        number: index of the image in its call.
        size: its height and width in pixels.
        samples: the image at each scale; none if it is to be cut into tiles.
        path: path of the file, if it is one.
        stored: the image in full, if it is to be cut into tiles.
    """

    number: int
    size: tuple[int, int]
    samples: list[Sample]
    path: Path | None
    stored: Decoded | None = None


def to_sample(
    image: Decoded, short_side: int, long_side: int, tile: Tile | None = None
) -> Sample:
    """Resize an image or a tile to one scale, as for data sets, without objects."""
    if tile is None:
        scale = resize_scale(*image.size, short_side, long_side)
        cut = Cut.whole(*image.size, scale)
    else:
        cut = cut_tile(tile, short_side, long_side)
    pixels = cut.resize(image.pixels, image.by)
    return without_objects(pixels, cut.scale, (cut.height, cut.width), tile)


def without_objects(
    pixels: Pixels,
    scale: float,
    original_size: tuple[int, int],
    tile: Tile | None = None,
) -> Sample:
    """Make a sample of a resized image."""
    return Sample(
        pixels=pixels,
        boxes=np.zeros((0, 4), np.float32),
        classes=np.zeros(0, np.int64),
        ignored=np.zeros((0, 4), np.float32),
        crowd=np.zeros(0, np.bool_),
        scale=scale,
        original_size=original_size,
        image_id="",
        tile=tile,
    )


def in_order(prepared: Iterable[Prepared], batch_size: int) -> Iterator[list[Prepared]]:
    """Yield batches of images in order; an image for tiles is alone."""
    for cut, images in itertools.groupby(prepared, _is_cut):
        while group := list(itertools.islice(images, 1 if cut else batch_size)):
            yield group


def _is_cut(item: Prepared) -> bool:
    return item.stored is not None


def of_like_shape(
    prepared: Iterable[Prepared], batch_size: int
) -> Iterator[list[Prepared]]:
    """Yield batches of images from one bucket of aspect ratios, as in tests.

    At most one batch per bucket waits for more images, already resized. An image for
    tiles is alone.
    """
    waiting: dict[int, list[Prepared]] = {}
    for item in prepared:
        if _is_cut(item):
            yield [item]
            continue
        height, width = item.size
        bucket = int(shape_groups(np.array([[width, height]], np.int32))[0])
        group = waiting.setdefault(bucket, [])
        group.append(item)
        if len(group) == batch_size:
            yield waiting.pop(bucket)
    yield from waiting.values()
