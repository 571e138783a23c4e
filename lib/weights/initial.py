"""Initial weights of a detector, or of one module: ImageNet's, a file's, none."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..config.loading import config_from_checkpoint
from ..config.net_settings import TIMM
from ..config.settings import Config, NetConfig, split_net
from ..datasets.records import few
from ..model.build import build_detector
from ..model.network import NOT_WEIGHTS, Network
from ..nets.input_channels import adapt
from ..nets.normalisation import NORMALISATIONS
from .checkpoint import CheckpointError, detector_weights, load_checkpoint
from .imported import ImportedWeights
from .output_rows import known_classes, rows_by_name
from .recognition import import_weights
from .timm_weights import fetch_timm, read_timm
from .zoo.cache import fetch_entry, looks_like_a_name
from .zoo.table import find_entry, imagenet_entry

logger = logging.getLogger(__name__)


def load_first_weights(model: Network, config: Config, classes: Sequence[str]) -> None:
    """Load the weights that ``net.weights`` names into a new detector.

    A module alone gets its part of what the whole detector would get. From a checkpoint
    of the other module it gets the layers that both share; its own layers stay random.

    Args:
        classes: C class names, background first.

    Raises:
        CheckpointError: see `load_initial_weights`; or the checkpoint has another net.
    """
    net = config.net
    if net.whole or net.weights == "none":
        load_initial_weights(model, net, classes, config)
        return
    path = Path(net.weights).expanduser()
    if path.is_file():
        try:
            state = load_checkpoint(path)
        except CheckpointError:
            pass  # no checkpoint of this program: the importers below report the kind
        else:
            _load_shared_layers(model, state, config, classes)
            return
    both = net.model_copy(update={"modules": "both"})
    with torch.random.fork_rng(devices=()):
        whole = build_detector(config.model_copy(update={"net": both}), len(classes))
        load_initial_weights(whole, both, classes)
    own = model.state_dict()
    model.load_state_dict({k: v for k, v in whole.state_dict().items() if k in own})


def _load_shared_layers(
    model: Network, state: dict[str, Any], config: Config, classes: Sequence[str]
) -> None:
    """Load the tensors that a checkpoint and the detector have in common."""
    net, source = config.net, config.net.weights
    other = config_from_checkpoint(state, []).net
    if (other.full_name, other.style) != (net.full_name, net.style):
        raise CheckpointError(
            f"{source} holds a detector with the net {other.full_name} (style "
            f"{other.style}), expected {net.full_name} (style {net.style}); give "
            f"NET as {other.full_name}, or another file"
        )
    own = model.state_dict()
    found = detector_weights(state, averaged=True)
    weights = {
        key: tensor
        for key, tensor in rows_by_name(
            found, own, state["classes"], classes, source=source
        ).items()
        if key in own and own[key].shape == tensor.shape
    }
    missing = sorted(model.shared_keys() - weights.keys())
    if missing:
        raise CheckpointError(
            f"{source} does not fit the layers that both modules share: "
            f"{len(missing)} tensors are missing or of another shape, such as "
            f"{missing[0]}"
        )
    model.load_state_dict(weights, strict=False)
    left = sorted({key.rpartition(".")[0] for key in own.keys() - weights.keys()})
    logger.info("weights from %s: %d tensors", source, len(weights))
    if left:
        logger.info("left random, for the file lacks them: %s", ", ".join(left))


def load_initial_weights(
    model: Network,
    net: NetConfig,
    classes: Sequence[str] | None = None,
    config: Config | None = None,
) -> None:
    """Load the weights that ``net.weights`` names into a new detector.

    ``none`` keeps random weights, ``imagenet`` downloads torchvision's classification
    weights (for a net of timm, timm's), a name from docs/zoo.md selects published
    weights; anything else is the path of a file of any kind that `import_weights` reads
    (`read_timm`). Of a detector everything that fits is loaded: rows of output layers
    by class names; layers for other anchors stay random. The detector takes over the
    normalisation that the weights expect.

    Args:
        classes: its classes, background first; if None, those of the file, in its order
            and number.
        config: configuration of the run, whose settings the log does not repeat.

    Raises:
        CheckpointError: the file has another net or style, contradicts
            ``net.normalisation``, is unknown or damaged, or could not be downloaded;
            the message says what to put where.
    """
    if net.weights == "none":
        return
    weights = _find_weights(model, net)
    _check_settings(weights, net)
    adapted = adapt(weights.state, model.backbone, net.first_conv)
    weights = replace(weights, state=adapted)
    own = model.pixel_mean.clone(), model.pixel_std.clone()
    try:
        left = load_weights(model, weights, fine_tuning=True, classes=classes)
    except CheckpointError as error:
        others = [
            f"{key} {value}"
            for key, value in weights.settings.items()
            if key.startswith("net.") and getattr(net, key[4:], value) != value
        ]
        if not others:
            raise
        raise CheckpointError(
            f"{error}. Its settings differ: give --set {' '.join(others)}"
        ) from error
    if net.pixel_mean is not None:  # the statistics of the data, not of the weights
        model.pixel_mean.copy_(own[0])
        model.pixel_std.copy_(own[1])
    if left:
        logger.warning(
            "%s: other shape, left random: %s", weights.source, ", ".join(left)
        )
    if weights.num_classes is not None:
        own_settings = config.model_dump(mode="json") if config else {}
        demands = [
            f"{key} {value}"
            for key, value in weights.settings.items()
            if own_settings.get(key.split(".")[0], {}).get(key.split(".")[1]) != value
        ]
        if demands:
            logger.info("its detector was made for %s", ", ".join(demands))


def _find_weights(model: Network, net: NetConfig) -> ImportedWeights:
    path, imagenet = Path(net.weights).expanduser(), net.weights == "imagenet"
    of_timm = net.name.startswith(TIMM)
    if not imagenet and (path.exists() or not looks_like_a_name(net.weights)):
        if of_timm:
            return read_timm(model.backbone, net.name, path)
        return import_weights(path)
    if of_timm and (imagenet or net.weights.startswith(TIMM)):
        word = net.name if imagenet else net.weights
        return fetch_timm(model.backbone, net.name, word)
    entry = imagenet_entry(net.name) if imagenet else find_entry(net.weights)
    return import_weights(fetch_entry(entry), normalisation=entry.normalisation)


def _check_settings(weights: ImportedWeights, net: NetConfig) -> None:
    found = f"{weights.source} holds {weights.kind}"
    # Tags of timm's nets name weights, not nets.
    if weights.net.partition(".")[0] != net.name.partition(".")[0]:
        raise CheckpointError(
            f"{found}, of the net {weights.net}, but NET is {net.name}; "
            f"give NET as {weights.net}, or weights of {net.name}"
        )
    theirs, ours = split_net(weights.full_net), split_net(net.full_name)
    # Any NET may be a cascade by head.cascade.
    same = theirs.features == ours.features and (
        (theirs.detector == "retinanet") == (ours.detector == "retinanet")
    )
    if weights.num_classes is not None and not same:
        raise CheckpointError(
            f"{found}, a {weights.full_net} detector, but NET is {net.full_name}; give "
            f"NET as {weights.full_net}, or weights of a backbone or of a "
            f"{net.full_name} detector"
        )
    if weights.style not in (None, net.style):
        raise CheckpointError(
            f"{found}, of a ResNet in the style {weights.style}, but net.style is "
            f"{net.style}; give --set net.style {weights.style}"
        )
    if net.normalisation not in ("auto", weights.normalisation):
        raise CheckpointError(
            f"{found}, whose normalisation is {weights.normalisation} "
            f"({weights.reason}), but net.normalisation is {net.normalisation}; leave "
            "net.normalisation at auto. If the weights were misrecognised, convert "
            f"them with frcnn convert --normalisation {net.normalisation}"
        )


def load_weights(
    model: Network,
    weights: ImportedWeights,
    *,
    fine_tuning: bool = False,
    classes: Sequence[str] | None = None,
) -> list[str]:
    """Load recognised weights, and the normalisation of their input.

    A backbone file fills the backbone alone; other layers are unchanged.

    Args:
        fine_tuning: allow output layers of another shape, which are left unchanged.
        classes: classes of the detector, background first, for fine-tuning by their
            names; if None, those of the file.

    Returns:
        Keys of the output layers left unchanged; empty unless fine-tuning.

    Raises:
        CheckpointError: a tensor is missing, unknown, or has another shape; the
            detector is then unchanged.
    """
    own = {k: v for k, v in model.state_dict().items() if k not in NOT_WEIGHTS}
    state = weights.state
    if weights.num_classes is None:
        own = {k: v for k, v in own.items() if k.startswith("backbone.")}
        # VGG16's fc6 and fc7, if the detector has another head.
        names = [key.removeprefix("backbone.") for key in state]
        ignored = {f"backbone.{key}" for key in model.backbone.ignored_keys(names)}
        state = {key: value for key, value in state.items() if key not in ignored}
    missing = own.keys() - state.keys()
    unknown = state.keys() - own.keys()
    if missing or unknown:
        raise CheckpointError(
            f"{weights.source}, {weights.kind}, does not fit this detector: "
            f"{len(missing)} missing ({few(sorted(missing))}), {len(unknown)} unknown "
            f"({few(sorted(unknown))}). Is it of another net? The file is of "
            f"{weights.full_net}"
        )
    if classes is not None and weights.num_classes is not None:
        known = known_classes(weights)
        state = rows_by_name(state, own, known, classes, source=weights.source)
    other = [key for key in own if state[key].shape != own[key].shape]
    wrong = [k for k in other if not fine_tuning or k.startswith("backbone.")]
    if wrong:
        shapes = [
            f"{k} is {tuple(state[k].shape)}, expected {tuple(own[k].shape)}"
            for k in wrong
        ]
        raise CheckpointError(
            f"{weights.source}, {weights.kind}, does not fit this detector: "
            f"{len(wrong)} of other shape ({few(shapes)})"
        )
    fitting = {k: v for k, v in state.items() if k not in other}
    model.load_state_dict(fitting, strict=False)
    normalisation = NORMALISATIONS.get(
        weights.normalisation, model.backbone.normalisation
    )
    for buffer, values in zip(
        (model.pixel_mean, model.pixel_std), normalisation, strict=True
    ):
        if len(values) == len(buffer):
            buffer.copy_(buffer.new_tensor(values)[:, None, None])
    logger.info("weights from %s: %d tensors", weights.source, len(fitting))
    return sorted(other)
