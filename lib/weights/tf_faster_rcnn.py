"""Settings of tf-faster-rcnn's PyTorch port."""

from typing import Any

from .imported import Numbers

# By number of anchors per cell, with three ratios.
_SCALES = {9: (8, 16, 32), 12: (4, 8, 16, 32), 15: (2, 4, 8, 16, 32)}


def family_settings(numbers: Numbers) -> dict[str, Any]:
    """Return the settings with which a detector of the port computes the same."""
    settings = {
        "net.head_stride": 1,
        "anchors.ratios": (0.5, 1, 2),
        "anchors.centre": "cell",
        "boxes.offset": 1,
        # For the port's last version; earlier ones cropped, see docs/weights.md.
        "pooling.mode": "align",
        "pooling.sampling_ratio": 0,
        "pooling.aligned": False,
        "pooling.size": 7,
        "pooling.max_pool": False,
        "rpn.channels": numbers.rpn_channels,
    }
    if numbers.anchors in _SCALES:
        settings["anchors.scales"] = _SCALES[numbers.anchors]
    return settings
