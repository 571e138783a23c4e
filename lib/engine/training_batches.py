"""The training batches of a configuration."""

from collections.abc import Iterator

from ..config.settings import Config
from ..datasets.class_balance import repeat_factors
from ..datasets.given_proposals import given_proposals
from ..datasets.loading.batches import Batch
from ..datasets.loading.loader import Inputs, Loading, training_batches
from ..datasets.loading.samples import Preparation
from ..datasets.loading.training_stream import Augmentation, Passes
from ..datasets.loading.transforms import Transforms
from ..datasets.records import Dataset
from ..datasets.wanted_instances import training_instances
from .schedule import share_passes


def stream_batches(
    dataset: Dataset,
    config: Config,
    *,
    start: int = 0,
    pin: bool = False,
    passes: Passes | None = None,
) -> Iterator[Batch]:
    """Yield the training batches of a configuration, or passes of them, without end.

    Args:
        start: number of batches to skip.
        pin: page-lock the tensors for faster copies to a GPU.
        passes: the passes of each update that are wanted; if None, all passes.

    Raises:
        ImageError: too many files cannot be read.
        TransformError: a transform failed.
        ValueError: the set has no images, or lacks the masks or keypoints to train on,
            or Fast R-CNN alone the proposals of an image; ``data.set_shares`` does not
            suit it; or a transform cannot be made.
    """
    data = config.data
    return training_batches(
        Inputs(
            dataset.records,
            training_preparation(dataset, config),
            given_proposals(dataset, config, "train"),
        ),
        Augmentation(
            short_sides=data.short_sides,
            flip=data.flip,
            colour_jitter=data.colour_jitter,
            hue_jitter=data.hue_jitter,
            scale_jitter=data.scale_jitter,
            mosaic=data.mosaic,
            crop_around=None if data.crop is None else data.crop_around,
            vertical_flip=data.vertical_flip,
            rotate90=data.rotate90,
            copy_paste=data.copy_paste,
            seeded=bool(data.transforms),
        ),
        passes=passes or share_passes(config.train),
        seed=config.train.seed,
        start=start,
        loading=Loading(data.workers, pin),
        max_unreadable=data.max_unreadable,
        factors=repeat_factors(dataset, config),
    )


def training_preparation(dataset: Dataset, config: Config) -> Preparation:
    """Return how training prepares images.

    Raises:
        ValueError: the set lacks what training needs, or a transform cannot be made.
    """
    data, transforms = config.data, None
    if data.transforms:
        transforms = Transforms(data.transforms, data.min_visible)
    return Preparation(
        long_side=data.long_side,
        offset=config.boxes.offset,
        size_multiple=data.size_multiple,
        use_difficult=data.use_difficult,
        min_visible=data.min_visible,
        crop=data.crop,
        instances=training_instances(dataset, config),
        transforms=transforms,
        channels=config.net.raw_channels,
        reduced=data.reduced_decoding,
    )
