"""Goes on from a run's newest checkpoint, or from the one before if it is damaged."""

import contextlib
import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ..datasets.records import Dataset
from ..utils.device import restore_random_states
from ..utils.distributed import collectives
from ..weights.checkpoint import (
    CheckpointError,
    Counts,
    DamagedFileError,
    load_checkpoint,
)
from .run_folder import RunFolder

logger = logging.getLogger(__name__)


class Part(Protocol):
    """What only some runs have, and keep in their checkpoints."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""


@dataclasses.dataclass
class Resumable:
    """All that goes on where a checkpoint was saved.

    Attributes:
        model, optimizer, generator: of the run; the generator is the sampling's.
        counts: of the run.
        extra: parts by their name in the checkpoint; one that it lacks starts anew.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    counts: Counts = dataclasses.field(default_factory=Counts)
    extra: Mapping[str, Part] = dataclasses.field(default_factory=dict)

    def restore(self, state: Mapping[str, Any], path: Path) -> None:
        """Take over the content of a checkpoint.

        Args:
            state: as `load_checkpoint` gives it.
            path: where it comes from.

        Raises:
            DamagedFileError: it lacks what resuming needs, or that is not of this run;
                a part may have been taken over.
        """
        needed = ("optimizer", "generator", "random_states")
        missing = [name for name in needed if name not in state]
        if missing:
            raise DamagedFileError(
                f"{path} has no {', '.join(missing)}: it was stripped to what detects, "
                "and no run can go on from it"
            )
        try:
            self._restore(state, path)
        except Exception as error:
            # States of any content make these fail in any way: KeyError, TypeError, ...
            line = (str(error).splitlines() or [""])[0]
            raise DamagedFileError(
                f"{path} holds a state that this run cannot go on from "
                f"({type(error).__name__}: {line})"
            ) from error

    def _restore(self, state: Mapping[str, Any], path: Path) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        restore_random_states(state["random_states"])
        counts = Counts(**state.get("counts", {}))
        for field in dataclasses.fields(counts):
            setattr(self.counts, field.name, int(getattr(counts, field.name)))
        for name, part in self.extra.items():
            if name in state:
                part.load_state_dict(state[name])
        try:
            self.generator.set_state(state["generator"])
        except RuntimeError:
            # Generators of a CPU and of a GPU do not understand each other's state.
            seed = state["config"]["train"]["seed"] + state["iteration"]
            self.generator.manual_seed(seed)
            logger.warning(
                "%s was saved on another kind of device: sampling goes on with new "
                "random numbers",
                path,
            )


def resume(run: RunFolder, parts: Resumable, dataset: Dataset) -> int:
    """Restore the newest checkpoint of the run that can be read, if there is any.

    Checkpoints that cannot are put aside under another name.

    Args:
        run: its folder.
        parts: get their states back.
        dataset: the training set.

    Returns:
        Updates done, 0 if there is no checkpoint.

    Raises:
        ValueError: all checkpoints are damaged, or they are of other classes.
    """
    path: Path | None = None
    iteration = 0
    if collectives.is_main():
        path, iteration = _newest(run, parts, dataset)
    path = collectives.from_main(path)
    if path is None:
        return 0
    if not collectives.is_main():
        # On the main process's word: another machine's folder may lag behind.
        iteration = _open(path, parts, dataset)
    logger.info("resumed from %s", path)
    return iteration


def _newest(
    run: RunFolder, parts: Resumable, dataset: Dataset
) -> tuple[Path | None, int]:
    """Restore the newest sound checkpoint; gives its file and its updates.

    Raises:
        ValueError: as `resume`.
    """
    damaged: list[Path] = []
    for path in reversed(run.checkpoints()):
        try:
            iteration = _open(path, parts, dataset)
        except DamagedFileError as error:
            logger.error("%s", error)
            damaged.append(path)
            continue
        for other in damaged:
            _put_aside(other)
        return path, iteration
    if damaged:
        raise CheckpointError(
            f"every checkpoint in {damaged[0].parent} is damaged; put a copy of one "
            "back, or delete them to start from the first weights"
        )
    return None, 0


def _open(path: Path, parts: Resumable, dataset: Dataset) -> int:
    """Restore a checkpoint; gives its updates."""
    state = load_checkpoint(path)
    if tuple(state["classes"]) != dataset.classes:
        raise ValueError(
            f"{path} was trained on the classes {', '.join(state['classes'][1:])}, but "
            f"{dataset.name} now has {', '.join(dataset.classes[1:])}; give another "
            "--tag for a new run"
        )
    parts.restore(state, path)
    return int(state["iteration"])


def _put_aside(path: Path) -> None:
    """Rename what cannot be read, so that it is kept and no longer counts."""
    aside, number = path.with_name(path.name + ".damaged"), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged{number}")
    with contextlib.suppress(OSError):
        path.replace(aside)
        logger.error("kept it as %s, and go back to the one before", aside.name)
