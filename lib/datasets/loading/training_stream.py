"""Draw the training images, their order and their augmentation.

The stream is a pure function of the seed and the iteration. Therefore a run resumed at
iteration k sees what an unbroken run would have seen, with any number of workers.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..index.indexed_records import as_records
from ..records import Record
from .tiling import Tile

_MOSAIC_ZOOM = 0.5
"""Images of a mosaic are half as large, so that the same part of them is visible."""


class Draw(NamedTuple):
    """One image of a batch and its augmentation."""

    image: int  # index of its record
    short_side: int  # target of the shorter side in pixels
    flip: bool = False  # mirror left to right
    # factors of brightness, contrast and saturation; if None, all 1
    colour: tuple[float, float, float] | None = None
    hue: float = 0.0  # rotation of the hue, as a fraction of the full circle
    zoom: float = 1.0  # factor on the scale
    # position of the visible part, x and y in [0, 1)
    place: tuple[float, float] = (0.5, 0.5)
    # the three other images of the mosaic that this image begins, if any
    partners: tuple["Draw", ...] = ()
    # point where the images of the mosaic meet, x and y in [0, 1]
    centre: tuple[float, float] = (0.5, 0.5)
    tile: Tile | None = None  # part of the image to read, in a test; None for all of it
    # the object that a crop contains, as a position in [0, 1) among those of the image;
    # None for a crop that is anywhere
    focus: float | None = None
    quarters: int = 0  # then turn by 90 degrees clockwise, 0 to 3 times
    pasted: "Draw | None" = None  # image whose objects are pasted into this one, if any
    seed: int = 0  # of the random numbers of transforms and pasting


class Augmentation(NamedTuple):
    """The random changes of training images."""

    # targets of the shorter side in pixels, one drawn per batch
    short_sides: Sequence[int]
    flip: bool = True  # mirror half of the images
    # largest relative change of brightness, contrast, saturation
    colour_jitter: float = 0.0
    # largest rotation of the hue, as a fraction of the full circle
    hue_jitter: float = 0.0
    # range of a random factor on each image's scale; if None, 1
    scale_jitter: tuple[float, float] | None = None
    mosaic: float = 0.0  # share of the images that are joined from four
    # share of the crops that contain a drawn object; None for no crops
    crop_around: float | None = None
    vertical_flip: bool = False  # mirror half of the images top to bottom
    rotate90: bool = False  # turn images by a random multiple of 90 degrees
    copy_paste: float = 0.0  # share of the images that get objects of another one
    seeded: bool = False  # give each image a seed, for transforms


class Passes(NamedTuple):
    """The passes of one update."""

    images: int  # number of images of the update
    size: int  # number of images of a pass; the last pass may hold fewer
    total: int  # number of passes of all processes together
    mine: range  # indices of the passes that this process makes


def training_stream(
    records: Sequence[Record],
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    factors: npt.NDArray[np.float64] | None = None,
) -> Iterator[list[Draw]]:
    """Yield batches of draws without end: every image once per epoch, in random order.

    With ``factors``, an epoch has each image so many times on average: a fraction is
    rounded up or down at random in each epoch.

    A batch holds images of similar shape (once turned) and one scale, to avoid padding.
    Images that do not fill a batch wait for the next epoch, so that no image is left
    out or drawn twice. The three other images of a mosaic, and an image to paste from,
    are any images, in addition to the epoch.

    Disabled augmentations draw no random numbers, and mosaic, hue, zoom and those that
    follow draw theirs last: batches, scales, flips and colours do not depend on them.
    Turns by 90 degrees have random numbers of their own.
    """
    wanted, images = augmentation, len(records)
    groups = shape_groups(as_records(records).sizes).tolist()
    waiting: dict[int, list[tuple[int, int]]] = {}
    batches = 0
    for epoch in itertools.count():
        order = _draw_order(np.random.default_rng((seed, 0, epoch)), images, factors)
        turns = np.zeros(len(order), np.int64)
        if wanted.rotate90:
            turns = np.random.default_rng((seed, 2, epoch)).integers(4, size=len(order))
        for index, quarters in zip(order.tolist(), turns.tolist(), strict=True):
            shape = -groups[index] if quarters % 2 else groups[index]
            group = waiting.setdefault(shape, [])
            group.append((index, quarters))
            if len(group) < batch_size:
                continue
            rng = np.random.default_rng((seed, 1, batches))
            short_side = int(rng.choice(np.array(wanted.short_sides)))
            draws = [
                Draw(
                    image=member,
                    short_side=short_side,
                    flip=bool(wanted.flip and rng.random() < 0.5),
                    colour=_draw_colour(rng, wanted.colour_jitter),
                    quarters=quarters,
                )
                for member, quarters in group
            ]
            if wanted.mosaic:
                draws = [
                    _draw_mosaic(rng, draw, images, wanted)
                    if rng.random() < wanted.mosaic
                    else draw
                    for draw in draws
                ]
            draws = [_vary(rng, draw, wanted) for draw in draws]
            if wanted.crop_around is not None:
                draws = [_draw_crop(rng, draw, wanted.crop_around) for draw in draws]
            if wanted.copy_paste:
                draws = [_draw_pasted(rng, draw, images, wanted) for draw in draws]
            yield draws
            batches += 1
            group.clear()


def _draw_order(
    rng: np.random.Generator, images: int, factors: npt.NDArray[np.float64] | None
) -> npt.NDArray[np.int64]:
    """Draw the images of an epoch, in order."""
    if factors is None:
        return rng.permutation(images)
    whole = np.floor(factors)
    times = whole + (rng.random(images) < factors - whole)
    return rng.permutation(np.repeat(np.arange(images), times.astype(np.int64)))


def split_passes(batches: Iterator[list[Draw]], passes: Passes) -> Iterator[list[Draw]]:
    """Yield the passes that this process makes of the batches of `training_stream`."""
    for draws in batches:
        for number in passes.mine:
            yield draws[number * passes.size : (number + 1) * passes.size]


def shape_groups(sizes: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Number ``(I,)`` groups of aspect ratios, in steps of a quarter octave, ascending.

    4:3 and 3:2 are in one group, 1:1 is in another.

    Args:
        sizes: ``(I, 2)`` width and height.
    """
    octaves = np.log2(sizes[:, 0] / sizes[:, 1])
    return np.asarray(np.rint(4 * octaves), np.int64)


