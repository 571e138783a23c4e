"""Keypoints: their names, left-right pairs and values."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ..records import Drops, FloatArray

_SIDES = (("left", "right"), (r"(?<![a-z])l(?![a-z])", "r"))


def flip_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Find the pairs of left and right by name: left_eye, l-eye, EyeL and the like.

    >>> flip_pairs(["nose", "left_eye", "right_eye"])
    ((1, 2),)
    """
    plain = [re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in names]
    pairs = []
    for left, name in enumerate(plain):
        for pattern, right in _SIDES:
            other = re.sub(pattern, right, name)
            if other != name and plain.count(other) == 1:
                pairs.append((left, plain.index(other)))
                break
    return tuple(pairs)


def clean_keypoints(
    values: npt.NDArray[np.float64], example: Callable[[int], str], drops: Drops
) -> FloatArray:
    """Make keypoints as in `Record`, those not labelled 0, 0, 0.

    Args:
        values: ``(G, K, 3)`` x, y in continuous pixels and visibility, unchecked.
        example: describes the object of a row, for the log.
        drops: counts faults; a keypoint without a position counts as not labelled.
    """
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    visibility = found[..., 2]
    lost = (visibility != 0) & ~np.isfinite(found).all(axis=2)
    odd = ~lost & ~np.isin(visibility, (0, 1, 2))
    for kind, faulty in (
        ("keypoint with a NaN or infinite value", lost),
        ("keypoint whose visibility is not 0, 1 or 2", odd),
    ):
        if faulty.any():
            row = int(np.argmax(faulty.any(axis=1)))
            drops.add(kind, example(row), int(np.count_nonzero(faulty)))
    found[..., 2] = np.where(odd, np.clip(np.round(visibility), 0, 2), visibility)
    found[lost | (found[..., 2] == 0)] = 0
    return found
