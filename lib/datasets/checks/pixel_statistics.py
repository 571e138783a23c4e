"""Mean and standard deviation of each channel of a data set's images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...utils.monitoring.progress import Progress
from ..loading.channels import read_channels
from ..loading.images import ImageError

_IMAGES = 200
"""Images that are enough for two digits of the statistics."""


def pixel_settings(paths: Sequence[Path]) -> list[str]:
    """Measure images as stored; return keys and values of settings to normalise them.

    Raises:
        ImageError: a file cannot be read, or images differ in their channels.
    """
    count = min(len(paths), _IMAGES)
    chosen = [paths[i * len(paths) // count] for i in range(count)]
    totals: dict[int, list[np.ndarray]] = {}  # by the number of channels
    first: dict[int, Path] = {}
    with Progress(count, log_every=None) as progress:
        for done, path in enumerate(chosen, start=1):
            pixels = read_channels(path)
            channels = pixels.shape[2]
            flat = pixels.reshape(-1, channels).astype(np.float64)
            own = totals.setdefault(channels, [])
            own.append(np.stack([flat.mean(axis=0), (flat**2).mean(axis=0)]))
            first.setdefault(channels, path)
            progress.update(done, images=1)
    if len(totals) > 1:
        kinds = (f"{c} in {len(totals[c])} (first {first[c]})" for c in sorted(totals))
        raise ImageError(
            f"expected the same channels in all {count} images looked at, found "
            f"{', '.join(kinds)}; without net.pixel_mean, grey, RGB and RGBA become "
            "8-bit RGB and need no statistics; else store all images alike"
        )
    ((channels, moments),) = totals.items()
    mean, square = np.mean(moments, axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 0)).clip(min=1e-6)
    lists = ("[" + ",".join(f"{value:.6g}" for value in v) + "]" for v in (mean, std))
    values = [str(channels), *lists]
    keys = ("net.in_channels", "net.pixel_mean", "net.pixel_std")
    return [word for pair in zip(keys, values, strict=True) for word in pair]
