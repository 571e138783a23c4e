"""Write weights for others to read: in our own format, and in the family's."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config.loading import load_config
from ..config.settings import Config
from ..datasets.records import few
from ..model.network import Network
from ..nets.normalisation import NORMALISATIONS
from ..utils.files import atomic_path
from .checkpoint import FORMAT, CheckpointError
from .imported import ImportedWeights, Layout
from .layouts import layouts
from .own import BACKBONE_FORMAT
from .recognition import recognise_weights
from .scale import first_conv

# Settings that the family's port has no switch for.
_FAMILY_ONLY = {
    "net.features": "c4",
    "net.style": "caffe",
    "net.head_stride": 1,
    "anchors.centre": "cell",
    "boxes.offset": 1,
    "pooling.size": 7,
    "pooling.aligned": False,
    "head.class_agnostic": False,
}


def detector_weights(
    model: Network, config: Config, classes: Sequence[str] = ()
) -> ImportedWeights:
    """Return the weights of a detector in memory in a form that can be exported."""
    content = {
        "format": FORMAT,
        "config": config.model_dump(mode="json"),
        "classes": list(classes),
        "model": model.state_dict(),
    }
    return recognise_weights(content, "the detector")


def export_family(weights: ImportedWeights, path: Path) -> None:
    """Write a detector in the format of tf-faster-rcnn's PyTorch port.

    Nothing is rounded: reading the file gives the same weights to the bit.

    Raises:
        CheckpointError: the port cannot represent these weights; the message says why.
    """
    state = family_state(weights)
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def family_state(weights: ImportedWeights) -> dict[str, Tensor]:
    """Return the state dict that `export_family` writes."""
    layout = _family_layout(weights)
    reasons = []
    if weights.normalisation != "caffe":
        mean, std = NORMALISATIONS[weights.normalisation]
        reasons.append(
            f"it subtracts the mean {NORMALISATIONS['caffe'].mean} (RGB) and does not "
            f"divide, these weights expect the mean {mean} and division by {std}; the "
            "division could go into the first convolution, but another mean could not: "
            "beside the zero padding of the border it would not be exact"
        )
    for key, needed in _FAMILY_ONLY.items():
        found = weights.settings.get(key, needed)
        if found != needed:
            reasons.append(f"it has {key} {needed} only, these weights need {found}")
    if reasons:
        raise CheckpointError(
            f"{weights.source} cannot be written for the family's port: "
            f"{'; '.join(reasons)}"
        )
    state = {layout.names[key]: value for key, value in weights.state.items()}
    name = layout.names[first_conv(weights.net)]
    state[name] = state[name].flip(1)  # RGB here, BGR in the port
    return {key: value.contiguous() for key, value in state.items()}


def _family_layout(weights: ImportedWeights) -> Layout:
    if weights.num_classes is None:
        raise CheckpointError(
            f"{weights.source} has only a backbone; the family's files contain whole "
            "detectors"
        )
    for layout in layouts():
        if layout.origin == "family" and layout.net == weights.net:
            return layout
    raise CheckpointError(
        f"{weights.source} cannot be written for the family's port: it has no "
        f"{weights.net}"
    )


def save_backbone(weights: ImportedWeights, path: Path) -> None:
    """Write a backbone that records its net, style and normalisation."""
    content = {
        "format": BACKBONE_FORMAT,
        "kind": weights.kind,
        "net": weights.net,
        "style": weights.style,
        "normalisation": weights.normalisation,
        "state": {key: value.contiguous() for key, value in weights.state.items()},
    }
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def save_detector(
    weights: ImportedWeights, path: Path, *, recipes: Sequence[Path], classes: list[str]
) -> None:
    """Write the `detector_state` of weights for ``frcnn test --checkpoint``."""
    content = detector_state(weights, recipes=recipes, classes=classes)
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def detector_state(
    weights: ImportedWeights, *, recipes: Sequence[Path], classes: list[str]
) -> dict[str, Any]:
    """Return a detector in the form that `load_checkpoint` returns.

    Args:
        recipes: recipes of the data set it was trained on.
        classes: class names, background first.

    Raises:
        CheckpointError: names and classes differ in number.
    """
    if len(classes) != weights.num_classes:
        raise CheckpointError(
            f"{weights.source} has {weights.num_classes} classes with background, but "
            f"{len(classes)} names are given ({few(classes)}); give one name per class"
        )
    values = NORMALISATIONS.get(weights.normalisation)
    if values is None:
        raise CheckpointError(
            f"{weights.source} is {weights.kind}, which needs no conversion; give the "
            "file itself as --checkpoint or --weights"
        )
    mean, std = (torch.tensor(value)[:, None, None] for value in values)
    return {
        "format": FORMAT,
        "iteration": 0,
        "config": detector_config(weights, recipes).model_dump(mode="json"),
        "classes": classes,
        "model": {
            **{key: value.contiguous() for key, value in weights.state.items()},
            "pixel_mean": mean,
            "pixel_std": std,
        },
    }


def detector_config(weights: ImportedWeights, recipes: Sequence[Path]) -> Config:
    """Combine recipes with the settings that the weights need."""
    demands: dict[str, Any] = {
        "net.normalisation": weights.normalisation,
        **weights.settings,
    }
    words = ["net.name", weights.net, "net.weights", Path(weights.source).name]
    for key, value in demands.items():
        words += [key, value if isinstance(value, str) else json.dumps(value)]
    return load_config(recipes, words)
