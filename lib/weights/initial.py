"""First weights of a detector: ImageNet's, a file's, or random ones."""

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
    """Fill a new detector as ``net.weights`` says.

    ``none`` leaves it random, ``imagenet`` fetches torchvision's classification
    weights, a name of docs/zoo.md those it stands for; anything else is the path of a
    file of any kind that `import_weights` can read. Of a detector all that fits is
    taken: rows of output layers by the names of classes, and layers for other anchors
    stay random. The input that the weights expect becomes the detector's.

    Args:
        model: the detector.
        net: its settings.
        classes: its classes, background first; None for those of the file, in its order
            and number.

    Raises:
        CheckpointError: the file is of another net or style, contradicts
            ``net.normalisation``, is unknown or damaged, or could not be fetched; the
            message says what to put where.
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
            f"{found}, of the net {weights.net}, but the net asked for is {net.name}; "
            f"give NET as {weights.net}, or weights of {net.name}"
        )
    features = weights.settings.get("net.features", "c4")
    if weights.num_classes is not None and features != net.features:
        wanted = net.name if features == "c4" else f"{net.name}_{features}"
        raise CheckpointError(
            f"{found}, a detector with the features {features}, but those asked for "
            f"are {net.features}; give NET as {wanted}, or weights of a backbone or of "
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
            "that at auto. If the weights were taken for what they are not, convert "
            f"them with frcnn convert --normalisation {net.normalisation}"
        )


def load_weights(
    model: FasterRCNN,
    weights: ImportedWeights,
    *,
    fine_tuning: bool = False,
    classes: Sequence[str] | None = None,
) -> list[str]:
    """Load recognised weights, and with them the normalisation of the input.

    Of a backbone file the backbone alone; the rest stays as it is.

    Args:
        model: the detector.
        weights: of its net.
        fine_tuning: let output layers of other shape stay as they are.
        classes: of the detector, background first, for fine-tuning by their names; None
            for those of the file.

    Returns:
        Keys of the output layers left as they were, none unless fine-tuning.

    Raises:
        CheckpointError: a tensor is missing, unknown, or of another shape; the detector
            is unchanged then.
    """
    own = {k: v for k, v in model.state_dict().items() if not k.startswith("pixel_")}
    state = weights.state
    if weights.num_classes is None:
        own = {k: v for k, v in own.items() if k.startswith("backbone.")}
        # VGG16's fc6 and fc7, where another head follows.
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