def _draw_colour(
    rng: np.random.Generator, jitter: float
) -> tuple[float, float, float] | None:
    if jitter == 0:
        return None
    brightness, contrast, saturation = rng.uniform(1 - jitter, 1 + jitter, 3)
    return float(brightness), float(contrast), float(saturation)


def _draw_mosaic(
    rng: np.random.Generator, first: Draw, images: int, wanted: Augmentation
) -> Draw:
    """Make a drawn image the first of a mosaic."""

    def part(draw: Draw) -> Draw:
        x, y = rng.random(2)
        return draw._replace(zoom=_MOSAIC_ZOOM, place=(float(x), float(y)))

    partners = [
        part(_draw_other(rng, first.short_side, images, wanted)) for _ in range(3)
    ]
    x, y = rng.uniform(0.3, 0.7, 2)
    return part(first)._replace(partners=tuple(partners), centre=(float(x), float(y)))


def _vary(rng: np.random.Generator, draw: Draw, wanted: Augmentation) -> Draw:
    """Draw hue, zoom, place and so on of an image, and of its partners in a mosaic."""
    if wanted.hue_jitter:
        draw = draw._replace(
            hue=float(rng.uniform(-wanted.hue_jitter, wanted.hue_jitter))
        )
    if wanted.scale_jitter:
        x, y = rng.random(2)
        zoom = draw.zoom * float(rng.uniform(*wanted.scale_jitter))
        draw = draw._replace(zoom=zoom, place=(float(x), float(y)))
    if wanted.vertical_flip and rng.random() < 0.5:
        # Mirrored left to right once more, before turns that now go the other way.
        draw = draw._replace(flip=not draw.flip, quarters=(2 - draw.quarters) % 4)
    if wanted.seeded:
        draw = draw._replace(seed=int(rng.integers(1 << 32)))
    partners = (_vary(rng, other, wanted) for other in draw.partners)
    return draw._replace(partners=tuple(partners))


def _draw_crop(rng: np.random.Generator, draw: Draw, around: float) -> Draw:
    """Draw the place of a crop, and of its partners in a mosaic."""
    x, y, chance, focus = map(float, rng.random(4))
    return draw._replace(
        place=(x, y),
        focus=focus if chance < around else None,
        partners=tuple(_draw_crop(rng, other, around) for other in draw.partners),
    )


def _draw_pasted(
    rng: np.random.Generator, draw: Draw, images: int, wanted: Augmentation
) -> Draw:
    """Draw whether objects of another image are pasted into one, and of which."""
    if rng.random() >= wanted.copy_paste:
        return draw
    other = _draw_other(rng, draw.short_side, images, wanted)
    other = _vary(rng, other, wanted)
    if wanted.crop_around is not None:
        other = _draw_crop(rng, other, wanted.crop_around)
    seed = int(rng.integers(1 << 32))
    return draw._replace(pasted=other._replace(seed=seed))


def _draw_other(
    rng: np.random.Generator, short_side: int, images: int, wanted: Augmentation
) -> Draw:
    """Draw another image for a mosaic, or to paste from."""
    return Draw(
        image=int(rng.integers(images)),
        short_side=short_side,
        flip=bool(wanted.flip and rng.random() < 0.5),
        colour=_draw_colour(rng, wanted.colour_jitter),
        quarters=int(rng.integers(4)) if wanted.rotate90 else 0,
    )
