"""Join the two modules of the alternating training into one detector."""

from pathlib import Path
from typing import Any

import torch

from ..config.loading import config_from_checkpoint
from ..config.settings import Config
from ..model.build import build_detector
from ..utils.shape_only import WithoutDraws
from ..weights.checkpoint import (
    CheckpointError,
    Snapshot,
    detector_weights,
    load_checkpoint,
    save_checkpoint,
)
from .run_folder import RunFolder
from .solver import build_optimizer


def join_modules(rpn: Path, fast_rcnn: Path, run: RunFolder, *, iteration: int) -> Path:
    """Join a proposal network and a Fast R-CNN of one backbone into a checkpoint.

    Args:
        iteration: updates of all steps together.

    Raises:
        CheckpointError: the checkpoints are of other modules, have different classes,
            or do not share their backbone.
        ConfigError: the folder belongs to another run.
    """
    states = {"rpn": load_checkpoint(rpn), "fast_rcnn": load_checkpoint(fast_rcnn)}
    for modules, state in states.items():
        found = config_from_checkpoint(state, []).net.modules
        if found != modules:
            raise CheckpointError(
                f"{rpn if modules == 'rpn' else fast_rcnn}: expected a checkpoint with "
                f"net.modules {modules}, found {found}"
            )
    own, other = (tuple(state["classes"]) for state in states.values())
    if own != other:
        raise CheckpointError(
            f"{rpn} knows the classes {', '.join(own[1:])}, but {fast_rcnn} "
            f"{', '.join(other[1:])}; train both on one data set"
        )
    config = _joined_config(states["fast_rcnn"], iteration)
    with WithoutDraws():
        model = build_detector(config, len(own))
    first, second = (detector_weights(s, averaged=True) for s in states.values())
    for key in sorted(model.shared_keys()):
        if not (key in first and key in second and first[key].equal(second[key])):
            raise CheckpointError(
                f"{rpn} and {fast_rcnn} do not share their backbone: {key} differs; "
                "train both from the same weights with net.fixed_shared true"
            )
    model.load_state_dict(first | second)
    run.claim(config)
    path = run.checkpoint(iteration)
    # In this one process the state is whole, as it is in every checkpoint.
    whole = config.train.model_copy(update={"shard_optimizer": False})
    optimizer = build_optimizer(model, whole)
    snapshot = Snapshot(model, optimizer, torch.Generator(), iteration)
    save_checkpoint(path, snapshot, config, own)
    return path


def _joined_config(state: dict[str, Any], iteration: int) -> Config:
    """Return the last step's configuration without the settings of a module alone."""
    config = config_from_checkpoint(state, [])
    train = {"iterations": iteration}
    none = {"proposals": None, "test_proposals": None, "val_proposals": None}
    return config.model_copy(
        update={
            "net": config.net.model_copy(update={"modules": "both"}),
            "data": config.data.model_copy(update=none),
            "train": config.train.model_copy(update=train),
        }
    )
