"""Weights of other programs, recognised by content and brought to our names.

1. read the file, without running any code in it
2. take the tensors out of their wrappers
3. find the layout of names that fits, and check that it does so wholly
4. find the input the weights expect: recorded, implied by the program, or told from
   the weights
5. rename; turn BGR into RGB; bring Detectron2's classes and anchors into our order
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...utils.array_pickle import ArrayPickleError, read_arrays
from ..checkpoint import FORMAT, CheckpointError, read_tensors
from .detectron2 import SETTINGS as DETECTRON2_SETTINGS
from .detectron2 import check_input, convert_heads
from .fit import check_fit, expected_shapes, read_numbers, take_state
from .layouts import layouts, nearest_layout
from .own import BACKBONE_FORMAT, own_backbone, own_checkpoint
from .scale import first_conv, told_scale
from .structures import (
    WITH_STYLE,
    ImportedWeights,
    Layout,
    Numbers,
    is_detector,
)

logger = logging.getLogger(__name__)

_FAMILY_SCALES = {9: (8, 16, 32), 12: (4, 8, 16, 32), 15: (2, 4, 8, 16, 32)}
_TORCH_MAGIC = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"


def import_weights(path: Path, *, normalisation: str | None = None) -> ImportedWeights:
    """Read a file of weights of any known kind.

    Args:
        path: a PyTorch file, or Detectron2's pickle of arrays.
        normalisation: the input these weights expect, as a fact that overrules what
            names and numbers suggest; None to find it out.

    Raises:
        CheckpointError: missing, truncated, unknown, or not wholly of the kind that it
            resembles most.
    """
    return recognise_weights(_read(path), str(path), normalisation=normalisation)


def _read(path: Path) -> Mapping[str, Any]:
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(64)
        # PyTorch's old format is a row of pickles that starts with a number.
        if start[:1] == b"\x80" and _TORCH_MAGIC not in start:
            try:
                content = read_arrays(path)
            except ArrayPickleError as error:
                raise CheckpointError(str(error)) from error
            if not isinstance(content, dict):
                raise CheckpointError(
                    f"{path} holds {type(content).__name__}, expected a dictionary of "
                    "arrays"
                )
            return content
    return read_tensors(path)


def recognise_weights(
    content: Mapping[str, Any], source: str, *, normalisation: str | None = None
) -> ImportedWeights:
    """Recognise weights that are loaded already.

    Args:
        content: of the file: a state dict, one in a wrapper, or a checkpoint of ours.
        source: for messages.
        normalisation: as for `import_weights`.

    Raises:
        CheckpointError: as for `import_weights`.
    """
    if content.get("format") == FORMAT:
        weights = own_checkpoint(content, source)
    elif content.get("format") == BACKBONE_FORMAT:
        weights = own_backbone(content, source)
    else:
        weights = _foreign(content, source, normalisation)
    if normalisation not in (None, weights.normalisation):
        raise CheckpointError(
            f"{source}: the normalisation of these weights is {weights.normalisation} "
            f"({weights.reason}), asked for was {normalisation}; leave that out"
        )
    logger.info(
        "%s: %s; normalisation %s: %s",
        source,
        weights.kind,
        weights.normalisation,
        weights.reason,
    )
    return weights


def _foreign(
    content: Mapping[str, Any], source: str, given: str | None
) -> ImportedWeights:
    tensors, beside = _unwrap(content)
    layout = nearest_layout(tensors, layouts(), source=source)
    numbers = read_numbers(tensors, layout) if is_detector(layout) else None
    expected = expected_shapes(layout, numbers or Numbers(0, 0, 0))
    unused = check_fit(tensors, layout, expected, source=source)
    state, used = take_state(tensors, layout)
    if layout.origin == "detectron2":
        assert numbers is not None
        check_input(tensors, numbers.anchors, source=source)
        convert_heads(state)
    normalisation, reason = _input(tensors, layout, state, given)
    if normalisation != "torchvision":
        key = first_conv(layout.net)
        state[key] = state[key].flip(1)  # BGR there, RGB here
    kind = layout.kind
    if layout.origin == "classification":
        kind = f"{'torchvision' if normalisation == 'torchvision' else 'Caffe'} {kind}"
    style = None
    if layout.net in WITH_STYLE:
        rgb = layout.origin == "classification" and normalisation == "torchvision"
        style = "pytorch" if rgb else "caffe"
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
        settings=_settings(layout, numbers, style),
        **(numbers._asdict() if numbers else {}),
    )


def _unwrap(content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The tensors by name, and why what lay beside them is not used."""
    beside: dict[str, str] = {}
    for wrapper in ("state_dict", "model"):
        inner = content.get(wrapper)
        if isinstance(inner, Mapping):
            others = (str(key) for key in content if key != wrapper)
            beside |= dict.fromkeys(others, "stored beside the weights")
            content = inner
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
    """The normalisation of the input, and how it is known."""
    if layout.origin == "detectron2":
        return "detectron2", "implied by its names"
    if given is not None:
        return given, "as given"
    if layout.origin == "family":
        return "caffe", "implied by its names"
    names = ("classifier.6.weight", "classifier.6.bias")
    last = [tensors[n] for n in names if isinstance(tensors.get(n), Tensor)]
    verdict, how = told_scale(layout.net, state, last)
    if verdict is not None:
        return verdict, how
    # Caffe's VGG16 has names of its own, and only the family has a MobileNet v1.
    caffe = layout.net == "mobile" or "classifier.1.weight" in layout.names.values()
    return "caffe" if caffe else "torchvision", f"implied by its names; {how}"


def _settings(
    layout: Layout, numbers: Numbers | None, style: str | None
) -> dict[str, Any]:
    settings: dict[str, Any] = {} if style is None else {"net.style": style}
    if layout.origin == "detectron2":
        return settings | DETECTRON2_SETTINGS
    return settings if numbers is None else settings | _family_settings(numbers)


def _family_settings(numbers: Numbers) -> dict[str, Any]:
    settings = {
        "net.head_stride": 1,
        "anchors.ratios": (0.5, 1, 2),
        "anchors.centre": "cell",
        "boxes.offset": 1,
        # Of the port's last version; earlier ones cropped, see docs/weights.md.
        "pooling.mode": "align",
        "pooling.sampling_ratio": 0,
        "pooling.aligned": False,
        "pooling.size": 7,
        "pooling.max_pool": False,
        "rpn.channels": numbers.rpn_channels,
    }
    if numbers.anchors in _FAMILY_SCALES:
        settings["anchors.scales"] = _FAMILY_SCALES[numbers.anchors]
    return settings
