"""The proposals that a test of this program saves (``.npz``), as arrays.

I  images
P  proposals of all images
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...utils.untrusted.npz import Array, NpzError, read_npz
from ..records import FloatArray, IntArray


class SavedProposals(NamedTuple):
    """Proposals of images in any order, boxes as pixel edges.

    Attributes:
        image_ids: I ids.
        ends: ``(I,)`` index where each image's rows end.
        boxes: ``(P, 4)``, image after image.
        scores: ``(P,)``.
    """

    image_ids: list[str]
    ends: IntArray
    boxes: FloatArray
    scores: FloatArray

    def of(self, row: int) -> tuple[FloatArray, FloatArray]:
        """Return the boxes and scores of an image."""
        own = slice(int(self.ends[row - 1]) if row else 0, int(self.ends[row]))
        return self.boxes[own], self.scores[own]


def read_saved_proposals(path: Path) -> SavedProposals:
    """Read a file written by ``evaluation.proposal_recall.save_proposals``.

    Neither boxes and scores nor image ids are validated.

    Raises:
        ValueError: it is not such a file, or claims more data than it contains.
    """
    try:
        arrays = read_npz(path, ("image_ids", "counts", "boxes", "scores"))
        _check(*arrays)
    except (OSError, NpzError) as error:
        raise ValueError(
            f"{path}: expected proposals saved by a test, cannot read them ({error}); "
            "test with --eval proposal again"
        ) from error
    image_ids, counts, boxes, scores = arrays
    ends = np.cumsum(counts, dtype=np.int64)
    return SavedProposals(image_ids.tolist(), ends, boxes, scores)


def _check(image_ids: Array, counts: Array, boxes: Array, scores: Array) -> None:
    """Check that the counts match the boxes and scores.

    Raises:
        NpzError: they do not match.
    """
    arrays = {"image_ids": image_ids, "counts": counts, "boxes": boxes}
    arrays["scores"] = scores
    for (name, array), kinds, dimensions in zip(
        arrays.items(), ("U", "iu", "fiu", "fiu"), (1, 1, 2, 1), strict=True
    ):
        if array.dtype.kind not in kinds or array.ndim != dimensions:
            raise NpzError(f"{name} is an array {array.shape} of {array.dtype}")
    # Check the range first: a sum of arbitrary counts may overflow.
    sound = len(image_ids) == len(counts) and len(boxes) == len(scores)
    sound &= bool(((counts >= 0) & (counts <= len(boxes))).all())
    if not sound or counts.sum() != len(boxes):
        raise NpzError("its arrays do not match each other")
