"""Batches of all images of a test, in order, prepared by the configuration."""

from collections.abc import Iterator, Sequence

from ..config.settings import Config
from ..datasets.formats.proposals import GivenProposals
from ..datasets.loading.batches import Batch, Preparation
from ..datasets.loading.loader import Inputs, Loading, evaluation_batches
from ..datasets.records import Record


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
    """Yield every image once, prepared for a test.

    Args:
        records: the images.
        config: configuration of the run.
        pin: page-lock the tensors for faster copies to a GPU.
        share: see ``evaluation_batches``.
        use_difficult: keep VOC's difficult objects in the ground truth.
        proposals: given proposals; if None, the network computes its own.
        size: short side and limit of the long side in pixels; if None, those of tests.
        workers: loader processes; if None, ``data.workers``.

    Raises:
        ImageError: a file cannot be read.
    """
    data = config.data
    short_side, long_side = size or (data.test_short_side, data.test_long_side)
    preparation = Preparation(
        long_side=long_side,
        offset=config.boxes.offset,
        size_multiple=data.size_multiple,
        use_difficult=use_difficult,
    )
    return evaluation_batches(
        Inputs(records, preparation, proposals),
        batch_size=config.test.batch_size,
        short_side=short_side,
        share=share,
        loading=Loading(data.workers if workers is None else workers, pin),
    )
