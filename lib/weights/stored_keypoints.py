"""The names of keypoints in a checkpoint."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..config.settings import Config
from ..datasets.records import KeypointNames
from .checkpoint import DamagedFileError
from .class_names import COCO_KEYPOINTS

KEY = "keypoints"
"""Entry of a checkpoint; only of detectors of keypoints."""


def store_keypoints(names: KeypointNames | None) -> dict[str, Any]:
    """Return what a checkpoint stores of them, as plain values."""
    return {} if names is None else {KEY: dataclasses.asdict(names)}


def stored_keypoints(state: Mapping[str, Any], config: Config) -> KeypointNames | None:
    """Return the keypoints of a checkpoint's detector; None if it predicts none.

    Without stored names they are COCO's if there are as many, else numbers.

    Raises:
        DamagedFileError: the stored names are of another form or number.
    """
    if not config.keypoint.enabled:
        return None
    count, stored = config.keypoint.count, state.get(KEY)
    if stored is None:
        if count == len(COCO_KEYPOINTS.names):
            return COCO_KEYPOINTS
        return KeypointNames(tuple(map(str, range(1, count + 1))))
    try:
        names = tuple(str(name) for name in stored["names"])
        flip_pairs, skeleton = (
            tuple((int(a), int(b)) for a, b in stored[part])
            for part in ("flip_pairs", "skeleton")
        )
    except (TypeError, ValueError, KeyError) as error:
        raise DamagedFileError(
            f"names of keypoints cannot be read ({error})"
        ) from error
    indices = {index for pair in (*flip_pairs, *skeleton) for index in pair}
    if len(names) != count or not indices <= set(range(count)):
        raise DamagedFileError(
            f"expected {count} names of keypoints, and pairs of them, found "
            f"{len(names)} names and pairs of {sorted(indices)}"
        )
    return KeypointNames(names, flip_pairs, skeleton)
