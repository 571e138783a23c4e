"""Settings that follow the data: length, image size, anchors, batch (``train.auto``).

Recipes for data of one's own cannot know whether it has twenty images or twenty
thousand. What is chosen here becomes part of the run's settings, so that a resumed run
and a test see fixed numbers.
"""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch

from ..config.settings import Config
from ..datasets.checks.coverage import POOR, Recipe, cover, dataset_objects
from ..datasets.index.indexed_records import as_records
from ..datasets.records import Dataset
from ..model.build import build_detector
from ..utils.shape_only import shape_only
from .costs import estimate_memory, largest_size
from .schedule import epochs_text, images_per_update

_LENGTHS = (
    *("warmup_iterations", "validate_every", "snapshot_every"),
    *("picture_every", "histogram_every"),
)
"""Settings in updates that keep their share of the run."""
_SCALED = (
    *("iterations", "lr_steps", "lr", "ema"),
    *("reference_batch", "images_per_update"),
)
"""Settings that `settle_schedule` has fitted to the batch of a run."""
_PASSES = ("batch_size", "accumulate")
_SIZES = ("short_sides", "long_side", "test_short_side", "test_long_side")
_KEYS = (
    *(f"train.{name}" for name in (*_LENGTHS, *_SCALED, *_PASSES)),
    *(f"data.{name}" for name in _SIZES),
    "anchors.scales",
)
_SMALL = 16.0
"""Pixels of the network input that three quarters of the objects should exceed."""
_MOST = 2.0
"""Largest factor on the image size, and largest enlargement of the images."""
_ROOM = 0.85
"""Share of a GPU's memory that a step may need by the estimate."""
_HELPED = 0.1
"""Share of objects that must get a good anchor by other scales for their choice."""


def fit_to_data(
    config: Config,
    dataset: Dataset,
    *,
    fixed: Collection[str],
    recorded: Config | None,
    fits: Callable[[Config], bool],
) -> tuple[Config, list[str]]:
    """Choose settings for a training set, if ``train.auto`` is set.

    Args:
        fixed: keys that the user has set, ``section.key``; they stay.
        recorded: configuration of the run to resume, which is kept.
        fits: returns whether a step of a configuration fits into memory.

    Returns:
        The configuration with fixed numbers and without ``train.auto``, and a
        description in lines for the log.
    """
    if not config.train.auto:
        return config, []
    config = _changed(config, {"train.auto": False})
    if recorded is not None:
        values = recorded.model_dump()
        kept = [key.partition(".")[::2] for key in _KEYS if key not in fixed]
        return _changed(
            config, {f"{s}.{name}": values[s][name] for s, name in kept}
        ), []
    sizes, told_size = _image_size(config, dataset, fixed)
    config = _changed(config, sizes)
    scales, told_anchors = _anchors(config, dataset, fixed)
    config = _changed(config, scales)
    config = _changed(config, passes := _passes(config, fixed, fits))
    length, told_length = _length(config, dataset, fixed)
    config = _changed(config, length)
    lines = [f"fitted to the data (train.auto): {told_length}"]
    if passes:
        told_anchors += [f"passes of {config.train.batch_size} images, to fit memory"]
    if told := [*told_size, *told_anchors]:
        lines.append(f"  {'; '.join(told)}")
    return config, lines


def _changed(config: Config, values: dict[str, Any]) -> Config:
    content = config.model_dump()
    for key, value in values.items():
        section, _, name = key.partition(".")
        content[section][name] = value
    return Config.model_validate(content) if values else config


def _length(
    config: Config, dataset: Dataset, fixed: Collection[str]
) -> tuple[dict[str, Any], str]:
    """Choose the number of updates: sixty epochs of few images, twelve of many."""
    train, count = config.train, len(dataset.records)
    images = train.reference_batch or images_per_update(train, 1)
    total = train.iterations
    changes: dict[str, Any] = {}
    if not {"train.iterations", "train.epochs"} & set(fixed) and train.epochs is None:
        seen = max(12 * count, min(12_000, max(2_000, 60 * count)))
        total = changes["train.iterations"] = _tens(seen / images)
        share = total / train.iterations
        for name in _LENGTHS:
            planned = getattr(train, name)
            if planned and f"train.{name}" not in fixed:
                changes[f"train.{name}"] = _tens(planned * share)
        if "train.lr_steps" not in fixed:
            steps = dict.fromkeys(max(1, round(s * share)) for s in train.lr_steps)
            changes["train.lr_steps"] = tuple(steps)
    side = " ".join(map(str, config.data.short_sides))
    epochs = epochs_text(total * images / count, decimals=0)
    return changes, (
        f"{total} updates of {images} images, {epochs} epochs of {count}; short side "
        f"{side}"
    )


