"""From a path or a name to a network with its weights."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config.loading import Config, config_from_checkpoint
from ..engine.run_folder import RunFolder
from ..model.build import build_detector
from ..model.faster_rcnn import FasterRCNN
from ..utils.weightless import weightless
from ..weights.checkpoint import CheckpointError, detector_weights


def find_checkpoint(path_or_name: str | Path) -> Path:
    """The checkpoint that is meant.

    Args:
        path_or_name: a file; a run's folder, of which the best checkpoint is taken, or
            the newest one if there was no validation; or a name of the model zoo.

    Raises:
        CheckpointError: there is no such file.
        ValueError: a folder without checkpoints, or an unknown name.
    """
    path = Path(path_or_name).expanduser()
    if path.is_dir():
        run = RunFolder(path.parent if path.name == "checkpoints" else path)
        best = run.best_checkpoint
        return best if best.is_file() else run.newest_checkpoint()
    if path.exists():
        return path
    text = os.fspath(path_or_name)
    # Names of the zoo may have a slash, torchvision/...
    if (
        isinstance(path_or_name, Path)
        or path.suffix == ".pth"
        or text[:1] in (".", "/", "~")
    ):
        raise CheckpointError(
            f"{text} is not there; give a .pth file, the folder of a run, or a name of "
            "the model zoo"
        )
    from ..weights.zoo import fetch

    return Path(fetch(text))


def open_detector(
    source: Path, state: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[FasterRCNN, Config, tuple[str, ...]]:
    """Rebuild the network of a checkpoint.

    Args:
        source: the file, for errors.
        state: its content, as ``weights.zoo.open_checkpoint`` gives it.
        overrides: ``SECTION.KEY``, value, ... on top of its configuration.

    Returns:
        The network on the CPU and in evaluation mode, its configuration, and the
        classes, background first.

    Raises:
        CheckpointError: the weights are of another network.
        ConfigError: a key or value is not valid.
    """
    classes = tuple(state["classes"])
    config = config_from_checkpoint(state, overrides)
    if config.net.modules != "both":
        raise CheckpointError(
            f"{source} holds one module of a detector (net.modules "
            f"{config.net.modules}), expected both; frcnn test tests it, and "
            "frcnn alternating joins two"
        )
    weights = detector_weights(state, averaged=config.train.ema > 0)
    # Compared without memory first: whoever made the file chose the sizes.
    with weightless():
        shapes = build_detector(config, len(classes)).state_dict()
    _check_fit(source, shapes, weights)
    # The weights that it is built with are drawn from the program's random numbers.
    with torch.random.fork_rng(devices=[]):
        model = build_detector(config, len(classes))
    model.load_state_dict(weights)
    return model.requires_grad_(False).eval(), config, classes


def _check_fit(
    source: Path, shapes: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> None:
    """Compare names and shapes.

    Raises:
        CheckpointError: they differ.
    """
    differing = [f"{name} is missing" for name in shapes.keys() - weights.keys()]
    differing += [f"{name} is unknown" for name in weights.keys() - shapes.keys()]
    differing += [
        f"{name} is {tuple(weights[name].shape)}, not {tuple(shapes[name].shape)}"
        for name in shapes.keys() & weights.keys()
        if weights[name].shape != shapes[name].shape
    ]
    if differing:
        shown = "; ".join(sorted(differing)[:3])
        raise CheckpointError(
            f"{source} does not fit the network that its configuration and the "
            f"overrides describe ({shown}; {len(differing)} in all); leave out "
            "overrides that change the network"
        )
