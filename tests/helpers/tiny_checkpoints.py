"""Checkpoints of tiny detectors."""

from pathlib import Path

import torch
from faster_rcnn.config.settings import Config
from faster_rcnn.weights.checkpoint import save_checkpoint
from tiny_runs import CLASSES, randomise, tiny_detector


def save_tiny(path: Path, config: Config, **extra: object) -> Path:
    """Save a checkpoint of a tiny detector that finds much, if nothing sensible."""
    model = tiny_detector(config)
    randomise(model)
    save_checkpoint(
        path,
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        generator=torch.Generator(),
        iteration=4,
        config=config,
        classes=CLASSES,
        extra=extra,
    )
    return path
