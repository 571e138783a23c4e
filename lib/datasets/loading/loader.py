"""Endless training batches and ordered test batches, made by worker processes."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset as TorchDataset

from ..formats.proposals import GivenProposals
from ..index.indexed_records import as_records
from ..records import Record
from .batches import Batch, collate
from .copy_paste import paste_objects
from .images import Decoded, ImageError
from .mosaic import join_mosaic, mosaic_windows
from .samples import Preparation, Sample, make_sample
from .tiling import Tiling
from .training_stream import (
    Augmentation,
    Draw,
    Passes,
    shape_groups,
    split_passes,
    training_stream,
)
from .transforms import TransformError
from .turns import Turn
from .workers import load

_MOST_REPLACEMENTS = 20
"""Unreadable files in a row after which reading on is pointless."""


class Inputs(NamedTuple):
    """The images of a data set, and how they become network input."""

    records: Sequence[Record]  # the images and their objects
    preparation: Preparation  # the same for all images
    # given proposals of these records, to come with the batches; None if the network
    # computes its own
    proposals: GivenProposals | None = None

    def sample(
        self,
        draw: Draw,
        window: tuple[int, int] | None = None,
        stored: Decoded | None = None,
    ) -> Sample:
        """Prepare a drawn image, see `make_sample`."""
        return make_sample(
            self.records[draw.image],
            draw,
            self.preparation,
            window=window,
            stored=stored,
            proposals=self.proposals.of(draw.image) if self.proposals else None,
        )

    def collate(self, samples: Sequence[Sample], problems: Sequence[str] = ()) -> Batch:
        """Stack samples into a batch, see `collate`."""
        instances = self.preparation.instances
        if instances.masks == "pasted":
            samples = [sample._replace(masks=None) for sample in samples]
        return collate(
            samples,
            size_multiple=self.preparation.size_multiple,
            problems=tuple(problems),
            proposal_slots=self.proposals.most if self.proposals else 0,
            bitmaps=instances.masks == "bitmaps",
        )


class Loading(NamedTuple):
    """The processes that prepare batches."""

    workers: int = 0  # number of processes; 0 prepares batches in the calling process
    pin_memory: bool = False  # page-lock the tensors for faster copies to a GPU


IN_PROCESS = Loading()


@dataclass
class _BatchSet(TorchDataset["Batch | ImageError | TransformError"]):
    """Makes the batch of a list of draws; runs in the workers.

    An error is returned as a value: raised in a worker, it would reach the main process
    with a traceback in its message.
    """

    inputs: Inputs

    def __getitem__(self, draws: list[Draw]) -> Batch | ImageError | TransformError:
        try:
            return self.batch(draws)
        except (ImageError, TransformError) as error:
            return error

    def batch(self, draws: list[Draw]) -> Batch:
        return self.inputs.collate([self.inputs.sample(draw) for draw in draws])


@dataclass
class _TileSet(_BatchSet):
    """Reads each image once, though its tiles are in several batches."""

    last: tuple[int, Decoded] | None = None

    def batch(self, draws: list[Draw]) -> Batch:
        number = draws[0].image
        if self.last is None or self.last[0] != number:
            self.last = None  # free its memory before the next one is read
            stored = self.inputs.preparation.read(self.inputs.records[number])
            self.last = number, stored
        stored = self.last[1]
        return self.inputs.collate(
            [self.inputs.sample(draw, stored=stored) for draw in draws]
        )


class _TrainingSet(_BatchSet):
    """Joins mosaics, and replaces images that cannot be used."""

    def batch(self, draws: list[Draw]) -> Batch:
        problems: list[str] = []
        samples = [self._sample(draw, problems) for draw in draws]
        return self.inputs.collate(samples, problems)

    def _sample(self, draw: Draw, problems: list[str]) -> Sample:
        """Prepare the drawn image, or its mosaic, with what is pasted into it."""
        sample = self._joined(draw, problems)
        if draw.pasted is None:
            return sample
        other = self._read(draw.pasted, None, problems)
        offset = self.inputs.preparation.offset
        return paste_objects(sample, other, offset=offset, seed=draw.pasted.seed)

    def _joined(self, draw: Draw, problems: list[str]) -> Sample:
        """Prepare the drawn image, or the mosaic that it begins."""
        if not draw.partners:
            return self._read(draw, None, problems)
        record, preparation = self.inputs.records[draw.image], self.inputs.preparation
        turn = Turn(record.width, record.height, quarters=draw.quarters)
        size = preparation.usual(*turn.size, draw.short_side).window
        parts, windows = (draw, *draw.partners), mosaic_windows(size, draw.centre)
        return join_mosaic(
            [self._read(*pair, problems) for pair in zip(parts, windows, strict=True)]
        )

    def _read(
        self, draw: Draw, window: tuple[int, int] | None, problems: list[str]
    ) -> Sample:
        """Prepare the drawn image, or the next readable one in its place."""
        images = len(self.inputs.records)
        for step in range(_MOST_REPLACEMENTS):
            other = draw._replace(image=(draw.image + step) % images)
            try:
                return self.inputs.sample(other, window)
            except ImageError as error:
                problems.append(str(error))
        raise ImageError(
            f"{_MOST_REPLACEMENTS} images in a row cannot be used, the last because: "
            f"{problems[-1]}"
        )


def training_batches(
    inputs: Inputs,
    augmentation: Augmentation,
    *,
    passes: Passes,
    seed: int,
    start: int = 0,
    loading: Loading = IN_PROCESS,
    max_unreadable: float = 1.0,
    factors: npt.NDArray[np.float64] | None = None,
) -> Iterator[Batch]:
    """Yield training batches without end, from iteration ``start`` on.

    A batch may be cut into passes, of which this process makes some. Batches do not
    depend on the cut, nor on the number of workers.

    Args:
        passes: how each batch is cut, and which passes this process makes.
        start: number of batches to skip.
        max_unreadable: largest share of the images that may be unreadable; unreadable
            images are replaced by others.
        factors: how many times an epoch has each image; if None, once.

    Raises:
        ImageError: too many files cannot be read or do not have the annotated size,
            in total or in a row.
        TransformError: a transform failed.
        ValueError: there are no records.
    """
    records = inputs.records
    if not records:
        raise ValueError("the training set has no images; check its list of images")
    stream = training_stream(
        records, augmentation, batch_size=passes.images, seed=seed, factors=factors
    )
    draws = split_passes(itertools.islice(stream, start, None), passes)
    largest = inputs.preparation.most_bytes(max(augmentation.short_sides))
    images = min(passes.size, passes.images)
    batches = _load(_TrainingSet(inputs), draws, loading, images * largest)
    return _stop_at_many_problems(batches, len(records), max_unreadable)


def _stop_at_many_problems(
    batches: Iterator[Batch], images: int, share: float
) -> Iterator[Batch]:
    """Pass batches on until more than a share of the images was unreadable."""
    unreadable: set[str] = set()  # one message per file, however often it is drawn
    for batch in batches:
        unreadable.update(batch.problems)
        if len(unreadable) > share * images:
            raise ImageError(
                f"{len(unreadable)} of {images} training images cannot be used, more "
                f"than data.max_unreadable = {share:g} allows, the last because: "
                f"{batch.problems[-1]}"
            )
        yield batch


def evaluation_batches(
    inputs: Inputs,
    *,
    batch_size: int,
    short_side: int,
    share: tuple[int, int] = (0, 1),
    loading: Loading = IN_PROCESS,
    tiling: Tiling | None = None,
) -> Iterator[Batch]:
    """Yield every image once, images of similar shape together.

    The order differs from that of the records: match results by image id. As in
    training, a batch holds images of one bucket of aspect ratios.

    Args:
        batch_size: images per batch; the last batch of a bucket may hold fewer.
        short_side: target of the shorter side in pixels.
        share: (r, n) for batches r, r + n, r + 2n, ... only. The n shares together are
            the batches that a single process would make.
        tiling: cut images into tiles: a batch holds tiles of one image, or the whole
            reduced image, and the batches of an image come one after another. The
            shares then are shares of the images.

    Raises:
        ImageError: a file cannot be read, or does not have the annotated size.
    """
    sizes = as_records(inputs.records).sizes
    largest = batch_size * inputs.preparation.most_bytes(short_side)
    order = np.argsort(sizes[:, 0] / sizes[:, 1], kind="stable")
    if tiling is not None:
        tiles = (
            [Draw(row, short_side, tile=tile) for tile in group]
            for row in order[share[0] :: share[1]].tolist()
            for width, height in [sizes[row].tolist()]
            for group in tiling.groups(height, width, batch_size)
        )
        return _load(_TileSet(inputs), tiles, loading, largest)
    groups = shape_groups(sizes[order])
    batches = [
        [Draw(int(row), short_side) for row in bucket[start : start + batch_size]]
        for bucket in np.split(order, np.flatnonzero(np.diff(groups)) + 1)
        for start in range(0, len(bucket), batch_size)
    ]
    mine = iter(batches[share[0] :: share[1]])
    return _load(_BatchSet(inputs), mine, loading, largest)


def _load(
    dataset: _BatchSet, draws: Iterator[list[Draw]], loading: Loading, largest: int
) -> Iterator[Batch]:
    """Load batches of up to so many bytes in order; raise the workers' errors."""
    workers, pin = loading
    results = load(dataset, draws, workers=workers, pin_memory=pin, item_bytes=largest)
    for result in results:
        if not isinstance(result, Batch):
            raise result
        yield result
