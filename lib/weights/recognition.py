"""Recognise weights of other programs by their content, and convert them to our names.

1. Read the file, without running any code in it.
2. Take the tensors out of their wrappers.
3. Find the layout whose names fit, and check that it fits exactly.
4. Find the input that the weights expect: recorded, implied by the program, or
   estimated from the weights.
5. Rename; convert BGR to RGB; convert classes, anchors and norms to our conventions.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..utils.files import sha256_of
from ..utils.untrusted.array_pickle import ArrayPickleError, read_arrays
from . import detectron, detectron2, torchvision
from .checkpoint import FORMAT, CheckpointError, read_tensors
from .conversion import check_anchors, complete_norms, double_scores, move_eps
from .imported import WITH_STYLE, ImportedWeights, Layout, Numbers
from .layout_check import check_layout, expected_shapes, read_numbers, take_state
from .layouts import layouts, nearest_layout
from .own import BACKBONE_FORMAT, own_backbone, own_checkpoint
from .safetensors_files import is_safetensors
from .scale import estimate_scale, first_conv

logger = logging.getLogger(__name__)

_TORCH_MAGIC = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

# Scales of the family's anchors, by the number of anchors per cell with three ratios.
_FAMILY_SCALES = {9: (8, 16, 32), 12: (4, 8, 16, 32), 15: (2, 4, 8, 16, 32)}
_FAMILY_SETTINGS = {
    "net.head_stride": 1,
    "anchors.ratios": (0.5, 1, 2),
    "anchors.centre": "cell",
    "boxes.offset": 1,
    # For the port's last version; earlier versions cropped, see docs/weights.md.
    "pooling.mode": "align",
    "pooling.sampling_ratio": 0,
    "pooling.aligned": False,
    "pooling.size": 7,
    "pooling.max_pool": False,
}


def import_weights(
    path: Path, *, normalisation: str | None = None, norm_eps: float | None = None
) -> ImportedWeights:
    """Read a file of weights of any known kind.

    Args:
        path: a PyTorch file, or Detectron's or Detectron2's pickle of arrays.
        normalisation: normalisation that these weights expect, overriding what names
            and numbers suggest; if None, it is recognised.
        norm_eps: epsilon of the backbone's norms; if None, that of the program or of
            the published file.

    Raises:
        CheckpointError: the file is missing, truncated or unknown, or does not exactly
            match the most similar layout.
    """
    return recognise_weights(
        read_file(path), str(path), normalisation=normalisation, norm_eps=norm_eps
    )


def read_file(path: Path) -> dict[str, Any]:
    """Read a file of weights of any known kind, without recognising it.

    Raises:
        CheckpointError: the file is missing, truncated, or not a dictionary; no code in
            it was run.
    """
    start = b""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(64)
    # PyTorch's old format is a sequence of pickles that starts with a number.
    # The length that safetensors start with may look like the start of a pickle.
    if start[:1] != b"\x80" or _TORCH_MAGIC in start or is_safetensors(path):
        return read_tensors(path)
    try:
        content = read_arrays(path)
    except ArrayPickleError as error:
        raise CheckpointError(str(error)) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds {type(content).__name__}, expected a dictionary of arrays"
        )
    return content


def recognise_weights(
    content: Mapping[str, Any],
    source: str,
    *,
    normalisation: str | None = None,
    norm_eps: float | None = None,
) -> ImportedWeights:
    """Recognise weights that are already loaded.

    Args:
        content: content of the file: a state dict, possibly wrapped, or a checkpoint
            of ours.
        source: name for messages; the path if it came from a file, because published
            files of torchvision are identified by their hash.
        normalisation: see `import_weights`.
        norm_eps: see `import_weights`.

    Raises:
        CheckpointError: see `import_weights`.
    """
    if content.get("format") == FORMAT:
        weights = own_checkpoint(content, source)
    elif content.get("format") == BACKBONE_FORMAT:
        weights = own_backbone(content, source)
    else:
        weights = _foreign(content, source, normalisation, norm_eps)
    if normalisation not in (None, weights.normalisation):
        raise CheckpointError(
            f"{source}: the normalisation of these weights is {weights.normalisation} "
            f"({weights.reason}), asked for was {normalisation}; leave that out"
        )
    facts = (weights.kind, weights.normalisation, weights.reason)
    logger.info("%s: %s; normalisation %s: %s", source, *facts)
    return weights


def _foreign(
    content: Mapping[str, Any], source: str, given: str | None, norm_eps: float | None
) -> ImportedWeights:
    tensors, beside = unwrap(content)
    layout = nearest_layout(tensors, layouts(), source=source)
    numbers = None if layout.backbone_only else read_numbers(tensors, layout)
    expected = expected_shapes(layout, numbers or Numbers(0, 0, 0))
    unused = check_layout(tensors, layout, expected, source=source)
    state, used = take_state(tensors, layout)
    if layout.origin == "detectron":
        state = complete_norms(state)
    if numbers is not None and layout.origin != "family":
        check_anchors(layout, numbers, source=source)
        if layout.origin == "detectron2":
            detectron2.check_input(tensors, layout, source=source)
            detectron2.convert_heads(state)
        elif not layout.dense:
            double_scores(state)
    digits = ""
    if layout.origin == "torchvision" and Path(source).is_file():
        digits = sha256_of(Path(source))[:8]
    normalisation, reason = _input(tensors, layout, state, given)
    eps = torchvision.trained_eps(layout, digits) if norm_eps is None else norm_eps
    move_eps(state, eps)
    if layout.origin in ("detectron", "detectron2") or normalisation != "torchvision":
        key = first_conv(layout.net)
        state[key] = state[key].flip(1)  # BGR in the file, RGB here
    kind = layout.kind
    if layout.origin == "classification":
        kind = f"{'torchvision' if normalisation == 'torchvision' else 'Caffe'} {kind}"
    style = _style(layout, normalisation)
    return ImportedWeights(
        source=source,
        kind=kind,
        net=layout.net,
        style=style,
        normalisation=normalisation,
        reason=reason,
        state=state,
        unused=beside | unused,
        used=used,
        settings=_settings(layout, numbers, style)
        | torchvision.file_settings(layout, digits),
        **(numbers._asdict() if numbers else {}),
    )


def _style(layout: Layout, normalisation: str) -> str | None:
    if layout.net not in WITH_STYLE:
        return None
    known = layout.settings.get("net.style")
    if known is not None:
        return str(known)
    rgb = layout.origin == "classification" and normalisation == "torchvision"
    return "pytorch" if rgb or layout.net == "resx101" else "caffe"


def unwrap(content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the tensors by name, and the reason for each entry that is not used."""
    beside: dict[str, str] = {}
    for wrapper in ("state_dict", "model", "blobs"):
        inner = content.get(wrapper)
        if isinstance(inner, Mapping):
            others = (str(key) for key in content if key != wrapper)
            beside |= dict.fromkeys(others, "stored beside the weights")
            content = inner
    momenta = [str(key) for key in content if str(key).endswith(detectron.MOMENTUM)]
    beside |= dict.fromkeys(momenta, "state of the solver")
    content = {key: value for key, value in content.items() if str(key) not in beside}
    parallel = all(str(key).startswith("module.") for key in content)
    tensors = {
        str(key).removeprefix("module.") if parallel else str(key): (
            torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        )
        for key, value in content.items()
    }
    return tensors, beside