def _tens(value: float) -> int:
    return max(10, round(value / 10) * 10)


def _image_size(
    config: Config, dataset: Dataset, fixed: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """Choose larger images if many objects are small."""
    keys = [f"data.{name}" for name in _SIZES]
    if set(keys) & set(fixed):
        return {}, []
    objects = dataset_objects(dataset, anchor_recipe(config, ""))
    if not len(objects.boxes):
        return {}, []
    small = float(np.quantile(objects.sides, 0.25))
    stored = float(np.median(as_records(dataset.records).sizes.min(axis=1)))
    enlarged = float(np.median(objects.sizes.min(axis=1))) / stored
    factor = min(_MOST, _SMALL / max(small, 1.0), max(1.0, _MOST / enlarged))
    if factor < 1.1:
        return {}, []

    def larger(side: int) -> int:
        return round(side * factor / 32) * 32

    data = config.data
    values = (
        tuple(map(larger, data.short_sides)),
        *map(larger, (data.long_side, data.test_short_side, data.test_long_side)),
    )
    before = " ".join(map(str, data.short_sides))
    told = f"a quarter of the objects are below {small:.0f} px at short side {before}"
    return dict(zip(keys, values, strict=True)), [told]


def _anchors(
    config: Config, dataset: Dataset, fixed: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """Choose the scales that the check of a data set recommends, if they are better."""
    if {"anchors.scales", "anchors.sizes"} & set(fixed) or config.anchors.sizes:
        return {}, []
    recipe = anchor_recipe(config, "")
    found = cover(dataset_objects(dataset, recipe), recipe)
    total = len(found.overlaps)
    helped = found.poor - found.suggested_poor
    if not found.suggested or helped <= _HELPED * total:
        return {}, []
    scales = " ".join(f"{scale:g}" for scale in found.suggested)
    told = (
        f"anchors.scales {scales}, which leave {found.suggested_poor} in place of "
        f"{found.poor} of {total} objects below an IoU of {POOR}"
    )
    return {"anchors.scales": found.suggested}, [told]


def _passes(
    config: Config,
    fixed: Collection[str],
    fits: Callable[[Config], bool],
) -> dict[str, int]:
    """Split an update into more passes until one fits into memory."""
    if {f"train.{name}" for name in _PASSES} & set(fixed):
        return {}
    changes: dict[str, int] = {}
    size, passes = config.train.batch_size, config.train.accumulate
    while size % 2 == 0 and not fits(_changed(config, changes)):
        size, passes = size // 2, passes * 2
        changes = {"train.batch_size": size, "train.accumulate": passes}
    return changes


def fits_memory(
    config: Config, *, classes: int, device: torch.device, dtype: torch.dtype
) -> bool:
    """Return whether a training step fits into a GPU's free memory, by an estimate."""
    if device.type != "cuda":
        return True
    model = build_detector(config, classes)
    size = largest_size(config.data)
    needed = estimate_memory(model, config.train, size, dtype=dtype)
    free, _ = torch.cuda.mem_get_info(device)
    return needed.total(config.train.batch_size) <= _ROOM * free


def anchor_recipe(config: Config, name: str) -> Recipe:
    """Return the settings that the coverage of objects by anchors depends on."""
    sides = sorted(config.data.short_sides)
    with shape_only():
        strides = build_detector(config, 2).strides
    return Recipe(
        name=name,
        short_side=sides[len(sides) // 2],
        long_side=config.data.long_side,
        strides=strides,
        ratios=config.anchors.ratios,
        scales=tuple(config.anchors.level_scales(strides)),
        offset=config.boxes.offset,
        border=config.rpn.border,
        centre=config.anchors.centre,
        rounding=config.anchors.rounding,
        use_ignored=config.data.use_difficult,
        crop=config.data.crop,
    )
