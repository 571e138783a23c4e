"""Load a detector from any file: ours, published, or another program's."""

from pathlib import Path
from typing import Any

from ...config.loading import config_from_checkpoint
from ...config.recipes import find_recipes
from ..checkpoint import FORMAT, CheckpointError, check_checkpoint, detector_weights
from ..class_names import read_classes
from ..layout_check import check_fit
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
        return _fitting(check_checkpoint(content, path), path)
    weights = recognise_weights(content, str(path))
    if weights.num_classes is None:
        raise CheckpointError(
            f"{path} contains {weights.kind}: only a backbone, which detects nothing; "
            "train with it by --weights, or give a detector"
        )
    try:
        classes = list(
            weights.classes
            or read_classes(None, weights.num_classes, persons=weights.of_persons)
        )
    except CheckpointError as error:
        raise CheckpointError(
            f"{path}: {error}, to frcnn convert {path} --output FILE, and "
            "take that file"
        ) from error
    # The recipes of the data set that has this number of classes.
    dataset = {21: "voc", 81: "coco", 91: "coco"}.get(len(classes), "")
    recipes = find_recipes(dataset, weights.full_net)
    return _fitting(detector_state(weights, recipes=recipes, classes=classes), path)


def _fitting(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a checkpoint whose weights fit the detector that its settings describe."""
    check_fit(
        detector_weights(state, averaged=True),
        config_from_checkpoint(state, []),
        len(state["classes"]),
        source=path,
        remedy="the file is damaged",
    )
    return state
