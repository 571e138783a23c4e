"""Objects followed through a video, and files of MOTChallenge.

The tracker is ByteTrack of the package trackers (Roboflow, Apache 2.0), its home since
supervision 0.31.
"""

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..detector import Result

_LOW = 0.1
"""Score down to which a detection continues a track (ByteTrack, section 3)."""


class Tracker:
    """Numbers the objects of successive frames.

    Attributes:
        threshold: the score above which it needs detections; of each class, if by name.

    Args:
        threshold: the score above which a detection starts a track, and down to a score
            of 0.1 continues one. With thresholds by class name, those of each class
            start and continue it.

    Raises:
        ValueError: the package trackers is not installed.
    """

    def __init__(self, threshold: float | Mapping[str, float], *, fps: float) -> None:
        trackers, self._supervision = import_tracker()
        start = 0.0 if isinstance(threshold, Mapping) else threshold
        self.threshold = threshold if start == 0 else min(start, _LOW)
        self._tracker = trackers.ByteTrackTracker(
            frame_rate=fps,
            track_activation_threshold=start,
            high_conf_det_threshold=start,
        )

    def update(self, result: Result) -> Result:
        """Return the detections of the next frame that belong to a track.

        They have ``track_ids`` from 1. An object gets its number in its second frame.
        """
        found = self._tracker.update(
            self._supervision.Detections(
                xyxy=result.boxes.numpy(),
                confidence=result.scores.numpy(),
                class_id=result.labels.numpy(),
                data={"row": np.arange(len(result))},
            )
        )
        ids = np.asarray(found.tracker_id, np.int64)
        kept = np.flatnonzero(ids >= 0)
        rows = np.asarray(found.data["row"])[kept] if len(kept) else kept
        order = np.argsort(rows)  # best score first, as before
        own = result.pick(torch.from_numpy(rows[order].astype(np.int64)))
        return replace(own, track_ids=torch.from_numpy(ids[kept][order] + 1))


def import_tracker() -> tuple[Any, Any]:
    """Import the packages trackers and supervision.

    Raises:
        ValueError: they are not installed.
    """
    try:
        return tuple(map(importlib.import_module, ("trackers", "supervision")))  # type: ignore[return-value]
    except ImportError as error:
        raise ValueError(
            f"--track needs the package trackers, which cannot be imported here "
            f"({error}); pip install 'faster-rcnn[track]'"
        ) from error


def mot_lines(frame: int, result: Result) -> str:
    """Return a frame's lines of a MOTChallenge file.

    ``frame, id, left, top, width, height, score, -1, -1, -1``: frames, ids and pixels
    count from 1; the id is -1 without a tracker.

    Args:
        frame: number of the frame, from 0.
    """
    ids = result.track_ids
    numbers = [-1] * len(result) if ids is None else ids.tolist()
    return "".join(
        f"{frame + 1},{number},{x1 + 1:.2f},{y1 + 1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},"
        f"{score:.4f},-1,-1,-1\n"
        for number, (x1, y1, x2, y2), score in zip(
            numbers, result.boxes.tolist(), result.scores.tolist(), strict=True
        )
    )
