"""Upper limits of settings: above any useful value, and below what exhausts the memory.

Recipe files, and checkpoints with settings inside, may come from anywhere. These limits
do not define sensible values; they prevent a single number from requesting a thousand
times the memory of any machine.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from ..utils.untrusted.safe_yaml import brief

_WORD = 4096  # characters of a string
_ENTRIES = 20_000  # of a list, nested lists included
_NUMBER = 1 << 53  # largest integer range that a float64 represents exactly

_CHANNELS = 1 << 16  # of any layer
_LARGEST = {
    "anchors.scales": 100_000,
    "anchors.ratios": 1000,
    "anchors.sizes": 100_000,
    **dict.fromkeys(("rpn.convs", "head.convs", "head.fcs", "dense.convs"), 64),
    "net.fpn_coarser": 16,
    "net.in_channels": 256,
    "net.fpn_finest": 1 << 10,
    **dict.fromkeys(("mask.convs", "keypoint.convs"), 64),
    **dict.fromkeys(("pooling.size", "mask.size", "keypoint.size"), 128),
    "keypoint.count": 1000,
    "pooling.sampling_ratio": 128,
    "data.short_sides": 1 << 14,
    "data.long_side": 1 << 15,
    "data.test_short_side": 1 << 14,
    "data.test_long_side": 1 << 15,
    "data.size_multiple": 1 << 12,
    "data.scale_jitter": 100,
    "data.workers": 1 << 9,
    **dict.fromkeys(("data.crop", "test.tiles"), 1 << 15),
    "test.scales": 1 << 14,
    **dict.fromkeys(("rpn.train_pre_nms", "rpn.train_post_nms"), 1 << 20),
    **dict.fromkeys(("rpn.test_pre_nms", "rpn.test_post_nms"), 1 << 20),
    **dict.fromkeys(("rpn.test_top", "rpn.batch_size", "dense.pre_nms"), 1 << 20),
    **dict.fromkeys(("head.rois_per_image", "test.detections_per_image"), 1 << 20),
    **dict.fromkeys(("train.batch_size", "test.batch_size"), 1 << 16),
}
"""Upper limits in each setting's unit, far above the value in any recipe."""

_MOST = {
    "anchors.scales": 100,
    "anchors.ratios": 100,
    "anchors.sizes": 100,
    "data.short_sides": 1000,
    "test.scales": 100,
    "head.cascade": 10,
}
"""Longest lists."""


def too_many(value: Any) -> bool:
    """Return whether a value, of any type, has more entries than a setting could.

    This runs before validation, where an error for each entry takes far more memory
    than the entry.
    """
    waiting, seen = [value], 0
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, dict | list | tuple | set | frozenset):
            seen += len(entry)
            if seen > _ENTRIES:
                return True
            waiting += entry.values() if isinstance(entry, dict) else entry
    return False


def excesses(config: BaseModel, sections: Iterable[str] | None = None) -> Iterator[str]:
    """Yield a message for each setting above its limit: the limit and the value.

    Args:
        config: the configuration.
        sections: those to look at; None for all. Defaults are within their limits.
    """
    for section in type(config).model_fields if sections is None else sections:
        values = getattr(config, section)
        for key in type(values).model_fields:
            name = f"{section}.{key}"
            fault = _fault(name, getattr(values, key))
            if fault is not None:
                yield f"{name}: {fault}, found {brief(getattr(values, key))}"


def _fault(name: str, value: Any) -> str | None:
    if isinstance(value, tuple | list):
        most = _MOST.get(name, _ENTRIES)
        if len(value) > most:
            return f"expected at most {most} entries"
        faults = (_fault(name, entry) for entry in value)
        return next((fault for fault in faults if fault), None)
    if isinstance(value, str):
        return f"expected at most {_WORD} characters" if len(value) > _WORD else None
    if isinstance(value, int | float):
        largest = _LARGEST.get(name, _NUMBER)
        if name.endswith("channels"):
            largest = _CHANNELS
        return f"expected at most {largest}" if abs(value) > largest else None
    return None
