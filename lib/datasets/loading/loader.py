"""Endless training batches and ordered test batches, made by worker processes."""

import itertools
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import Dataset as TorchDataset

from ..formats.proposals import GivenProposals, ScoredBoxes
from ..index.indexed_records import as_records
from ..records import Record
from .batches import Batch, Preparation, Sample, collate, make_sample
from .images import ImageError
from .mosaic import join_mosaic, mosaic_windows
from .resizing import resize_scale
from .training_stream import (
    Augmentation,
    Draw,
    Passes,
    shape_groups,
    split_passes,
    training_stream,
)
from .workers import load

_MOST_REPLACEMENTS = 20
"""Unreadable files in a row after which reading on is pointless."""


class _BatchSet(TorchDataset["Batch | ImageError"]):
    """Makes batches; runs in the workers.

    An error is handed over as a value: raised in a worker, it would reach the main
    process with a stack in place of its message.
    """

    def __getitem__(self, content: Any) -> Batch | ImageError:
        try:
            return self.batch(content)
        except ImageError as error:
            return error

    @abstractmethod
    def batch(self, content: Any) -> Batch:
        """The batch of what the order yields."""


@dataclass(frozen=True)
class _TrainingSet(_BatchSet):
    """Makes the batch of a list of draws."""

    records: Sequence[Record]
    preparation: Preparation
    proposals: GivenProposals | None

    def batch(self, draws: list[Draw]) -> Batch:
        problems: list[str] = []
        samples = [self._sample(draw, problems) for draw in draws]
        return collate(
            samples,
            size_multiple=self.preparation.size_multiple,
            problems=tuple(problems),
            proposal_slots=self.proposals.most if self.proposals else 0,
        )

    def _sample(self, draw: Draw, problems: list[str]) -> Sample:
        """The drawn image, or the mosaic that begins with it."""
        if not draw.partners:
            return self._read(draw, problems)
        record = self.records[draw.image]
        height, width = record.height, record.width
        scale = resize_scale(height, width, draw.short_side, self.preparation.long_side)
        size = round(scale * height), round(scale * width)
        return join_mosaic(
            [
                self._read(part, problems, window=window)
                for part, window in zip(
                    (draw, *draw.partners),
                    mosaic_windows(size, draw.centre),
                    strict=True,
                )
            ]
        )

    def _read(
        self, draw: Draw, problems: list[str], window: tuple[int, int] | None = None
    ) -> Sample:
        """The drawn image, or the next readable one in its place."""
        for step in range(_MOST_REPLACEMENTS):
            image = (draw.image + step) % len(self.records)
            record = self.records[image]
            try:
                return make_sample(
                    record,
                    draw,
                    self.preparation,
                    window=window,
                    proposals=_of(self.proposals, image),
                )
            except ImageError as error:
                problems.append(str(error))
        raise ImageError(
            f"{_MOST_REPLACEMENTS} images in a row cannot be used, the last because: "
            f"{problems[-1]}"
        )


def training_batches(
    records: Sequence[Record],
    augmentation: Augmentation,
    preparation: Preparation,
    *,
    passes: Passes,
    seed: int,
    workers: int,
    start: int = 0,
    pin_memory: bool = False,
    max_unreadable: float = 1.0,
    proposals: GivenProposals | None = None,
) -> Iterator[Batch]:
    """Endless training batches from iteration ``start`` on.

    Each batch may come in passes, of which this process takes some: the batches are the
    same whoever takes what.

    Args:
        records: the training set.
        augmentation: random changes of the images.
        preparation: how images become network input.
        passes: how each batch is cut, and which passes are wanted.
        seed: of the whole stream.
        workers: processes that prepare batches; 0 for the calling one.
        start: batches to skip.
        pin_memory: page-lock the tensors for faster copies to a GPU.
        max_unreadable: share of the images that may be unreadable; those are replaced.
        proposals: of these records, to come with the batches; None for none.

    Raises:
        ImageError: too many files cannot be read or are not of the size annotated, in
            all or in a row.
        ValueError: there are no records.
    """
    if not records:
        raise ValueError("the training set has no images; check its list of images")
    stream = training_stream(records, augmentation, batch_size=passes.images, seed=seed)
    dataset = _TrainingSet(records, preparation, proposals)
    draws = split_passes(itertools.islice(stream, start, None), passes)
    batches = _loaded(dataset, draws, workers, pin_memory)
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


@dataclass(frozen=True)
class _TestSet(_BatchSet):
    """Makes the batch of a list of record indices."""

    records: Sequence[Record]
    short_side: int
    preparation: Preparation
    proposals: GivenProposals | None

    def batch(self, indices: list[int]) -> Batch:
        samples = [
            make_sample(
                self.records[index],
                Draw(index, self.short_side),
                self.preparation,
                proposals=_of(self.proposals, index),
            )
            for index in indices
        ]
        return collate(
            samples,
            size_multiple=self.preparation.size_multiple,
            proposal_slots=self.proposals.most if self.proposals else 0,
        )


def evaluation_batches(
    records: Sequence[Record],
    preparation: Preparation,
    *,
    batch_size: int,
    short_side: int,
    workers: int,
    pin_memory: bool = False,
    share: tuple[int, int] = (0, 1),
    proposals: GivenProposals | None = None,
) -> Iterator[Batch]:
    """Every image once, those of like shape together; match results by image id.

    As in training, a batch holds images of one bucket of aspect ratios.

    Args:
        records: the test set.
        preparation: how images become network input.
        batch_size: images per batch; the last one of a bucket may hold fewer.
        short_side: target of the shorter side in pixels.
        workers: processes that prepare batches; 0 for the calling one.
        pin_memory: page-lock the tensors for faster copies to a GPU.
        share: (r, n) for batches r, r + n, r + 2n, ... only. The n shares together have
            the very batches that one process would make.
        proposals: of these records, to come with the batches; None for none.

    Raises:
        ImageError: a file cannot be read, or is not of the size annotated.
    """
    sizes = as_records(records).sizes
    order = np.argsort(sizes[:, 0] / sizes[:, 1], kind="stable")
    groups = shape_groups(sizes[order])
    chunks = [
        bucket[start : start + batch_size].tolist()
        for bucket in np.split(order, np.flatnonzero(np.diff(groups)) + 1)
        for start in range(0, len(bucket), batch_size)
    ]
    dataset = _TestSet(records, short_side, preparation, proposals)
    mine = chunks[share[0] :: share[1]]
    return _loaded(dataset, iter(mine), workers, pin_memory)


def _of(proposals: GivenProposals | None, image: int) -> ScoredBoxes | None:
    return None if proposals is None else proposals.of(image)


def _loaded(
    dataset: _BatchSet, items: Iterator[object], workers: int, pin_memory: bool
) -> Iterator[Batch]:
    for result in load(dataset, items, workers=workers, pin_memory=pin_memory):
        if isinstance(result, ImageError):
            raise result
        yield result
