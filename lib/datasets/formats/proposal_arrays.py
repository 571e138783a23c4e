"""The proposals that a test of this program saves (``.npz``).

I  images
P  proposals of all images
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...utils.untrusted.npz import NpzError, read_npz
from ..records import FloatArray

_ARRAYS = {
    "image_ids": ("U", 1),
    "counts": ("iu", 1),
    "boxes": ("fiu", 2),
    "scores": ("fiu", 1),
}
"""Kinds of values and number of dimensions of each array."""


class ProposalFile(NamedTuple):
    """Content of a proposal file, with images in any order and unchecked values."""

    image_ids: list[str]  # I ids
    # returns boxes, in the file's convention, and scores of the image in a row
    of: Callable[[int], tuple[Any, Any]]
    # converts ``(P, 4)`` boxes to pixel edges
    to_edges: Callable[[FloatArray], FloatArray] = lambda boxes: boxes


def read_saved_proposals(path: Path) -> ProposalFile:
    """Read a file written by ``evaluation.proposal_recall.save_proposals``.

    Raises:
        ValueError: it is not such a file, or claims more data than it contains.
    """
    try:
        arrays = read_npz(path, list(_ARRAYS))
        for (name, (kinds, dimensions)), array in zip(
            _ARRAYS.items(), arrays, strict=True
        ):
            if array.dtype.kind not in kinds or array.ndim != dimensions:
                raise NpzError(f"{name} is an array {array.shape} of {array.dtype}")
        image_ids, counts, boxes, scores = arrays
        # Check the range first: a sum of arbitrary counts may overflow.
        sound = len(image_ids) == len(counts) and len(boxes) == len(scores)
        sound &= bool(((counts >= 0) & (counts <= len(boxes))).all())
        if not sound or counts.sum() != len(boxes):
            raise NpzError("its arrays do not match each other")
    except (OSError, NpzError) as error:
        raise ValueError(
            f"{path}: expected proposals saved by a test, cannot read them ({error}); "
            "test with --eval proposal again"
        ) from error
    ends = np.cumsum(counts, dtype=np.int64)

    def of(row: int) -> tuple[FloatArray, FloatArray]:
        own = slice(int(ends[row - 1]) if row else 0, int(ends[row]))
        return boxes[own], scores[own]

    return ProposalFile(image_ids.tolist(), of)
