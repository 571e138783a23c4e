"""How well the masks and keypoints of found objects fit.

M  objects that count and have a true detection
K  keypoints of an object
"""

from dataclasses import dataclass

import hotcoco.mask
import numpy as np

from ...datasets.mask_encoding import run_lengths
from ...datasets.records import Dataset, FloatArray, IntArray
from ..results_summary import number
from ..voc_matching import Float64Array
from .matches import Matches

PCK = (0.05, 0.1, 0.2)
"""Distances within which a keypoint is correct, in longer sides of the object's box."""


@dataclass(frozen=True, slots=True)
class MaskOverlaps:
    """IoU of masks of true detections with those of their objects.

    Attributes:
        detections: ``(M,)`` rows of the detections.
        objects: ``(M,)`` rows of their objects.
        ious: ``(M,)``.
    """

    detections: IntArray
    objects: IntArray
    ious: Float64Array

    def to_json(self, matches: Matches) -> dict[str, object]:
        """Return mean IoUs for ``json.dumps``: of all classes together, and of each."""
        classes = matches.found.classes[self.detections]
        by_class = {
            name: self.ious[classes == c] for c, name in enumerate(matches.classes) if c
        }
        return {
            "mean": number(_mean(self.ious)),
            "per_class": {name: number(_mean(v)) for name, v in by_class.items()},
        }


@dataclass(frozen=True, slots=True)
class KeypointQuality:
    """Accuracy of each keypoint, over the objects with a true detection that label it.

    Attributes:
        names: K names.
        labelled: ``(K,)`` number of such objects.
        correct: ``(3, K)`` share within each distance of ``PCK``; NaN without objects.
        oks: ``(K,)`` mean similarity of this keypoint alone.
        distances: ``(K,)`` median distance in pixels.
    """

    names: tuple[str, ...]
    labelled: IntArray
    correct: Float64Array
    oks: Float64Array
    distances: Float64Array

    def to_json(self) -> dict[str, object]:
        """Return plain values for ``json.dumps``, by name; None for NaN."""
        return {
            name: {
                "labelled": int(self.labelled[k]),
                **{
                    f"PCK@{a}": number(v[k])
                    for a, v in zip(PCK, self.correct, strict=True)
                },
                "OKS": number(self.oks[k]),
                "median_distance": number(self.distances[k]),
            }
            for k, name in enumerate(self.names)
        }


def mask_overlaps(dataset: Dataset, matches: Matches) -> MaskOverlaps | None:
    """Compare masks; None if the data set's records or the detections have none."""
    masks = matches.found.masks
    if masks is None or not dataset.has_masks or not dataset.records:
        return None
    rows, objects = _pairs(matches)
    starts = np.searchsorted(matches.objects.images, np.arange(matches.images))
    kept, ious = [], []
    image, record = -1, dataset.records[0]
    for place, (row, own) in enumerate(
        zip(rows.tolist(), objects.tolist(), strict=True)
    ):
        at = int(matches.objects.images[own])
        if at != image:  # a record unpacks all its masks
            image, record = at, dataset.records[at]
        if record.masks is None:
            return None
        mask = record.masks[own - starts[image]]
        if not mask:
            continue
        truth = run_lengths(mask, record.height, record.width)
        pair = [{"size": list(m.size), "counts": m.counts} for m in (masks[row], truth)]
        ious.append(float(hotcoco.mask.iou(pair[:1], pair[1:], [False])[0, 0]))
        kept.append(place)
    chosen = np.array(kept, np.int64)
    return MaskOverlaps(rows[chosen], objects[chosen], np.array(ious, np.float64))


def keypoint_quality(
    dataset: Dataset, matches: Matches, sigmas: tuple[float, ...]
) -> KeypointQuality | None:
    """Compare keypoints; None if the records or the detections have none."""
    found = matches.found.keypoints
    if found is None or dataset.keypoints is None:
        return None
    points = [r.keypoints for r in dataset.records if r.keypoints is not None]
    if not points:
        return None
    truth: FloatArray = np.concatenate(points)
    rows, objects = _pairs(matches)
    seen = truth[objects, :, 2] > 0  # (M, K)
    offsets = found[rows, :, :2].astype(np.float64) - truth[objects, :, :2]
    distances = np.where(seen, np.hypot(offsets[..., 0], offsets[..., 1]), np.nan)
    boxes = matches.objects.boxes[objects]
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    areas = matches.objects.areas[objects][:, None] + np.spacing(1)
    spread = (2 * np.array(sigmas)) ** 2
    similarity = np.exp(-(distances**2) / spread / areas / 2)
    labelled = seen.sum(axis=0)

    def share(good: Float64Array) -> Float64Array:
        total = np.where(seen, good, 0).sum(axis=0, dtype=np.float64)
        none: Float64Array = np.full(len(total), np.nan)
        np.divide(total, labelled, out=none, where=labelled > 0)
        return none

    return KeypointQuality(
        dataset.keypoints.names,
        labelled,
        np.stack(
            [share((distances <= part * sides).astype(np.float64)) for part in PCK]
        ),
        share(similarity),
        np.array(
            [
                np.median(d[s]) if s.any() else np.nan
                for d, s in zip(distances.T, seen.T, strict=True)
            ]
        ),
    )


def _mean(values: Float64Array) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _pairs(matches: Matches) -> tuple[IntArray, IntArray]:
    """Return the true detections and their objects, ``(M,)`` rows each."""
    rows = np.flatnonzero(matches.true)
    return rows, matches.nearest[rows]
