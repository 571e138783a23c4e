"""The batches that a configuration asks for, in training and in tests."""

from collections.abc import Iterator, Sequence

from ..datasets.formats.proposals import GivenProposals
from ..datasets.loading.batches import Batch
from ..datasets.loading.loader import test_batches, training_batches
from ..datasets.records import Dataset, Record
from .config import Config
from .given_proposals import given_proposals
from .schedule import Passes, share_passes


def stream_batches(
    dataset: Dataset,
    config: Config,
    *,
    start: int = 0,
    pin: bool = False,
    passes: Passes | None = None,
) -> Iterator[Batch]:
    """The training batches of a configuration, or the passes over them, without end.

    Args:
        dataset: the training set.
        config: of the run.
        start: batches to skip.
        pin: page-lock the tensors for faster copies to a GPU.
        passes: of each update, with those that are wanted; None for all passes.

    Raises:
        ImageError: too many files cannot be read.
        ValueError: the set has no images, or Fast R-CNN alone has no proposals of one.
    """
    data = config.data
    passes = passes or share_passes(config.train)
    return training_batches(
        dataset.records,
        batch_size=passes.images,
        pass_size=passes.size,
        passes=passes.mine,
        short_sides=data.short_sides,
        long_side=data.long_side,
        offset=config.boxes.offset,
        size_multiple=data.size_multiple,
        flip=data.flip,
        colour_jitter=data.colour_jitter,
        use_difficult=data.use_difficult,
        seed=config.train.seed,
        workers=data.workers,
        start=start,
        pin_memory=pin,
        hue_jitter=data.hue_jitter,
        scale_jitter=data.scale_jitter,
        mosaic=data.mosaic,
        min_visible=data.min_visible,
        max_unreadable=data.max_unreadable,
        proposals=given_proposals(dataset, config, "train"),
    )


def ordered_batches(
    records: Sequence[Record],
    config: Config,
    *,
    pin: bool = False,
    share: tuple[int, int] = (0, 1),
    size: tuple[int, int] | None = None,
    workers: int | None = None,
    use_difficult: bool = True,
    proposals: GivenProposals | None = None,
) -> Iterator[Batch]:
    """Every image once, as a configuration has images tested.

    Args:
        records: the images.
        config: of the run.
        pin: page-lock the tensors for faster copies to a GPU.
        share, use_difficult, proposals: as of ``test_batches``.
        size: short side and cap of the long side in pixels; None for those of tests.
        workers: loader processes; None for ``data.workers``.

    Raises:
        ImageError: a file cannot be read.
    """
    data = config.data
    short_side, long_side = size or (data.test_short_side, data.test_long_side)
    return test_batches(
        records,
        batch_size=config.test.batch_size,
        short_side=short_side,
        long_side=long_side,
        offset=config.boxes.offset,
        size_multiple=data.size_multiple,
        workers=data.workers if workers is None else workers,
        pin_memory=pin,
        share=share,
        use_difficult=use_difficult,
        proposals=proposals,
    )
