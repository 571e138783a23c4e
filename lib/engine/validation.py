"""Validation during training: the schedule, the best checkpoint, early stopping."""

import logging
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch

from ..config.settings import Config
from ..datasets.agreement import same_pictures, with_known_classes
from ..datasets.catalog import load_dataset, wanted_by
from ..datasets.formats.proposals import GivenProposals
from ..datasets.given_proposals import given_proposals
from ..datasets.records import Dataset
from ..model.network import Network
from ..utils.distributed import collectives
from ..utils.monitoring.slow_steps import slow_step
from .ema import WeightAverage, weights_to_test
from .validation_metrics import ValidationMetrics, measure

logger = logging.getLogger(__name__)


def validates(config: Config) -> bool:
    """Return whether a run validates."""
    train = config.train
    return bool(train.validate_every or train.validate_epochs)


_ASKING = {"train.validate_every", "train.validate_epochs", "train.patience"}
"""Keys with which the command line requests validation."""


def settle_validation(config: Config, given: Collection[str]) -> Config:
    """Turn off a recipe's validation if the run cannot validate.

    That is the case without a validation set, and for a module alone, whose metric is
    not AP. Validation that the command line requests stays on, and becomes an error.

    Args:
        given: keys that the command line sets, ``section.key``.
    """
    whole = config.net.whole or "data.val_set" in given
    if _ASKING & {*given} or (whole and config.data.val_set is not None):
        return config
    return _without_validation(config)


def resume_without_validation(
    config: Config, given: Collection[str], recorded: Config | None
) -> Config:
    """Resume a run that began without a validation set without validation.

    It began before folders were validated on their split val, or before this folder had
    one; and it may train on those images.

    Args:
        given: keys that the command line sets, ``section.key``.
        recorded: configuration when the run began; None for a new run.
    """
    began_without = recorded is not None and recorded.data.val_set is None
    if not began_without or (_ASKING | {"data.val_set"}) & {*given}:
        return config
    data = config.data.model_copy(update={"val_set": None})
    return _without_validation(config.model_copy(update={"data": data}))


def _without_validation(config: Config) -> Config:
    changes = {"validate_every": 0, "validate_epochs": None, "patience": 0}
    train = config.train.model_copy(update=changes)
    return config.model_copy(update={"train": train})


def log_validation(
    config: Config, validation_set: Dataset | None, test_set: Dataset
) -> None:
    """Log the validation set of a run, or that the run does not validate."""
    if validation_set is not None:
        logger.info(
            "validation on %s: %d images, every %d iterations; the best checkpoint is "
            "kept as best.pth",
            validation_set.name,
            len(validation_set.records),
            config.train.validate_every,
        )
        if same_pictures(validation_set, test_set):
            logger.warning(
                "there is no other test set, so the test uses the same images: the "
                "best checkpoint is chosen on them, and the test is optimistic"
            )
        return
    why = "train.validate_every is 0"
    if config.data.val_set is None:
        why = "there is no validation set (data.val_set)"
    logger.info("no validation: %s, so the last checkpoint is the one to test", why)


def get_validation_set(config: Config, train_set: Dataset) -> Dataset | None:
    """Read ``data.val_set``; None if a run does not validate.

    Raises:
        ValueError: validation is requested without a set, or early stopping without
            validation; or the set is invalid, or has other classes.
    """
    train, name = config.train, config.data.val_set
    if not validates(config):
        if train.patience:
            raise ValueError(
                f"train.patience {train.patience} counts validations, but the run "
                "makes none; set train.validate_every and data.val_set"
            )
        return None
    if name is None:
        raise ValueError(
            "train.validate_every needs data.val_set: the name of a set, such as "
            "voc_2007_val, or the path of a folder that has a split val"
        )
    with collectives.main_first():
        found = load_dataset(
            name,
            root=config.data.root,
            split="val",
            classes=config.data.classes,
            wanted=wanted_by(config),
        )
    found = with_known_classes(found, train_set)
    if found.classes != train_set.classes:
        raise ValueError(
            f"data.val_set {name} has the classes {', '.join(found.classes[1:])}, but "
            f"{train_set.name} has {', '.join(train_set.classes[1:])}; validate on a "
            "set of the same classes"
        )
    if not found.records:
        raise ValueError(f"data.val_set {name} has no images; name another set")
    _check_best_by(config, found)
    return found


