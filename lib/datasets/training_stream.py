"""Which images are trained on, in which order and how each is prepared.

The stream is a pure function of the seed and the iteration. So resuming at iteration k
yields what an unbroken run would have seen, whatever the number of workers.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .records import Record


class Draw(NamedTuple):
    """One image of a training batch and how it is to be prepared."""

    image: int
    short_side: int
    flip: bool
    colour: tuple[float, float, float] | None


def training_stream(
    records: Sequence[Record],
    *,
    batch_size: int,
    short_sides: Sequence[int],
    flip: bool,
    colour_jitter: float,
    seed: int,
) -> Iterator[list[Draw]]:
    """Batches of draws without end: every image once per epoch, in random order.

    A batch holds images of like shape and one scale, so that little is padded; an image
    without a partner waits for the next epoch's first, so none is left out or drawn
    twice.
    """
    waiting: dict[int, list[int]] = {}
    batches = 0
    for epoch in itertools.count():
        order = np.random.default_rng((seed, 0, epoch)).permutation(len(records))
        for index in map(int, order):
            group = waiting.setdefault(_shape_group(records[index]), [])
            group.append(index)
            if len(group) < batch_size:
                continue
            rng = np.random.default_rng((seed, 1, batches))
            short_side = int(rng.choice(np.array(short_sides)))
            yield [
                Draw(
                    image=member,
                    short_side=short_side,
                    flip=bool(flip and rng.random() < 0.5),
                    colour=_draw_colour(rng, colour_jitter),
                )
                for member in group
            ]
            batches += 1
            group.clear()


def _shape_group(record: Record) -> int:
    """Aspect ratio in steps of a quarter octave: 4:3 and 3:2 are alike, 1:1 is not."""
    return round(4 * math.log2(record.width / record.height))


def _draw_colour(
    rng: np.random.Generator, jitter: float
) -> tuple[float, float, float] | None:
    if jitter == 0:
        return None
    brightness, contrast, saturation = rng.uniform(1 - jitter, 1 + jitter, 3)
    return float(brightness), float(contrast), float(saturation)
