"""Goes on from a run's newest checkpoint, or from the one before if it is damaged."""

import contextlib
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..datasets.records import Dataset
from ..utils import distributed
from .checkpoint import CheckpointError, DamagedFileError, load_checkpoint
from .device import restore_random_states
from .run_folder import RunFolder

logger = logging.getLogger(__name__)


def resume(
    run: RunFolder,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    dataset: Dataset,
) -> tuple[int, dict[str, Any]]:
    """Restore the newest checkpoint of the run that can be read, if there is any.

    Args:
        run: its folder.
        model, optimizer, generator: get their states back.
        dataset: the training set.

    Returns:
        Updates done, and the checkpoint's content, empty if there is none.

    Raises:
        ValueError: all checkpoints are damaged, or they are of other classes.
    """
    path, state = _newest(run)
    if path is None:
        return 0, {}
    # On the main process's word: another machine's folder may lag behind.
    state = state or load_checkpoint(path)
    if tuple(state["classes"]) != dataset.classes:
        raise ValueError(
            f"{path} was trained on the classes {', '.join(state['classes'][1:])}, but "
            f"{dataset.name} now has {', '.join(dataset.classes[1:])}; give another "
            "--tag for a new run"
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    restore_random_states(state["random_states"])
    iteration: int = state["iteration"]
    try:
        generator.set_state(state["generator"])
    except RuntimeError:
        # Generators of a CPU and of a GPU do not understand each other's state.
        generator.manual_seed(state["config"]["train"]["seed"] + iteration)
        logger.warning(
            "%s was saved on another kind of device: sampling goes on with new random "
            "numbers",
            path,
        )
    logger.info("resumed from %s", path)
    return iteration, state


def _newest(run: RunFolder) -> tuple[Path | None, dict[str, Any] | None]:
    """The newest sound checkpoint, and on the main process its content.

    Damaged ones are put aside under another name.

    Raises:
        CheckpointError: all are damaged.
    """
    if not distributed.is_main():
        return distributed.from_main(None), None
    damaged: list[Path] = []
    found: tuple[Path, dict[str, Any]] | None = None
    for path in reversed(run.checkpoints()):
        try:
            found = path, load_checkpoint(path)
            break
        except DamagedFileError as error:
            logger.error("%s", error)
            damaged.append(path)
    if damaged and found is None:
        raise CheckpointError(
            f"every checkpoint in {damaged[0].parent} is damaged; put a copy of one "
            "back, or delete them to start from the first weights"
        )
    for path in damaged:
        aside = path.with_name(path.name + ".damaged")
        with contextlib.suppress(OSError):
            path.replace(aside)
            logger.error("kept it as %s, and go back to the one before", aside.name)
    distributed.from_main(found and found[0])
    return found or (None, None)
