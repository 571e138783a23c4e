"""The state of a training run, saved to and loaded from checkpoints."""

import dataclasses
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from ..config.settings import Config
from ..datasets.records import KeypointNames
from ..model.network import Network
from ..utils.device import restore_random_states
from ..weights.checkpoint import Counts, DamagedFileError, Snapshot, begin_checkpoint
from ..weights.stored_keypoints import store_keypoints
from .ema import WeightAverage
from .loss_scaling import LossScaling
from .validation import Validation

logger = logging.getLogger(__name__)

_NEEDED = ("optimizer", "generator", "random_states")


@dataclasses.dataclass
class TrainState:
    """Everything that changes during training, and that a checkpoint contains.

    Attributes:
        generator: random number generator of the sampling, so that the samples do not
            depend on other random numbers.
        average: averaged weights; None without ``train.ema``.
        scaling: scale of the loss; None unless in float16.
        validation: past validations; saved by runs that validate.
        iteration: updates done.
        keypoints: names for those who use the detector; None without keypoints.
        class_images: number of training images with each class, for tests.
    """

    model: Network
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    average: WeightAverage | None
    validation: Validation
    counts: Counts = dataclasses.field(default_factory=Counts)
    iteration: int = 0
    keypoints: KeypointNames | None = None
    class_images: tuple[int, ...] = ()
    scaling: LossScaling | None = None

    def gather(self) -> None:
        """Prepare all processes for a save of the main process."""
        gather = getattr(self.optimizer, "gather", None)
        if gather is not None:  # a `ShardedOptimizer`
            gather()

    def begin_save(
        self, path: Path, config: Config, classes: tuple[str, ...]
    ) -> ExitStack:
        """Write a checkpoint that appears when the returned stack is closed.

        Raises:
            OSError: the disk is full or not writable; earlier checkpoints are intact.
        """
        extra: dict[str, object] = {"class_images": list(self.class_images)}
        extra |= {name: part.state_dict() for name, part in self._optional().items()}
        snapshot = Snapshot(
            self.model,
            self.optimizer,
            self.generator,
            self.iteration,
            self.counts,
            extra | store_keypoints(self.keypoints),
        )
        return begin_checkpoint(path, snapshot, config, classes)

    def load(self, state: Mapping[str, Any], path: Path) -> None:
        """Load the content of a checkpoint.

        Raises:
            DamagedFileError: the checkpoint lacks a state that resuming needs, or does
                not match this run; some states may have been loaded.
        """
        missing = [name for name in _NEEDED if name not in state]
        if missing:
            raise DamagedFileError(
                f"{path} has no {', '.join(missing)}: it contains only the weights of "
                "a detector, from which no run can resume"
            )
        try:
            self._load(state, path)
        except Exception as error:
            # Invalid states raise errors of any type: KeyError, TypeError, ...
            line = (str(error).splitlines() or [""])[0]
            raise DamagedFileError(
                f"{path} contains a state from which this run cannot resume "
                f"({type(error).__name__}: {line})"
            ) from error

    def _load(self, state: Mapping[str, Any], path: Path) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        restore_random_states(state["random_states"])
        counts = {key: int(count) for key, count in state.get("counts", {}).items()}
        self.counts = Counts(**counts)
        for name, part in self._optional().items():
            if name in state:  # otherwise the part starts from its initial state
                part.load_state_dict(state[name])
        try:
            self.generator.set_state(state["generator"])
        except RuntimeError:
            # Generators of a CPU and of a GPU cannot read each other's state.
            seed = state["config"]["train"]["seed"] + state["iteration"]
            self.generator.manual_seed(seed)
            logger.warning(
                "%s was saved on another kind of device: sampling continues with new "
                "random numbers",
                path,
            )
        self.iteration = int(state["iteration"])

    def _optional(self) -> dict[str, WeightAverage | Validation | LossScaling]:
        """Return the parts that only some runs have, by name in the checkpoint."""
        parts: dict[str, WeightAverage | Validation | LossScaling] = {}
        if self.scaling is not None:
            parts["scaling"] = self.scaling
        if self.average is not None:
            parts["ema"] = self.average
        if self.validation.dataset is not None:
            parts["validation"] = self.validation
        return parts
