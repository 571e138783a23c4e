"""The batches that a configuration asks for, in training and in tests."""

from collections.abc import Iterator

from ..config.settings import Config
from ..datasets.given_proposals import given_proposals
from ..datasets.loading.batches import Batch, Preparation
from ..datasets.loading.loader import training_batches
from ..datasets.loading.training_stream import Augmentation, Passes
from ..datasets.records import Dataset
from .schedule import share_passes


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
    return training_batches(
        dataset.records,
        Augmentation(
            short_sides=data.short_sides,
            flip=data.flip,
            colour_jitter=data.colour_jitter,
            hue_jitter=data.hue_jitter,
            scale_jitter=data.scale_jitter,
            mosaic=data.mosaic,
        ),
        Preparation(
            long_side=data.long_side,
            offset=config.boxes.offset,
            size_multiple=data.size_multiple,
            use_difficult=data.use_difficult,
            min_visible=data.min_visible,
        ),
        passes=passes or share_passes(config.train),
        seed=config.train.seed,
        workers=data.workers,
        start=start,
        pin_memory=pin,
        max_unreadable=data.max_unreadable,
        proposals=given_proposals(dataset, config, "train"),
    )
