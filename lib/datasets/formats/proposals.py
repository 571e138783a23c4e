"""Region proposals of a data set's images, read from files of several programs.

    I  images
    P  proposals, of an image or of all

Boxes are converted to pixel edges here, whatever the file's convention.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...utils.untrusted.array_pickle import read_arrays
from ..index.indexed_records import as_records
from ..records import FloatArray, IntArray, Record
from .proposal_arrays import ProposalFile, read_saved_proposals

_XYXY, _XYWH = 0, 1  # Detectron2's BoxMode


class ScoredBoxes(NamedTuple):
    """Proposals of one image."""

    boxes: FloatArray  # ``(P, 4)``
    scores: FloatArray  # ``(P,)`` float32, the higher the better; of any scale


@dataclass(frozen=True)
class GivenProposals:
    """The best proposals of every image of a data set."""

    # ``(I + 1,)`` index where each image's rows begin, in the order of the records
    starts: IntArray
    # ``(P, 4)`` pixel edges inside the image, best first in each image
    boxes: FloatArray
    scores: FloatArray  # ``(P,)``
    most: int  # largest number of proposals of an image

    def of(self, image: int) -> ScoredBoxes:
        """Return the proposals of the image with this index, best first."""
        own = slice(*self.starts[image : image + 2].tolist())
        return ScoredBoxes(self.boxes[own], self.scores[own])


def read_proposals(
    path: Path, records: Sequence[Record], *, most: int
) -> GivenProposals:
    """Read the ``most`` best proposals of each image of a data set, and of no other.

    ==========  ==============================================================
    ending      content
    ==========  ==============================================================
    ``.npz``    ``image_ids``, ``counts``, ``boxes``, ``scores``: as a test with
                ``--eval proposal`` leaves them; pixel edges
    ``.pkl``    ``boxes``, ``scores``, and ``ids`` or ``indexes`` (Detectron): lists
                with an entry per image; the far corner is the last pixel inside
    ``.pkl``    ``boxes``, ``objectness_logits``, ``ids``, and perhaps ``bbox_mode`` 0
                or 1 (Detectron2): pixel edges, or x, y, width, height
    ==========  ==============================================================

    No code in a pickle is executed. Images are identified by their ids, as text or as
    the number that the id's digits form. Boxes are clipped to the image.

    Raises:
        ValueError: it is not such a file, lacks an image, or has invalid entries; the
            message names file and image.
    """
    if path.suffix not in _READERS:
        raise ValueError(
            f"{path}: expected proposals in a file ending in {', '.join(_READERS)}, "
            f"found {path.suffix or 'no suffix'}"
        )
    try:
        content = _READERS[path.suffix](path)
    except OSError as error:
        raise ValueError(
            f"{path}: expected a file of proposals, cannot read it ({error.strerror}); "
            "make one by a test with --eval proposal"
        ) from error
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected proposals, found other content ({error}); see "
            "docs/proposals.md for the formats"
        ) from error
    columns = as_records(records)
    image_ids, sizes = columns.image_ids, columns.sizes
    rows = _rows(content.image_ids, image_ids, path)
    boxes, scores, starts = [], [], np.zeros(len(image_ids) + 1, np.int64)
    for place, row in enumerate(rows):
        where = f"{path}, image {image_ids[place]}"
        own_boxes, own_scores = content.of(row)
        edges = content.to_edges(_numbers(own_boxes, (-1, 4), where))
        own_scores = _numbers(own_scores, (-1,), where)
        own = _best(edges, own_scores, sizes[place], most, where)
        boxes.append(own.boxes)
        scores.append(own.scores)
        starts[place + 1] = starts[place] + len(own.scores)
    return GivenProposals(
        starts=starts,
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
        scores=np.concatenate([np.zeros(0, np.float32), *scores]),
        most=most,
    )


def _read_pickle(path: Path) -> ProposalFile:
    """Read Detectron's or Detectron2's proposals."""
    content = read_arrays(path)
    ids = content["ids"] if "ids" in content else content["indexes"]
    second = "objectness_logits" in content  # Detectron2
    boxes = list(content["boxes"])
    scores = list(content["objectness_logits" if second else "scores"])
    mode = content.get("bbox_mode", _XYXY)
    if mode not in (_XYXY, _XYWH):
        raise ValueError(
            f"{path}: expected bbox_mode 0 (corners) or 1 (x, y, width, height), found "
            f"{mode!r}"
        )
    if not len(ids) == len(boxes) == len(scores):
        raise ValueError(
            f"{path}: expected as many ids as boxes and scores, found {len(ids)}, "
            f"{len(boxes)} and {len(scores)}"
        )

    def to_edges(corners: FloatArray) -> FloatArray:
        edges = np.array(corners, np.float32)
        if mode == _XYWH:
            edges[:, 2:] += edges[:, :2]
        elif not second:
            edges[:, 2:] += 1  # the last pixel inside
        return edges

    names = [str(one) for one in np.asarray(ids).tolist()]
    return ProposalFile(names, lambda row: (boxes[row], scores[row]), to_edges)


_READERS: dict[str, Callable[[Path], ProposalFile]] = {
    ".npz": read_saved_proposals,
    ".pkl": _read_pickle,
}


def _rows(found: list[str], image_ids: Sequence[str], path: Path) -> list[int]:
    """Find the entry of each image; raise ValueError if there is none, or several."""
    by_id = {name: row for row, name in enumerate(found)}
    if len(by_id) < len(found):
        twice = next(name for row, name in enumerate(found) if by_id[name] != row)
        raise ValueError(f"{path}: two entries for the image {twice}; leave one")
    by_number = {_number(name): row for name, row in by_id.items()}
    rows = [by_id.get(name, by_number.get(_number(name))) for name in image_ids]
    missing = [name for name, row in zip(image_ids, rows, strict=True) if row is None]
    if missing:
        raise ValueError(
            f"{path}: no proposals for the image {missing[0]}, nor for "
            f"{len(missing) - 1} others of {len(image_ids)}; the file has "
            f"{len(found)} images"
            + (f", such as {found[0]}" if found else "")
            + ". Are its proposals of this data set?"
        )
    return [row for row in rows if row is not None]


def _number(name: str) -> int | str:
    """Return the number of an id (2008_000008: 2008000008); the id if it has none."""
    digits = name.replace("_", "")
    return int(digits) if digits.isdecimal() else name


def _numbers(values: Any, shape: tuple[int, ...], where: str) -> FloatArray:
    """Convert the values of one image to an array, or raise ValueError."""
    try:
        array = np.asarray(values, np.float32)
        if len(shape) == 2 and array.size and array.shape[1:] != shape[1:]:
            raise ValueError(f"an array of shape {array.shape}")
        array = array.reshape(shape)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{where}: expected boxes of four numbers with a score each, found {error}"
        ) from error
    if not np.isfinite(array).all():
        raise ValueError(f"{where}: a box or a score is not finite; compute them again")
    return np.asarray(array, np.float32)


def _best(
    boxes: FloatArray,
    scores: FloatArray,
    size: npt.NDArray[np.int32],
    most: int,
    where: str,
) -> ScoredBoxes:
    """Select the best boxes of an image, clipped to it; drop inverted boxes.

    A box outside the image is kept without area, as if a network had proposed it.
    """
    if len(boxes) != len(scores):
        raise ValueError(
            f"{where}: expected a score for each box, found {len(boxes)} boxes and "
            f"{len(scores)} scores"
        )
    boxes = boxes.clip(0, np.tile(size, 2).astype(np.float32))
    sound = np.flatnonzero((boxes[:, 2:] >= boxes[:, :2]).all(axis=1))
    order = sound[np.argsort(-scores[sound], kind="stable")][:most]
    return ScoredBoxes(boxes[order], scores[order])
