"""Endless training batches and ordered test batches.

The training stream is a pure function of the seed and the iteration: which images, at
which scale, flipped or not. So resuming at iteration k yields what an unbroken run
would have seen, whatever the number of workers.
"""

import itertools
import math
import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from .batches import Batch, Sample, collate, make_sample, resize_scale
from .images import ImageError
from .records import Record

_MOST_REPLACEMENTS = 20
"""Unreadable files in a row after which reading on is pointless."""


class _Draw(NamedTuple):
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
) -> Iterator[list[_Draw]]:
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
                _Draw(
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


class _TrainingSet(TorchDataset[Batch]):
    """Makes the batch of a list of draws; runs in the workers."""

    def __init__(
        self,
        records: Sequence[Record],
        *,
        long_side: int,
        offset: float,
        size_multiple: int,
        use_difficult: bool,
    ) -> None:
        self.records = records
        self.long_side = long_side
        self.offset = offset
        self.size_multiple = size_multiple
        self.use_difficult = use_difficult

    def __getitem__(self, draws: list[_Draw]) -> Batch:
        problems: list[str] = []
        samples = [self._sample(draw, problems) for draw in draws]
        return collate(
            samples, size_multiple=self.size_multiple, problems=tuple(problems)
        )

    def _sample(self, draw: _Draw, problems: list[str]) -> Sample:
        """The drawn image, or the next readable one in its place."""
        for step in range(_MOST_REPLACEMENTS):
            record = self.records[(draw.image + step) % len(self.records)]
            try:
                return make_sample(
                    record,
                    short_side=draw.short_side,
                    long_side=self.long_side,
                    offset=self.offset,
                    flip=draw.flip,
                    colour=draw.colour,
                    use_difficult=self.use_difficult,
                )
            except ImageError as error:
                problems.append(str(error))
        raise ImageError(
            f"{_MOST_REPLACEMENTS} images in a row cannot be read, the last because: "
            f"{problems[-1]}"
        )


def training_batches(
    records: Sequence[Record],
    *,
    batch_size: int,
    short_sides: Sequence[int],
    long_side: int,
    offset: float,
    size_multiple: int,
    flip: bool,
    colour_jitter: float,
    use_difficult: bool,
    seed: int,
    workers: int,
    start: int = 0,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Endless training batches from iteration ``start`` on.

    Args:
        records: the training set.
        batch_size: images per batch.
        short_sides: scales in pixels, one drawn per batch.
        long_side: cap of the longer side in pixels.
        offset: 1 for legacy boxes, 0 for continuous ones.
        size_multiple: padded height and width are multiples of this.
        flip: mirror half of the images.
        colour_jitter: largest relative change of brightness, contrast, saturation.
        use_difficult: keep VOC's difficult objects.
        seed: of the whole stream.
        workers: processes that prepare batches; 0 for the calling one.
        start: batches to skip.
        pin_memory: page-lock the tensors for faster copies to a GPU.

    Raises:
        ImageError: too many files in a row cannot be read.
    """
    stream = training_stream(
        records,
        batch_size=batch_size,
        short_sides=short_sides,
        flip=flip,
        colour_jitter=colour_jitter,
        seed=seed,
    )
    dataset = _TrainingSet(
        records,
        long_side=long_side,
        offset=offset,
        size_multiple=size_multiple,
        use_difficult=use_difficult,
    )
    draws = itertools.islice(stream, start, None)
    return iter(_loader(dataset, draws, workers, pin_memory))


class _TestSet(TorchDataset[Batch]):
    """Makes the batch of a list of record indices; runs in the workers."""

    def __init__(
        self,
        records: Sequence[Record],
        *,
        short_side: int,
        long_side: int,
        offset: float,
        size_multiple: int,
    ) -> None:
        self.records = records
        self.short_side = short_side
        self.long_side = long_side
        self.offset = offset
        self.size_multiple = size_multiple

    def __getitem__(self, indices: list[int]) -> Batch:
        samples = [
            make_sample(
                self.records[index],
                short_side=self.short_side,
                long_side=self.long_side,
                offset=self.offset,
                use_difficult=True,
            )
            for index in indices
        ]
        return collate(samples, size_multiple=self.size_multiple)


def test_batches(
    records: Sequence[Record],
    *,
    batch_size: int,
    short_side: int,
    long_side: int,
    offset: float,
    size_multiple: int,
    workers: int,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Every image once, those of like size together; match results by image id.

    Args:
        records: the test set.
        batch_size: images per batch; the last one of a size may hold fewer.
        short_side: target of the shorter side in pixels.
        long_side: cap of the longer side in pixels.
        offset: 1 for legacy boxes, 0 for continuous ones.
        size_multiple: padded height and width are multiples of this.
        workers: processes that prepare batches; 0 for the calling one.
        pin_memory: page-lock the tensors for faster copies to a GPU.

    Raises:
        ImageError: a file cannot be read.
    """

    def resized(index: int) -> tuple[int, int]:
        record = records[index]
        scale = resize_scale(record.height, record.width, short_side, long_side)
        return round(record.height * scale), round(record.width * scale)

    order = sorted(range(len(records)), key=resized)
    chunks = [
        order[start : start + batch_size] for start in range(0, len(order), batch_size)
    ]
    dataset = _TestSet(
        records,
        short_side=short_side,
        long_side=long_side,
        offset=offset,
        size_multiple=size_multiple,
    )
    return iter(_loader(dataset, iter(chunks), workers, pin_memory))


class _Order:
    """An iterator of batch contents, as DataLoader wants its samplers."""

    def __init__(self, items: Iterator[object]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[object]:
        return self.items


def _start_worker(_: int) -> None:
    """Run single-threaded beside the others, and leave Ctrl-C to the main process."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _loader(
    dataset: TorchDataset[Batch],
    order: Iterator[object],
    workers: int,
    pin_memory: bool,
) -> DataLoader[Batch]:
    # batch_size=None: each item of the sampler is one call of __getitem__, which
    # returns a whole batch.
    return DataLoader(
        dataset,
        sampler=_Order(order),
        batch_size=None,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        prefetch_factor=4 if workers else None,
        # Its own generator: taking the worker seeds from the default one would shift
        # the random numbers of a resumed run.
        generator=torch.Generator(),
    )
