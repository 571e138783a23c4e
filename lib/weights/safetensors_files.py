"""Published weights as safetensors: numbers and a header of text, so nothing to run.

The header holds what a checkpoint says beside its weights, each part as JSON, and the
SHA-256 of the weights, which the format itself does not check.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

_OURS = "faster_rcnn"  # the metadata's key for the format of a checkpoint
_PARTS = (
    *("iteration", "config", "classes", "normalisation", "metrics", "averaged"),
    *("keypoints", "sha256"),
)


def is_safetensors(path: Path) -> bool:
    """Return whether a file is a safetensors file, by its first bytes."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def safetensors_bytes(content: Mapping[str, Any]) -> bytes:
    """Write the content of `published_state`, the same bytes each time."""
    # The format takes no tensors that share their numbers, or have other strides.
    weights = {
        key: tensor.clone(memory_format=torch.contiguous_format)
        for key, tensor in content["model"].items()
    }
    parts = {**content, "sha256": _digest(weights)}
    metadata = {key: json.dumps(parts[key]) for key in _PARTS if key in parts}
    metadata |= {"format": "pt", _OURS: content["format"]}
    data = safetensors.torch.save(weights, metadata)
    # The library writes the metadata in any order.
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def read_safetensors(path: Path) -> dict[str, Any]:
    """Read a file of safetensors; the library holds its sizes against the file's.

    Returns:
        A checkpoint's parts for a file of `safetensors_bytes`; else the tensors.

    Raises:
        ValueError: the weights are not those that were written.
        Exception: of any kind, for damaged bytes.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if _OURS not in metadata:
        return weights
    parts = {key: json.loads(metadata[key]) for key in _PARTS if key in metadata}
    if parts.pop("sha256", None) != _digest(weights):
        raise ValueError("its weights differ from their checksum")
    return {"format": metadata[_OURS], **parts, "model": weights}


def _digest(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(weights.items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
