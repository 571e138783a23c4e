"""Average recall of proposals (Hosang et al. 2016), by COCO's rules of matching.

    P  proposals of an image
    T  IoU thresholds
    M  limits on the number of proposals

Boxes are pixel edges of the original images. Classes are ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.formats.proposal_arrays import read_saved_proposals
from ..datasets.index.indexed_records import as_records
from ..datasets.records import Dataset, FloatArray
from ..utils.files import atomic_path
from .coco_evaluators import SIZES, Evaluator, coco_curves
from .coco_objects import (
    CocoDetections,
    CocoImages,
    CocoObjects,
    Float64Array,
    coco_detections,
    coco_image_ids,
    coco_objects,
)
from .image_detections import FlatDetections, ImageDetections, flatten
from .results_summary import cell, number
from .tasks import AREAS, IOU_THRESHOLDS, CocoParameters

LIMITS = (100, 300, 1000, 2000)

_AT_ONCE = 50
"""Images to match at once: evaluators keep half a kilobyte for each proposal."""


@dataclass(frozen=True, slots=True)
class ImageProposals:
    """Proposals of one image.

    Attributes:
        image_id: the record's ``image_id``.
        boxes: ``(P, 4)`` float32 pixel edges of the original image.
        scores: ``(P,)`` float32; best first, if ties are to keep their order.
    """

    image_id: str
    boxes: FloatArray
    scores: FloatArray


@dataclass(frozen=True, slots=True)
class ProposalResult:
    """Recall of the best-scored proposals.

    Attributes:
        limits: M numbers of proposals per image.
        iou_thresholds: T overlaps.
        recalls: for each of ``SIZES``, the share ``(T, M)`` of objects found; NaN if
            there are none. A column is a curve of recall against IoU.
    """

    dataset: str
    images: int
    proposals: int
    limits: tuple[int, ...]
    iou_thresholds: tuple[float, ...]
    recalls: dict[str, Float64Array]

    @property
    def average_recall(self) -> dict[str, float]:
        """Return the mean over the thresholds: AR@100, ..., ARs@100, ..., ARl@2000."""
        return {
            f"AR{'' if size == 'all' else size[0]}@{limit}": float(recall[:, m].mean())
            for size, recall in self.recalls.items()
            for m, limit in enumerate(self.limits)
        }

    def table(self) -> str:
        """Return the terminal table: average recall by size, recall at each IoU."""
        heads = [f"{f'{limit}':>8}" for limit in self.limits]
        lines = ["".join(["AR@     ", *heads]), "-" * 8 * (len(heads) + 1)]
        rows = {size: recall.mean(axis=0) for size, recall in self.recalls.items()}
        by_iou = zip(self.iou_thresholds, self.recalls["all"], strict=True)
        for name, values in rows.items():
            lines.append(_row(name, values))
        lines += ["", "".join(["IoU     ", *heads])]
        lines += [_row(f"{threshold:.2f}", values) for threshold, values in by_iou]
        counts = f"images {self.images}, proposals {self.proposals}"
        return "\n".join([*lines, "", f"{self.dataset}: {counts}", *self._hint()])

    def _hint(self) -> list[str]:
        best = float(self.recalls["all"].max())
        if best > 0:
            return []
        if np.isnan(best):
            return ["recall has no value: no object counts; check the annotations"]
        if not self.proposals:
            return ["recall is 0 because there are no proposals"]
        return [
            "recall is 0 although there are proposals: they may be of another set, or "
            "in pixels of a resized image, or the network is hardly trained"
        ]

    def to_json(self) -> dict[str, object]:
        """Return plain values for ``json.dumps``; None for NaN."""
        return {
            "dataset": self.dataset,
            "counts": {"images": self.images, "proposals": self.proposals},
            "average_recall": {
                name: number(value) for name, value in self.average_recall.items()
            },
            "recall_against_iou": {
                "iou": [round(t, 6) for t in self.iou_thresholds],
                **{
                    f"{size}@{limit}": [number(v) for v in recall[:, m].tolist()]
                    for size, recall in self.recalls.items()
                    for m, limit in enumerate(self.limits)
                },
            },
        }


def evaluate_proposals(
    dataset: Dataset,
    proposals: Sequence[ImageProposals],
    *,
    evaluator: Evaluator = "hotcoco",
    limits: Sequence[int] = LIMITS,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> ProposalResult:
    """Measure how many objects the proposals cover.

    Args:
        evaluator: whose matching by COCO's rules to use.
        limits: numbers of best-scored proposals of each image to consider, ascending.
        iou_thresholds: overlaps that a match must reach.

    Raises:
        ValueError: see ``flatten``; or the evaluator, a limit or a threshold is
            invalid.
    """
    if list(limits) != sorted(set(limits)) or not limits or limits[0] < 1:
        raise ValueError(f"expected ascending limits from 1, found {list(limits)}")
    flat = _flatten(dataset, proposals)
    objects, image_ids = coco_objects(dataset), coco_image_ids(dataset)
    found = coco_detections(dataset, flat)
    hits = np.zeros((len(iou_thresholds), len(SIZES), len(limits)))
    counts = np.zeros(len(SIZES))
    for start in range(0, len(image_ids), _AT_ONCE):
        some = image_ids[start : start + _AT_ONCE]
        own = objects.boxes_of(some)
        rows = slice(*np.searchsorted(flat.images, (start, start + _AT_ONCE)))
        part = CocoDetections(
            found.image_ids[rows],
            found.category_ids[rows],
            found.boxes[rows],
            found.scores[rows],
        )
        curves = coco_curves(
            CocoImages(some),
            None,
            own,
            part,
            evaluator=evaluator,
            parameters=CocoParameters(iou_thresholds),
            limits=limits,
        )
        recall = np.maximum(curves.recall[:, 0], 0)  # -1 where there are none
        hits += np.rint(recall * _sizes(own)[:, None])
        counts += _sizes(own)
    recalls = hits / np.where(counts, counts, np.nan)[:, None]
    return ProposalResult(
        dataset.name,
        len(dataset.records),
        len(flat.scores),
        tuple(limits),
        tuple(iou_thresholds),
        {size: recalls[:, place] for place, size in enumerate(SIZES)},
    )


def _sizes(objects: CocoObjects) -> Float64Array:
    """Return the numbers of objects that count: all, small, medium, and large ones."""
    areas = objects.areas[~objects.crowd]
    low, high = (side**2 for side in AREAS)
    medium = (areas >= low) & (areas <= high)  # an area at a limit is of both sizes
    sizes = (areas >= 0, areas <= low, medium, areas >= high)
    return np.array([size.sum() for size in sizes], np.float64)


def save_proposals(
    path: Path, proposals: Sequence[ImageProposals], dataset: Dataset
) -> None:
    """Save proposals as plain arrays (``.npz``).

    The arrays are ``image_ids`` (I,) text, ``counts`` (I,), and ``boxes`` and
    ``scores`` of all images in order.

    Raises:
        ValueError: see ``flatten``.
        OSError: the file cannot be written.
    """
    flat = _flatten(dataset, proposals)
    image_ids = as_records(dataset.records).image_ids
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            image_ids=np.array(image_ids, np.str_),
            counts=np.bincount(flat.images, minlength=len(image_ids)),
            boxes=flat.boxes,
            scores=flat.scores,
        )


def load_proposals(path: Path, dataset: Dataset) -> list[ImageProposals]:
    """Read a file of ``save_proposals``.

    Raises:
        ValueError: it is not such a file, claims more data than it contains, or
            belongs to images other than those of ``dataset``.
    """
    saved = read_saved_proposals(path)
    # One id more than there are shows the mismatch as well as a million more would.
    count = min(len(saved.image_ids), len(dataset.records) + 1)
    found = [
        ImageProposals(saved.image_ids[row], *saved.of(row)) for row in range(count)
    ]
    _flatten(dataset, found)
    return found


def _flatten(dataset: Dataset, proposals: Sequence[ImageProposals]) -> FlatDetections:
    """Join proposals, checked like detections of the first class."""
    one = [
        ImageDetections(
            entry.image_id,
            entry.boxes,
            entry.scores,
            np.ones(len(entry.scores), np.int64),
        )
        for entry in proposals
    ]
    return flatten(dataset, one)


def _row(name: str, values: Float64Array) -> str:
    return "".join([f"{name:8}", *(f"{cell(value):>8}" for value in values)])
