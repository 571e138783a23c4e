"""Load a detector from any file: ours, published, or another program's."""

from pathlib import Path
from typing import Any

from torch import Tensor

from ...config.loading import ConfigError, config_from_checkpoint
from ...config.recipes import find_recipes
from ...model.build import build_detector
from ...utils.shape_only import shape_only
from ..checkpoint import (
    FORMAT,
    CheckpointError,
    check_checkpoint,
    detector_weights,
)
from ..class_names import read_classes
from ..imported import ImportedWeights
from ..layout_check import few
from ..recognition import read_file, recognise_weights
from ..writing import detector_state
from .cache import locate


def open_checkpoint(path_or_name: str | Path) -> dict[str, Any]:
    """Load a detector's file in the form that `load_checkpoint` returns.

    Args:
        path_or_name: a checkpoint of a run, a file of ``frcnn publish``, a detector of
            another program that the importers read, or a name from docs/zoo.md, which
            is downloaded. Class names of detectors of other programs are VOC's or
            COCO's, by their number.

    Returns:
        ``config``, ``classes``, ``model`` and more; on the CPU. The weights fit the
        detector that the configuration describes.

    Raises:
        CheckpointError: there is no such file or name, or it cannot be downloaded, is
            damaged, unknown, or contains only a backbone.
        ConfigError: the configuration inside is invalid.
    """
    path = locate(path_or_name)
    content = read_file(path)
    if content.get("format") == FORMAT:
        state = check_checkpoint(content, path)
        _check_fit(state, path)
        return state
    weights = recognise_weights(content, str(path))
    if weights.num_classes is None:
        raise CheckpointError(
            f"{path} contains {weights.kind}: only a backbone, which detects nothing; "
            "train with it by --weights, or give a detector"
        )
    try:
        classes = list(weights.classes or read_classes(None, weights.num_classes))
    except CheckpointError as error:
        raise CheckpointError(
            f"{path}: {error}, to frcnn convert {path} --output FILE, and "
            "take that file"
        ) from error
    state = detector_state(weights, recipes=_recipes(weights, classes), classes=classes)
    _check_fit(state, path)
    return state


def _recipes(weights: ImportedWeights, classes: list[str]) -> list[Path]:
    """Return the recipes of the data set that has this number of classes."""
    dataset = {21: "voc", 81: "coco", 91: "coco"}.get(len(classes), "")
    features = weights.settings.get("net.features", "c4")
    net = weights.net if features == "c4" else f"{weights.net}_{features}"
    return find_recipes(dataset, net)


def _check_fit(state: dict[str, Any], path: Path) -> None:
    """Compare the weights with the configuration, without allocating memory.

    A configuration alone can request any amount; weights are as large as their file.
    """
    config = config_from_checkpoint(state, [])
    try:
        with shape_only():
            shapes = build_detector(config, len(state["classes"])).state_dict()
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"{path}: its settings make no detector: {error}") from error
    weights = detector_weights(state, averaged=True)
    faults = [
        f"{key} is {_shape(weights.get(key))}, expected {tuple(tensor.shape)}"
        for key, tensor in shapes.items()
        if _shape(weights.get(key)) != tuple(tensor.shape)
    ]
    faults += [f"{key} is unknown" for key in weights.keys() - shapes.keys()]
    if faults:
        raise CheckpointError(
            f"{path}: its weights do not fit the detector that its settings describe: "
            f"{len(faults)} faults ({few(faults)}); the file is damaged"
        )


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)
