"""Initial weights of a detector, or of one of its modules alone."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..config.loading import config_from_checkpoint
from ..config.settings import Config
from ..model.build import build_detector
from ..model.faster_rcnn import FasterRCNN
from ..model.single_module import shared_keys
from . import load_initial_weights
from .checkpoint import CheckpointError, detector_weights, load_checkpoint
from .output_rows import rows_by_name

logger = logging.getLogger(__name__)


def load_first_weights(
    model: FasterRCNN, config: Config, classes: Sequence[str]
) -> None:
    """Load the weights that ``net.weights`` names into a new detector.

    A module alone gets its part of what the whole detector would get. From a checkpoint
    of the other module it gets the layers that both share; its own layers stay random.

    Args:
        model: from `build_detector`.
        config: configuration of the run.
        classes: C class names, background first.

    Raises:
        CheckpointError: see `load_initial_weights`; or the checkpoint has another net.
    """
    net = config.net
    if net.modules == "both" or net.weights == "none":
        load_initial_weights(model, net, classes)
        return
    state = _own_checkpoint(Path(net.weights).expanduser())
    if state is not None:
        _take(model, state, config, classes)
        return
    both = net.model_copy(update={"modules": "both"})
    with torch.random.fork_rng(devices=()):
        whole = build_detector(config.model_copy(update={"net": both}), len(classes))
        load_initial_weights(whole, both, classes)
    model.load_state_dict(
        {k: v for k, v in whole.state_dict().items() if k in model.state_dict()}
    )


def _own_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint of this program; None for any other file, or none."""
    if not path.is_file():
        return None
    try:
        return load_checkpoint(path)
    except CheckpointError:
        return None  # the importer of other weights reports what the file is


def _take(
    model: FasterRCNN, state: dict[str, Any], config: Config, classes: Sequence[str]
) -> None:
    """Load the tensors that a checkpoint and the detector have in common."""
    net, source = config.net, config.net.weights
    other = config_from_checkpoint(state, []).net
    if (other.full_name, other.style) != (net.full_name, net.style):
        raise CheckpointError(
            f"{source} holds a detector with the net {other.full_name} (style "
            f"{other.style}), asked for was {net.full_name} (style {net.style}); give "
            f"NET as {other.full_name}, or another file"
        )
    own = model.state_dict()
    found = detector_weights(state, averaged=True)
    weights = {
        key: tensor
        for key, tensor in rows_by_name(
            found, own, state["classes"], classes, source=source
        ).items()
        if key in own and own[key].shape == tensor.shape
    }
    missing = sorted(shared_keys(model) - weights.keys())
    if missing:
        raise CheckpointError(
            f"{source} does not fit the trunk of this detector: {len(missing)} tensors "
            f"are missing or of another shape, such as {missing[0]}"
        )
    model.load_state_dict(weights, strict=False)
    left = sorted({key.rpartition(".")[0] for key in own.keys() - weights.keys()})
    logger.info("weights from %s: %d tensors", source, len(weights))
    if left:
        logger.info("not in it, left random: %s", ", ".join(left))
