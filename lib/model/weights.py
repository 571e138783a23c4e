"""First weights of a detector: ImageNet's, a file's, or random ones."""

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from torch import Tensor

from ..nets.backbone import Backbone
from .checkpoint import FORMAT, CheckpointError, read_tensors
from .config import NetConfig
from .faster_rcnn import FasterRCNN

logger = logging.getLogger(__name__)

# torchvision's name and weights of each net; MobileNet v1 is not among them.
_IMAGENET = {
    "vgg16": ("vgg16", "IMAGENET1K_V1"),
    "res18": ("resnet18", "IMAGENET1K_V1"),
    "res34": ("resnet34", "IMAGENET1K_V1"),
    "res50": ("resnet50", "IMAGENET1K_V1"),
    "res101": ("resnet101", "IMAGENET1K_V1"),
    "res152": ("resnet152", "IMAGENET1K_V1"),
    "mobile_v2": ("mobilenet_v2", "IMAGENET1K_V1"),
}


def load_initial_weights(model: FasterRCNN, net: NetConfig) -> None:
    """Fill a new detector as ``net.weights`` says.

    ``none`` leaves it random, ``imagenet`` fetches torchvision's classification
    weights, anything else is the path of a file: classification weights with
    torchvision's names, or a checkpoint of this program, of which all that fits is
    taken (the output layers of other classes stay random).

    Raises:
        CheckpointError: the file does not fit the net, or could not be fetched; the
            message says what to put where.
    """
    if net.weights == "none":
        return
    if net.weights == "imagenet":
        _load_backbone(model.backbone, fetch_imagenet(net.name), source="ImageNet")
        return
    path = Path(net.weights)
    content = read_tensors(path)
    if content.get("format") == FORMAT:
        _load_detector(model, content["model"], source=str(path))
        return
    for wrapper in ("state_dict", "model"):
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    _load_backbone(model.backbone, content, source=str(path))


def fetch_imagenet(name: str) -> Mapping[str, Tensor]:
    """torchvision's ImageNet weights of a net, downloaded once into its cache.

    Raises:
        CheckpointError: there are none, or the download failed.
    """
    if name not in _IMAGENET:
        raise CheckpointError(
            f"there are no ImageNet weights of {name} to download; give a file with "
            "--weights FILE, or train from random weights with --weights none"
        )
    model, version = _IMAGENET[name]
    weights = torchvision.models.get_model_weights(model)[version]
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(
            progress=True, check_hash=True, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError) as error:
        # URLError and HTTPError are OSErrors; a wrong hash is a RuntimeError.
        raise CheckpointError(
            f"the ImageNet weights of {name} could not be downloaded ({error}). Fetch "
            f"{weights.url} by hand and name the file with --weights FILE, or train "
            "from random weights with --weights none"
        ) from error
    except (EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"the ImageNet weights of {name} in {torch.hub.get_dir()}/checkpoints are "
            "damaged; delete the file there, and run this again"
        ) from error
    return state


def _load_backbone(
    backbone: Backbone, state: Mapping[str, Tensor], *, source: str
) -> None:
    """Load classification weights; every tensor is used or known to be left out."""
    ignored = set(backbone.ignored_keys(state))
    state = {key: value for key, value in state.items() if key not in ignored}
    own = backbone.state_dict()
    # Weights saved before PyTorch 0.4 lack these counters, which nothing reads.
    missing = {key for key in own if not key.endswith("num_batches_tracked")}
    missing -= state.keys()
    unknown = state.keys() - own.keys()
    if missing or unknown:
        raise CheckpointError(
            f"{source} does not fit the backbone {type(backbone).__name__}: "
            f"{_some('missing', missing)}; {_some('unknown', unknown)}. Is it the "
            "weights of another net?"
        )
    for key, value in state.items():
        if value.shape != own[key].shape:
            raise CheckpointError(
                f"{source} does not fit the backbone {type(backbone).__name__}: {key} "
                f"is {tuple(value.shape)}, expected {tuple(own[key].shape)}"
            )
    backbone.load_state_dict(dict(state), strict=False)
    logger.info("backbone weights from %s: %d tensors", source, len(state))


def _load_detector(
    model: FasterRCNN, state: Mapping[str, Tensor], *, source: str
) -> None:
    own = model.state_dict()
    if own.keys() != state.keys():
        raise CheckpointError(
            f"{source} is a detector with another net: "
            f"{_some('missing', own.keys() - state.keys())}; "
            f"{_some('unknown', state.keys() - own.keys())}"
        )
    fitting = {k: v for k, v in state.items() if v.shape == own[k].shape}
    model.load_state_dict(fitting, strict=False)
    left = sorted(own.keys() - fitting.keys())
    logger.info("detector weights from %s: %d tensors", source, len(fitting))
    if left:
        logger.warning("%s: other shape, left random: %s", source, ", ".join(left))


def _some(what: str, keys: set[str]) -> str:
    first = ", ".join(sorted(keys)[:3])
    return f"{len(keys)} {what}" + (f" ({first}, ...)" if keys else "")
