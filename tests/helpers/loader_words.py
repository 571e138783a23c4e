"""The loader's functions in flat words, so that a test names only what it varies."""

from faster_rcnn.datasets.loading.batches import Preparation, make_sample
from faster_rcnn.datasets.loading.loader import evaluation_batches, training_batches
from faster_rcnn.datasets.loading.training_stream import (
    Augmentation,
    Draw,
    Passes,
    training_stream,
)


def split(options, kind, **renamed):
    """Make a named tuple of the options that are its fields; give it and the rest."""
    own = {name: options[name] for name in kind._fields if name in options}
    rest = {name: value for name, value in options.items() if name not in own}
    return kind(**own, **renamed), rest


def sample_of(record, **options):
    draw, options = split(options, Draw, image=0)
    preparation, options = split(options, Preparation)
    return make_sample(record, draw, preparation, **options)


def stream_of(records, **options):
    augmentation, options = split(options, Augmentation)
    return training_stream(records, augmentation, **options)


def training_batches_of(
    records, *, batch_size, pass_size=None, passes=range(1), **options
):
    augmentation, options = split(options, Augmentation)
    preparation, options = split(options, Preparation)
    size = pass_size or batch_size
    cut = Passes(batch_size, size, -(-batch_size // size), passes)
    return training_batches(records, augmentation, preparation, passes=cut, **options)


def evaluation_batches_of(records, **options):
    preparation, options = split({"use_difficult": True} | options, Preparation)
    return evaluation_batches(records, preparation, **options)
