"""The loader's functions in flat words, so that a test names only what it varies."""

from faster_rcnn.datasets.loading.loader import (
    Inputs,
    Loading,
    evaluation_batches,
    training_batches,
)
from faster_rcnn.datasets.loading.samples import Preparation, make_sample
from faster_rcnn.datasets.loading.training_stream import (
    Augmentation,
    Draw,
    Passes,
    training_stream,
)

SMALL = {"long_side": 100, "offset": 0}
BATCHES = SMALL | {"size_multiple": 8}
"""Defaults of the options that a test does not name."""


def split(options, kind, **renamed):
    """Make a named tuple of the options that are its fields; give it and the rest."""
    own = {name: options[name] for name in kind._fields if name in options}
    rest = {name: value for name, value in options.items() if name not in own}
    return kind(**own, **renamed), rest


def sample_of(record, **options):
    draw, options = split(SMALL | options, Draw, image=0)
    preparation, options = split(options, Preparation)
    return make_sample(record, draw, preparation, **options)


def stream_of(records, **options):
    augmentation, options = split(options, Augmentation)
    return training_stream(records, augmentation, **options)


def loader_inputs(records, options):
    preparation, options = split(options, Preparation)
    loading, options = split(options, Loading)
    proposals = options.pop("proposals", None)
    return Inputs(records, preparation, proposals), loading, options


def training_batches_of(
    records, *, batch_size=2, pass_size=None, passes=range(1), **options
):
    options = BATCHES | {"short_sides": [24], "seed": 3} | options
    augmentation, options = split(options, Augmentation)
    inputs, loading, options = loader_inputs(records, options)
    size = pass_size or batch_size
    cut = Passes(batch_size, size, -(-batch_size // size), passes)
    return training_batches(
        inputs, augmentation, passes=cut, loading=loading, **options
    )


def evaluation_batches_of(records, **options):
    options = BATCHES | {"use_difficult": True} | options
    inputs, loading, options = loader_inputs(records, options)
    return evaluation_batches(inputs, loading=loading, **options)
