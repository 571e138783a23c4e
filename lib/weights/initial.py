"""Initial weights of a detector: ImageNet's, a file's, or random ones."""

import logging
from collections.abc import Sequence
from pathlib import Path

from ..config.settings import NetConfig
from ..model.faster_rcnn import FasterRCNN
from ..model.normalisation import NORMALISATIONS
from .checkpoint import CheckpointError
from .imported import ImportedWeights
from .layout_check import few
from .output_rows import known_classes, rows_by_name
from .recognition import import_weights
from .zoo.cache import fetch_entry, looks_like_a_name
from .zoo.table import find_entry, imagenet_entry

logger = logging.getLogger(__name__)


def load_initial_weights(
    model: FasterRCNN, net: NetConfig, classes: Sequence[str] | None = None
) -> None:
    """Load the weights that ``net.weights`` names into a new detector.

    ``none`` keeps random weights, ``imagenet`` downloads torchvision's classification
    weights, a name from docs/zoo.md selects published weights; anything else is the
    path of a file of any kind that `import_weights` reads. Of a detector everything
    that fits is loaded: rows of output layers by class names; layers for other anchors
    stay random. The detector takes over the normalisation that the weights expect.

    Args:
        model: the detector.
        net: its settings.
        classes: its classes, background first; if None, those of the file, in its order
            and number.

    Raises:
        CheckpointError: the file has another net or style, contradicts
            ``net.normalisation``, is unknown or damaged, or could not be downloaded;
            the message says what to put where.
    """
    if net.weights == "none":
        return
    weights = _read(net)
    _check_settings(weights, net)
    left = load_weights(model, weights, fine_tuning=True, classes=classes)
    if left:
        logger.warning(
            "%s: other shape, left random: %s", weights.source, ", ".join(left)
        )
    if weights.num_classes is not None:
        demands = [f"{key} {value}" for key, value in weights.settings.items()]
        logger.info("its detector was made for %s", ", ".join(demands))


def _read(net: NetConfig) -> ImportedWeights:
    path = Path(net.weights).expanduser()
    imagenet = net.weights == "imagenet"
    if not imagenet and (path.exists() or not looks_like_a_name(net.weights)):
        return import_weights(path)
    entry = imagenet_entry(net.name) if imagenet else find_entry(net.weights)
    return import_weights(fetch_entry(entry), normalisation=entry.normalisation)


def _check_settings(weights: ImportedWeights, net: NetConfig) -> None:
    found = f"{weights.source} holds {weights.kind}"
    if weights.net != net.name:
        raise CheckpointError(
            f"{found}, of the net {weights.net}, but NET is {net.name}; "
            f"give NET as {weights.net}, or weights of {net.name}"
        )
    features = weights.settings.get("net.features", "c4")
    if weights.num_classes is not None and features != net.features:
        wanted = net.name if features == "c4" else f"{net.name}_{features}"
        raise CheckpointError(
            f"{found}, a detector with the features {features}, but NET has "
            f"{net.features}; give NET as {wanted}, or weights of a backbone or of "
            f"a {net.full_name} detector"
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
    model: FasterRCNN,
    weights: ImportedWeights,
    *,
    fine_tuning: bool = False,
    classes: Sequence[str] | None = None,
) -> list[str]:
    """Load recognised weights, and the normalisation of their input.

    A backbone file fills the backbone alone; other layers are unchanged.

    Args:
        model: the detector.
        weights: weights of its net.
        fine_tuning: allow output layers of another shape, which are left unchanged.
        classes: classes of the detector, background first, for fine-tuning by their
            names; if None, those of the file.

    Returns:
        Keys of the output layers left unchanged; empty unless fine-tuning.

    Raises:
        CheckpointError: a tensor is missing, unknown, or has another shape; the
            detector is then unchanged.
    """
    own = {k: v for k, v in model.state_dict().items() if not k.startswith("pixel_")}
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
            f"{len(missing)} missing ({few(missing)}), {len(unknown)} unknown "
            f"({few(unknown)}). Is it of another net?"
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
    normalisation = NORMALISATIONS[weights.normalisation]
    for buffer, values in zip(
        (model.pixel_mean, model.pixel_std), normalisation, strict=True
    ):
        buffer.copy_(buffer.new_tensor(values)[:, None, None])
    logger.info("weights from %s: %d tensors", weights.source, len(fitting))
    return sorted(other)
