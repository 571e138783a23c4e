"""Output layers of a detector by class name: each class gets the row of its name.

Letters: C classes of the new detector, background being class 0; K classes of the
file; A anchors per cell of a one-stage detector.
"""

import logging
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .checkpoint import CheckpointError
from .class_names import read_classes
from .imported import ImportedWeights

logger = logging.getLogger(__name__)

_BOXES = re.compile(r"(box_head\.(?:stage\.\d+\.)?predictor\.(scores|deltas))\.weight")
_MASKS, _DENSE = "mask_head.predictor", "dense_head.predictor"
_SHOWN = 10  # classes per line of the log


def rows_by_name(
    state: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    known: Sequence[str] | None,
    wanted: Sequence[str],
    *,
    source: str,
) -> dict[str, Tensor]:
    """Return a file's state with output layers that fit a detector of other classes.

    A class that both have keeps its scores and, unless they are class-agnostic, its
    boxes and masks; the others keep their values in ``own``. Without a common class the
    layers start anew, background included. Class-agnostic boxes and masks belong to no
    class, and are kept.

    Args:
        state: tensors of the file, by the keys of the detector's state dict.
        own: tensors of the new detector.
        known: K class names of the file, background first; None if unknown.
        wanted: C class names of the detector, background first.
    """
    taken = dict(state)
    # Anchors of each layer, and outputs of each class.
    layers = {
        found[1]: (1, 4 if found[2] == "deltas" else 1)
        for found in map(_BOXES.fullmatch, own)
        if found is not None
    }
    if f"{_DENSE}.deltas.bias" in own:
        layers = {f"{_DENSE}.scores": (len(own[f"{_DENSE}.deltas.bias"]) // 4, 1)}
    elif f"{_MASKS}.weight" in state and f"{_MASKS}.weight" in own:
        layers[_MASKS] = (1, 1)
    if not layers or any(f"{layer}.weight" not in state for layer in layers):
        return taken
    rows = {name: row for row, name in enumerate(known or ())}
    kept = [name for name in wanted[1:] if name in rows]
    pairs = [(i, rows[n]) for i, n in enumerate(wanted) if n in rows] if kept else []
    for layer, (anchors, size) in layers.items():
        for key in (f"{layer}.weight", f"{layer}.bias"):
            theirs, ours = state[key], own[key]
            alone = 4 if size == 4 else 1 if layer == _MASKS else None
            agnostic = alone in (len(theirs), len(ours))  # rows of all classes
            if agnostic or theirs.shape[1:] != ours.shape[1:] or len(theirs) % anchors:
                continue  # fits already, or cannot fit
            made = ours.clone().view(anchors, -1, size, *ours.shape[1:])
            found = theirs.to(made).reshape(anchors, -1, *made.shape[2:])
            if pairs:
                to, of = torch.tensor(pairs, device=made.device).unbind(1)
                made[:, to] = found[:, of]
            taken[key] = made.flatten(0, 2)
    _log_rows(kept, known, wanted, source)
    return taken


def known_classes(weights: ImportedWeights) -> Sequence[str] | None:
    """Return the names of a file's classes: its own, or VOC's or COCO's by number.

    Raises:
        CheckpointError: names and output rows differ in number.
    """
    count = weights.num_classes or 0
    if weights.classes is None:
        try:
            return read_classes(None, count, persons=weights.of_persons)
        except CheckpointError:
            return None
    if len(weights.classes) != count:
        raise CheckpointError(
            f"{weights.source}: expected names of its {count} classes, found "
            f"{len(weights.classes)}; the file is damaged"
        )
    return weights.classes


def _log_rows(
    kept: Sequence[str], known: Sequence[str] | None, wanted: Sequence[str], source: str
) -> None:
    if known is None:
        logger.warning(
            "%s does not contain the names of its classes, so all output rows are new; "
            "frcnn convert FILE --classes NAMES writes a file that does",
            source,
        )
        return
    new = [name for name in wanted[1:] if name not in set(kept)]
    dropped = [name for name in known[1:] if name not in set(kept)]
    logger.log(
        logging.INFO if kept else logging.WARNING,
        "output rows by class name: kept %s; new %s; dropped %s",
        *map(_names, (kept, new, dropped)),
    )


def _names(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    text = ", ".join(name[:40] for name in names[:_SHOWN]) or "none"
    return f"{text} and {more} more" if more > 0 else text
