"""Checkpoints of tiny detectors."""

from collections.abc import Sequence
from pathlib import Path

import torch
from faster_rcnn.config.settings import Config
from faster_rcnn.weights.checkpoint import Snapshot, save_checkpoint
from tiny_runs import CLASSES, randomise, tiny_detector
from torch import nn


def save_tiny(path: Path, config: Config, **extra: object) -> Path:
    """Save a checkpoint of a tiny detector that finds much, if nothing sensible."""
    model = tiny_detector(config)
    randomise(model)
    return save_model(path, model, config, extra=extra)


def save_model(
    path: Path,
    model: nn.Module,
    config: Config,
    *,
    classes: Sequence[str] = CLASSES,
    iteration: int = 5,
    optimizer: torch.optim.Optimizer | None = None,
    **given: object,
) -> Path:
    """Save a model as `save_checkpoint` does, by default beside a fresh optimizer."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=1)
    snapshot = Snapshot(model, optimizer, torch.Generator(), iteration, **given)
    save_checkpoint(path, snapshot, config, tuple(classes))
    return path
