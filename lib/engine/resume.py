"""Resume from a run's newest checkpoint, or an earlier one if that is damaged."""

import contextlib
import logging
from pathlib import Path

from ..datasets.records import Dataset
from ..utils.distributed import collectives
from ..weights.checkpoint import CheckpointError, DamagedFileError, load_checkpoint
from .run_folder import RunFolder
from .train_state import TrainState

logger = logging.getLogger(__name__)


def resume(run: RunFolder, state: TrainState, dataset: Dataset) -> None:
    """Load the newest readable checkpoint of the run, if there is any.

    Checkpoints that cannot be read are renamed and kept.

    Args:
        state: state of the run; unchanged if there is no checkpoint.

    Raises:
        ValueError: all checkpoints are damaged, or they have other classes.
    """
    path: Path | None = None
    if collectives.is_main():
        path = _load_newest(run, state, dataset)
    path = collectives.from_main(path)
    if path is None:
        return
    if not collectives.is_main():
        # The main process decides: the folder on another machine may lag behind.
        _load(path, state, dataset)
    logger.info("resumed from %s", path)


def _load_newest(run: RunFolder, state: TrainState, dataset: Dataset) -> Path | None:
    """Load the newest undamaged checkpoint, and return its file."""
    damaged: list[Path] = []
    for path in reversed(run.checkpoints()):
        try:
            _load(path, state, dataset)
        except DamagedFileError as error:
            logger.error("%s", error)
            damaged.append(path)
            continue
        for other in damaged:
            _put_aside(other)
        return path
    if damaged:
        raise CheckpointError(
            f"every checkpoint in {damaged[0].parent} is damaged; put a copy of one "
            "back, or delete them to start from the initial weights"
        )
    return None


def _load(path: Path, state: TrainState, dataset: Dataset) -> None:
    content = load_checkpoint(path)
    if tuple(content["classes"]) != dataset.classes:
        raise ValueError(
            f"{path} was trained on the classes {', '.join(content['classes'][1:])}, "
            f"but {dataset.name} now has {', '.join(dataset.classes[1:])}; give "
            "another --tag for a new run"
        )
    state.load(content, path)


def _put_aside(path: Path) -> None:
    """Rename an unreadable checkpoint, so that it is kept but no longer counts."""
    aside, number = path.with_name(path.name + ".damaged"), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged{number}")
    with contextlib.suppress(OSError):
        path.replace(aside)
        logger.error("kept as %s; resuming from the previous checkpoint", aside.name)
