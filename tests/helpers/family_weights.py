"""Weights by the formula of the golden data of detectors (shared/golden/family)."""

import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def family_weights(spec: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The state dict of a specification ``<model>_state.json``."""
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
