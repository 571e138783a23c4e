"""Build a network with its weights from a path or a name."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.loading import config_from_checkpoint
from ..config.settings import Config
from ..engine.run_folder import RunFolder
from ..model.build import build_detector
from ..model.network import Network
from ..utils.shape_only import WithoutDraws
from ..weights.checkpoint import CheckpointError, detector_weights
from ..weights.layout_check import check_fit
from .running import FILE_SUFFIXES


def find_checkpoint(path_or_name: str | Path) -> Path:
    """Find the checkpoint file for a path or a name.

    Args:
        path_or_name: a file; a run's folder, whose best checkpoint is used, or its
            newest if there was no validation; or a name from the model zoo.

    Raises:
        CheckpointError: there is no such file.
        ValueError: the folder has no checkpoints, or the name is unknown.
    """
    path = Path(path_or_name).expanduser()
    if path.is_dir():
        run = RunFolder(path.parent if path.name == "checkpoints" else path)
        return run.best_or_newest()
    if path.exists():
        return path
    text = os.fspath(path_or_name)
    is_path = isinstance(path_or_name, Path) or text[:1] in (".", "/", "~")
    is_file = path.suffix in (".pth", *FILE_SUFFIXES)
    if is_path or is_file:  # names of the zoo may have a slash
        raise CheckpointError(
            f"{text} does not exist; give a .pth file, a file of frcnn export, a run's "
            "folder, or a name from the model zoo"
        )
    from ..weights.zoo import fetch

    return Path(fetch(text))


def open_detector(
    source: Path, state: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[Network, Config, tuple[str, ...]]:
    """Build the network of a checkpoint.

    Args:
        source: the file, for error messages.
        state: its content, as ``weights.zoo.open_checkpoint`` returns it.
        overrides: ``SECTION.KEY``, value, ...: overrides of its configuration.

    Returns:
        The network on the CPU and in evaluation mode, its configuration, and the
        classes, background first.

    Raises:
        CheckpointError: the weights belong to another network.
        ConfigError: a key or value is invalid.
    """
    classes = tuple(state["classes"])
    config = config_from_checkpoint(state, overrides)
    if not config.net.whole:
        raise CheckpointError(
            f"{source} contains one module of a detector (net.modules "
            f"{config.net.modules}), expected both; test it by frcnn test, or join two "
            "by frcnn alternating"
        )
    weights = detector_weights(state, averaged=config.train.ema > 0)
    advice = "leave out overrides that change the network"
    check_fit(weights, config, len(classes), source=source, remedy=advice)
    with WithoutDraws():
        model = build_detector(config, len(classes))
    model.load_state_dict(weights)
    return model.requires_grad_(False).eval(), config, classes