def _input(
    tensors: Mapping[str, Tensor],
    layout: Layout,
    state: Mapping[str, Tensor],
    given: str | None,
) -> tuple[str, str]:
    """Return the normalisation of the input, and how it is known."""
    if layout.origin == "detectron2":
        return detectron2.input_of(layout.net), "implied by its names"
    if layout.origin == "torchvision":
        return "torchvision", "implied by its names"
    if given is not None:
        return given, "as given"
    if layout.origin in ("family", "detectron"):
        return "caffe", "implied by its names"
    names = ("classifier.6.weight", "classifier.6.bias")
    last = [tensors[n] for n in names if isinstance(tensors.get(n), Tensor)]
    verdict, how = estimate_scale(layout.net, state, last)
    if verdict is not None:
        return verdict, how
    # Caffe's VGG16 has its own names, and only the family has a MobileNet v1.
    caffe = layout.net == "mobile" or "classifier.1.weight" in layout.names.values()
    return "caffe" if caffe else "torchvision", f"implied by its names; {how}"


def _settings(
    layout: Layout, numbers: Numbers | None, style: str | None
) -> dict[str, Any]:
    """Return the settings that reproduce a detector's results in its own program."""
    settings: dict[str, Any] = {} if style is None else {"net.style": style}
    if layout.origin != "family" or numbers is None:
        return settings | dict(layout.settings)
    settings |= _FAMILY_SETTINGS | {"rpn.channels": numbers.rpn_channels}
    if numbers.anchors in _FAMILY_SCALES:
        settings["anchors.scales"] = _FAMILY_SCALES[numbers.anchors]
    return settings