def _check_best_by(config: Config, validation_set: Dataset) -> None:
    """Raise an error if no validation can have the figure of ``train.best_by``."""
    best_by = config.train.best_by
    masks = config.mask.enabled and validation_set.has_masks
    keypoints = config.keypoint.enabled and validation_set.keypoints is not None
    if (best_by == "segm" and not masks) or (best_by == "keypoints" and not keypoints):
        raise ValueError(
            f"train.best_by {best_by} needs a detector and a validation set with them, "
            f"found mask.enabled {config.mask.enabled}, keypoint.enabled "
            f"{config.keypoint.enabled}, and {validation_set.name} with masks: "
            f"{validation_set.has_masks}, keypoints: "
            f"{validation_set.keypoints is not None}; set train.best_by ap"
        )


_SAVED = ("last", "best", "best_iteration", "without_gain")
"""The attributes of a `Validation` that a checkpoint keeps."""


class Validation:
    """Validate the detector at intervals, and keep track of the best result.

    Each process validates on a part of the images, and all get the same results.

    Args:
        dataset: the validation set; None to never validate.

    Attributes:
        last: updates done at the last validation.
        best: its metric, larger is better; None before the first validation.
        best_iteration: updates done at the best validation.
        without_gain: number of validations since then.
    """

    def __init__(
        self,
        dataset: Dataset | None,
        config: Config,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.dataset = dataset
        self.proposals: GivenProposals | None = None
        if dataset is not None:
            self.proposals = given_proposals(dataset, config, "val")
        self.config = config
        self.device = device
        self.dtype = dtype
        self.last = 0
        self.best: float | None = None
        self.best_iteration = 0
        self.without_gain = 0

    def due(self, done: int) -> bool:
        """Return whether a validation is due after ``done`` updates, not yet done."""
        train = self.config.train
        if self.dataset is None or not train.validate_every or done == self.last:
            return False
        return done % train.validate_every == 0 or done == train.iterations

    def measure(
        self,
        model: Network,
        average: WeightAverage | None,
        *,
        stop_requested: Callable[[], object] = lambda: False,
    ) -> ValidationMetrics | None:
        """Compute losses and AP of the weights that a test would use.

        Args:
            model: in training mode; its state is kept to the bit.
            average: averaged weights, to use instead of the model's.
            stop_requested: called before each batch.

        Returns:
            The same on all processes; None if any was asked to stop.
        """
        assert self.dataset is not None
        images = len(self.dataset.records)
        validating = slow_step(f"validating on {images} images")
        with weights_to_test(model, average), validating:
            measures = measure(
                model,
                self.dataset,
                self.config,
                device=self.device,
                dtype=self.dtype,
                stop_requested=stop_requested,
                proposals=self.proposals,
            )
        model.train()
        return measures

    def take(self, done: int, measures: ValidationMetrics) -> bool:
        """Count a validation after ``done`` updates; return whether it is the best."""
        metric = measures.figure(self.config.train.best_by)
        better = not math.isnan(metric) and (self.best is None or metric > self.best)
        self.last = done
        self.without_gain = 0 if better else self.without_gain + 1
        if better:
            self.best, self.best_iteration = metric, done
        return better

    @property
    def exhausted(self) -> bool:
        """Return whether early stopping is due."""
        return 0 < self.config.train.patience <= self.without_gain

    def state_dict(self) -> dict[str, Any]:
        """Return the state to store in a checkpoint."""
        return {name: getattr(self, name) for name in _SAVED}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        for name in _SAVED:
            setattr(self, name, state[name])

    def summary(self, measures: ValidationMetrics) -> str:
        """Return a line for the log, after `take`."""
        name, value = measures.headline
        line = f"validation after {self.last} iterations: loss {measures.loss:.4f}, "
        line += f"{name} {value:.4f}"
        for task in ("segm", "keypoints"):
            if (name := f"{task}/AP") in measures.scores:
                line += f", {name} {measures.scores[name]:.4f}"
        if self.best_iteration == self.last:
            return f"{line}, the best so far"
        if self.best is None:
            return line
        return f"{line}; the best was after {self.best_iteration}"
