"""The images of a test in order: batches for all processes, and their results."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from ..config.settings import Config
from ..datasets.formats.proposals import GivenProposals
from ..datasets.index.indexed_records import as_records
from ..datasets.loading.batches import Batch
from ..datasets.loading.loader import Inputs, Loading, evaluation_batches
from ..datasets.loading.samples import Preparation
from ..datasets.loading.tiling import Tiling
from ..datasets.records import Dataset, Record
from ..datasets.wanted_instances import Instances
from ..utils.distributed import collectives
from ..utils.monitoring.progress import Progress
from ..utils.shared_cores import adapt_threads

logger = logging.getLogger(__name__)


class _Entry(Protocol):
    """A result of one image."""

    @property
    def image_id(self) -> str: ...


_E = TypeVar("_E", bound=_Entry)


def ordered_batches(
    records: Sequence[Record],
    config: Config,
    *,
    loading: Loading | None = None,
    share: tuple[int, int] = (0, 1),
    size: tuple[int, int] | None = None,
    proposals: GivenProposals | None = None,
    instances: Instances = Instances(),  # noqa: B008  (immutable)
    tiling: Tiling | None = None,
) -> Iterator[Batch]:
    """Yield every image once, prepared for a test.

    Args:
        records: the images.
        config: configuration of the run.
        loading: processes that prepare batches; if None, ``data.workers`` of them.
        share: see ``evaluation_batches``.
        size: short side and limit of the long side in pixels; if None, those of tests.
        proposals: given proposals; if None, the network computes its own.
        instances: which masks and keypoints the ground truth has.
        tiling: see ``evaluation_batches``.

    Raises:
        ImageError: a file cannot be read.
    """
    data = config.data
    short_side, long_side = size or (data.test_short_side, data.test_long_side)
    preparation = Preparation(
        long_side=long_side,
        offset=config.boxes.offset,
        size_multiple=data.size_multiple,
        use_difficult=data.use_difficult,
        min_visible=data.min_visible,
        channels=config.net.raw_channels,
        reduced=data.reduced_decoding,
        instances=instances,
    )
    return evaluation_batches(
        Inputs(records, preparation, proposals),
        batch_size=config.test.batch_size,
        short_side=short_side,
        share=share,
        loading=loading or Loading(data.workers),
        tiling=tiling,
    )


def gather_results(
    dataset: Dataset, results: Iterable[Sequence[_E]]
) -> tuple[list[_E], float] | None:
    """Run through a test's batches, and collect the results of all processes.

    Args:
        dataset: the test set.
        results: results of each batch of this process, one per image.

    Returns:
        One result per image of ``dataset``, in its order, and the seconds that the
        batches took; None on processes other than the main one.
    """
    place = collectives.process_rank()
    started = time.perf_counter()
    count, found = len(dataset.records), list[_E]()
    with Progress(count, log_every=max(count // 5, 1), early=True) as progress:
        for batch in results:
            adapt_threads()
            found += batch
            if place.rank == 0:  # the shares of the other processes are as large
                done = min(len(found) * place.processes, count)
                progress.update(done, images=len(batch) * place.processes)
    parts = collectives.gather(found)
    if place.rank != 0:
        return None
    seconds = time.perf_counter() - started
    logger.info("tested %d images of %s in %.1f s", count, dataset.name, seconds)
    order = {name: i for i, name in enumerate(as_records(dataset.records).image_ids)}
    entries = [entry for part in parts for entry in part]
    entries.sort(key=lambda entry: order[entry.image_id])
    return entries, seconds
