"""Masks and keypoints of the galleries, as SVG paths in pixels of the image."""

import functools
from collections.abc import Iterable, Sequence

import cv2
import hotcoco.mask
import numpy as np
import numpy.typing as npt

from ...datasets.records import Dataset, FloatArray, Mask, RunLengths
from ..analysis.matches import Matches
from ..pictures import KEYPOINT_SCORE

_TOLERANCE = 0.75  # pixels by which a simplified outline may differ


class Overlays:
    """The shapes of a data set's objects and of the detections on it.

    Args:
        dataset: ground truth; shapes of its objects are those of its records.
    """

    def __init__(self, dataset: Dataset, matches: Matches) -> None:
        self.dataset = dataset
        self.matches = matches
        found = matches.found
        self.known = found.masks is not None or found.keypoints is not None
        # A record is unpacked for each of its objects otherwise.
        self._record = functools.lru_cache(4)(lambda image: dataset.records[image])

    def of_detection(self, row: int) -> tuple[str, str]:
        """Return the paths of a detection's mask and limbs; empty without any."""
        found = self.matches.found
        outline = "" if found.masks is None else outline_path(found.masks[row])
        if found.keypoints is None:
            return outline, ""
        return outline, self._limbs(found.keypoints[row], KEYPOINT_SCORE)

    def of_object(self, row: int) -> tuple[str, str]:
        """Return the paths of an object's mask and limbs; empty without any."""
        objects = self.matches.objects
        image = int(objects.images[row])
        record = self._record(image)
        own = row - int(np.searchsorted(objects.images, image))
        outline = "" if record.masks is None else outline_path(record.masks[own])
        if record.keypoints is None:
            return outline, ""
        return outline, self._limbs(record.keypoints[own], 0)

    def _limbs(self, keypoints: FloatArray, threshold: float) -> str:
        names = self.dataset.keypoints
        return limb_path(keypoints, names.skeleton if names else (), threshold)


def outline_path(mask: Mask) -> str:
    """Return the outline of a mask; run lengths are traced and simplified."""
    if not isinstance(mask, RunLengths):
        return "".join(_closed(part) for part in mask)
    rle = {"size": list(mask.size), "counts": mask.counts}
    x, y, width, height = np.array(hotcoco.mask.to_bbox(rle), np.int64).tolist()
    bits = hotcoco.mask.decode(rle)[y : y + height, x : x + width]
    if not bits.size:
        return ""
    # Traced at twice the size, so that an outline runs along the edges of its pixels.
    twice = np.pad(np.ascontiguousarray(bits).repeat(2, 0).repeat(2, 1), 1)
    lines, _ = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts = (cv2.approxPolyDP(line, 2 * _TOLERANCE, True)[:, 0] for line in lines)
    return "".join(_closed((part - 0.5) / 2 + [x, y]) for part in parts)


def limb_path(
    keypoints: FloatArray, skeleton: Sequence[tuple[int, int]], threshold: float
) -> str:
    """Return limbs as lines and keypoints as points, of those above the threshold."""
    seen = keypoints[:, 2] > threshold
    text = [_text(point) for point in keypoints[:, :2]]
    limbs = (f"M{text[a]}L{text[b]}" for a, b in skeleton if seen[a] and seen[b])
    points = (f"M{text[k]}h0" for k in np.flatnonzero(seen))
    return "".join([*limbs, *points])


def _closed(points: npt.NDArray[np.floating]) -> str:
    return "M" + "L".join(map(_text, points)) + "Z"


def _text(point: Iterable[float]) -> str:
    x, y = point
    return f"{x:.1f} {y:.1f}"
