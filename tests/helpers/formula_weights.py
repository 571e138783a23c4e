"""Weights by the golden data's formula: a function of key and shape."""

import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_GAINS = {
    "rpn_cls_score_net": 0.3,
    "rpn_bbox_pred_net": 0.02,
    "cls_score_net": 0.6,
    "bbox_pred_net": 0.3,
}


def formula_tensor(key: str, shape: Sequence[int]) -> Tensor:
    """The value of one entry of a family state dict."""
    large = math.prod(shape) > 1 << 22  # VGG16's; a ResNet-50's are drawn once
    return (_formula.__wrapped__ if large else _formula)(key, tuple(shape)).clone()


@lru_cache(maxsize=500)
def _formula(key: str, shape: tuple[int, ...]) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    z = generator.standard_normal(shape)
    if key.endswith("running_var"):
        value = 1 + 0.1 * np.abs(z)
    elif key.endswith((".bias", "running_mean")):
        value = 0.1 * z
    elif len(shape) == 1:
        value = (1 + 0.1 * z) * (0.25 if key.endswith("bn3.weight") else 1)
    else:
        first = len(shape) == 4 and shape[1] == 3
        gain = 1 / 64 if first else _GAINS.get(key.split(".")[0], 1)
        value = z * math.sqrt(2 / math.prod(shape[1:])) * gain
    return torch.from_numpy(np.asarray(value, dtype=np.float32))


def formula_state(entries: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """The state dict of golden entries, each with its ``key`` and ``shape``."""
    return {e["key"]: formula_tensor(e["key"], e["shape"]) for e in entries}


def golden_entries(shared: Path, net: str) -> list[dict[str, Any]]:
    """The entries of ``state_dict_<net>.json``, in the order of the file."""
    text = (shared / "golden" / f"state_dict_{net}.json").read_text()
    entries: list[dict[str, Any]] = json.loads(text)["state_dict"]
    return entries


def caffe_state(shared: Path, net: str = "res50") -> dict[str, Tensor]:
    """A ResNet's or MobileNet's classification weights that saw BGR in 0..255."""
    prefix = "mobilenet." if net == "mobile" else "resnet."
    entries = [e for e in golden_entries(shared, net) if e["key"].startswith(prefix)]
    return {k.removeprefix(prefix): v for k, v in formula_state(entries).items()}


def family_state(spec: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict of a specification of the family's golden data."""
    state = {}
    for key, shape, *_ in spec["entries"]:
        z = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
        gain = next((g for p, g in spec["gains"] if re.search(p, key)), 1.0)
        offsets = spec["bias_offsets"]
        offset = next((add for p, add in offsets if re.search(p, key)), 0.0)
        if key.endswith("running_var"):
            value = 1 + 0.1 * abs(z)
        elif key.endswith("running_mean"):
            value = 0.1 * z
        elif key.endswith("bias"):
            value = 0.1 * z + offset
        elif len(shape) == 1:
            value = (1 + 0.1 * z) * gain
        else:
            value = z * (2 / np.prod(shape[1:])) ** 0.5 * gain
        state[key] = torch.from_numpy(np.asarray(value, np.float32))
    return state
