"""The state of a training run: saved whole, loaded whole."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..config.settings import Config
from ..model.network import Network
from ..utils.device import restore_random_states
from ..weights.checkpoint import Counts, DamagedFileError, save_checkpoint
from .ema import WeightAverage
from .validation import Validation

logger = logging.getLogger(__name__)

_NEEDED = ("optimizer", "generator", "random_states")


@dataclasses.dataclass
class TrainState:
    """All that changes from update to update, and that a checkpoint holds.

    Attributes:
        model: the detector.
        optimizer: of its parameters.
        generator: of the sampling, which so does not depend on what else draws random
            numbers.
        average: of the weights; None without ``train.ema``.
        validation: past validations; saved by runs that validate.
        counts: of the run.
        iteration: updates done.
    """

    model: Network
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    average: WeightAverage | None
    validation: Validation
    counts: Counts = dataclasses.field(default_factory=Counts)
    iteration: int = 0

    def save(self, path: Path, config: Config, classes: tuple[str, ...]) -> None:
        """Write a checkpoint.

        Args:
            path: the file; it appears whole or not at all.
            config: of the run.
            classes: names, background first.

        Raises:
            OSError: the disk is full or not writable; earlier checkpoints are intact.
        """
        save_checkpoint(
            path,
            model=self.model,
            optimizer=self.optimizer,
            generator=self.generator,
            iteration=self.iteration,
            config=config,
            classes=classes,
            counts=self.counts,
            extra={name: part.state_dict() for name, part in self._optional().items()},
        )

    def load(self, state: Mapping[str, Any], path: Path) -> None:
        """Take over the content of a checkpoint.

        Args:
            state: as `load_checkpoint` gives it.
            path: the file it was read from.

        Raises:
            DamagedFileError: the checkpoint lacks what resuming needs, or is not of
                this run; a part of it may have been taken over.
        """
        missing = [name for name in _NEEDED if name not in state]
        if missing:
            raise DamagedFileError(
                f"{path} has no {', '.join(missing)}: it was stripped to what detects, "
                "and no run can go on from it"
            )
        try:
            self._load(state, path)
        except Exception as error:
            # States of any content make these fail in any way: KeyError, TypeError, ...
            line = (str(error).splitlines() or [""])[0]
            raise DamagedFileError(
                f"{path} holds a state that this run cannot go on from "
                f"({type(error).__name__}: {line})"
            ) from error

    def _load(self, state: Mapping[str, Any], path: Path) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        restore_random_states(state["random_states"])
        counts = {key: int(count) for key, count in state.get("counts", {}).items()}
        self.counts = Counts(**counts)
        for name, part in self._optional().items():
            if name in state:  # else it starts anew
                part.load_state_dict(state[name])
        try:
            self.generator.set_state(state["generator"])
        except RuntimeError:
            # Generators of a CPU and of a GPU cannot read each other's state.
            seed = state["config"]["train"]["seed"] + state["iteration"]
            self.generator.manual_seed(seed)
            logger.warning(
                "%s was saved on another kind of device: sampling goes on with new "
                "random numbers",
                path,
            )
        self.iteration = int(state["iteration"])

    def _optional(self) -> dict[str, WeightAverage | Validation]:
        """Parts that only some runs have, by their name in the checkpoint."""
        parts: dict[str, WeightAverage | Validation] = {}
        if self.average is not None:
            parts["ema"] = self.average
        if self.validation.dataset is not None:
            parts["validation"] = self.validation
        return parts
